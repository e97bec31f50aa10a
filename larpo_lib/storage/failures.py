"""What goes wrong with a store: told in one line, and waited for where time may mend it."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from larpo_lib.errors import StorageError
from larpo_lib.storage.client import patience_s, store_name
from larpo_lib.storage.locations import Location

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

ResultT = TypeVar("ResultT")

_LONGEST_PAUSE_S = 5.0


class UnreachableError(StorageError):
    """The store cannot be reached, broke off, or says that it is busy: another try may succeed."""

    transient = True


class NotFoundError(StorageError):
    """There is no such object."""


class DamagedError(StorageError):
    """What is there is not what was written."""


class AlreadyExistsError(StorageError):
    """There is an object already where only a new one may be put."""


class ConditionalPutError(StorageError):
    """The store does not know `If-None-Match`."""


_REMEDIES = {
    "NoSuchBucket": ("no such bucket", "Create it, or check its name and the endpoint"),
    "NoSuchKey": ("no such object", "Check the key, or run the step that makes it"),
    "AccessDenied": ("access denied", "Give these credentials the rights s3:GetObject, s3:PutObject and s3:ListBucket"),
    "InvalidAccessKeyId": ("the store does not know these credentials", "Check AWS_ACCESS_KEY_ID and the endpoint"),
    "SignatureDoesNotMatch": ("the store rejects these credentials", "Check AWS_SECRET_ACCESS_KEY"),
    "ExpiredToken": ("the credentials have expired", "Renew them"),
    "RequestTimeTooSkewed": ("the store's clock and the clock of this machine differ", "Set the clock of this machine"),
    "PermanentRedirect": ("the bucket is in another region", "Set AWS_REGION to the bucket's"),
    "PreconditionFailed": ("an object exists already", "Choose another URI, or delete it"),
    "NotImplemented": ("the store does not support this request", "Use a store that supports the S3 API"),
}
_NO_CREDENTIALS = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment"
_ALIASES = {"404": "NoSuchKey", "403": "AccessDenied", "301": "PermanentRedirect", "412": "PreconditionFailed"}
_KINDS = {"NoSuchKey": NotFoundError, "PreconditionFailed": AlreadyExistsError, "NotImplemented": ConditionalPutError}
_BUSY = {
    "ConditionalRequestConflict",  # two puts at the same instant: AWS wants both repeated
    "NoSuchUpload",  # the answer to the end of a multipart upload was lost, and it was sent again
    "OperationAborted",
    "RequestTimeout",
    "SlowDown",
    "Throttling",
}
_BUSY_STATUS = {408, 429}
"""With any code, or with none: Google Cloud Storage asks by them to slow down, and the answer to a HEAD has no body."""


class RetryBudget:
    """Waits for a store that is away, LARPO_S3_PATIENCE seconds in all (180 if not set).

    They count from the last that was heard of it: to notice that a store hangs takes time, too.
    """

    def __init__(self) -> None:
        self._seconds = patience_s()
        self.renew()

    def renew(self) -> None:
        """Something succeeded: begin anew."""
        self._failed = False
        self._pause_s = 0.5
        self.heard()

    def heard(self) -> None:
        """The store gives or takes bytes. Once it has failed, that is no success yet."""
        if not self._failed:
            self._since = time.monotonic()

    def wait(self, error: UnreachableError) -> None:
        """Say what is being waited for and pause. Raises the error once patience is at its end."""
        self._failed = True
        left = self._since + self._seconds - time.monotonic()
        if left <= 0:
            raise error
        logging.getLogger(__name__).warning("%s; retrying for up to %.0f s", error.problem, left)
        time.sleep(min(self._pause_s, left))
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)


def with_retries(location: Location, request: Callable[[], ResultT]) -> ResultT:
    """Ask the store, again and again while it is away.

    Raises:
        StorageError: the store refuses, or stays away.
    """
    patience = RetryBudget()
    while True:
        try:
            with s3_errors(location):
                return request()
        except UnreachableError as error:
            patience.wait(error)


@contextmanager
def s3_errors(location: Location) -> Iterator[None]:
    """Turn what boto3 raises into a StorageError. Their texts are left out: they may quote headers."""
    from boto3.exceptions import Boto3Error
    from botocore import exceptions
    from s3transfer.exceptions import RetriesExceededError

    try:
        yield
    except exceptions.ClientError as error:
        raise _answered(location, error) from None
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError):
        raise StorageError(f"{location}: no credentials", remedy=_NO_CREDENTIALS) from None
    except exceptions.SSLError:
        raise StorageError(
            f"{location}: the certificate of {store_name()} is not trusted",
            remedy="Set AWS_CA_BUNDLE to a file with the certificate that signed it",
        ) from None
    except (
        exceptions.HTTPClientError,
        exceptions.ConnectionError,
        exceptions.IncompleteReadError,
        RetriesExceededError,
        ConnectionError,
        TimeoutError,
    ):
        raise UnreachableError(
            f"{location}: {store_name()} cannot be reached, or closed the connection",
            remedy="Check AWS_ENDPOINT_URL_S3 and the network, and run the same command again",
        ) from None
    except (exceptions.BotoCoreError, Boto3Error) as error:
        raise StorageError(f"{location}: the request failed ({type(error).__name__})", remedy="Check the URI") from None
    except OSError as error:
        raise StorageError(
            f"{location}: {error.filename or 'the cache'} cannot be used: {error.strerror}",
            remedy="Free some space, or set LARPO_CACHE to a writable directory",
        ) from error


def _answered(location: Location, error: ClientError) -> StorageError:
    """The error for an answer of the store that is none we want."""
    answered = str(error.response.get("Error", {}).get("Code", "unknown"))
    code = _ALIASES.get(answered, answered)
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in _BUSY or status in _BUSY_STATUS or (status >= 500 and status != 501):
        return UnreachableError(f"{location}: {store_name()} answered '{code}'", remedy="Run the same command again")
    if str(error.operation_name).startswith("AssumeRole"):  # of STS, before the store was asked
        role = os.environ.get("AWS_ROLE_ARN", "that gives the credentials")
        return StorageError(
            f"{location}: no credentials: the role {role} could not be assumed (STS answered '{answered}')",
            remedy="Check the role's trust policy: it must allow this service account, or the user of AWS_PROFILE",
        )
    code = "NotImplemented" if status == 501 else code
    problem, remedy = _REMEDIES.get(code, (f"the store answered '{code}'", "Try again"))
    return _KINDS.get(code, StorageError)(f"{location}: {problem}", remedy=remedy)
