"""Runs in a store: an object says which process is at work on one, on whichever machine."""

from contextlib import AbstractContextManager
from email.utils import parsedate_to_datetime

from larpo_lib.locks import Lock, noted, refusal
from larpo_lib.storage.client import store_client
from larpo_lib.storage.failures import AlreadyExistsError, ConditionalPutError, NotFoundError, with_retries
from larpo_lib.storage.locations import Location

BEAT_S, STALE_S = 20.0, 120.0
"""How often the object is written anew, and after what time without it its process counts as gone."""
_HOLDER = ".run.holder"


def exclusive_run(uri: str) -> AbstractContextManager[Lock]:
    """Hold a run in a store.

    Raises:
        HeldError: another process holds it; says which.
        StorageError: the store refuses or stays away.
    """
    return noted(_StoreNote(Location.parse(uri) / _HOLDER), refusal(uri))


class _StoreNote:
    """The object, by the clock of its store."""

    def __init__(self, place: Location) -> None:
        self.place, self.beat_s, self.stale_s = str(place), BEAT_S, STALE_S
        self._of = place

    def create(self, text: str) -> bool:
        if self.read() is not None:
            return False
        try:
            self._put(text, only_new=True)
        except AlreadyExistsError:
            return self.read() == text  # the answer to the first try may have been lost
        except ConditionalPutError:  # it may overwrite one of the same instant
            self._put(text)
        return True

    def read(self) -> str | None:
        client, of = store_client(), self._of

        def body() -> bytes:
            return client.get_object(Bucket=of.bucket, Key=of.key)["Body"].read()

        try:
            return with_retries(of, body).decode("utf-8", errors="replace")
        except NotFoundError:
            return None

    def state(self) -> tuple[object, float] | None:
        client, of = store_client(), self._of
        try:
            head = with_retries(of, lambda: client.head_object(Bucket=of.bucket, Key=of.key))
        except NotFoundError:
            return None
        now = parsedate_to_datetime(head["ResponseMetadata"]["HTTPHeaders"]["date"])
        return head["LastModified"], (now - head["LastModified"]).total_seconds()

    def renew(self, text: str) -> None:
        self._put(text)

    def remove(self, text: str) -> None:
        client, of = store_client(), self._of
        if self.read() == text:
            with_retries(of, lambda: client.delete_object(Bucket=of.bucket, Key=of.key))

    def _put(self, text: str, *, only_new: bool = False) -> None:
        client, of = store_client(only_new=only_new), self._of
        with_retries(of, lambda: client.put_object(Bucket=of.bucket, Key=of.key, Body=text.encode()))
