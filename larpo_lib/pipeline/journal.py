"""What became of the steps of a run: noted beside its artifacts, where a kill leaves it.

Kubeflow does not know: a step that is killed tells nobody, and what the exit task is told of the others is not certain.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from larpo_lib.errors import LarpoError
from larpo_lib.pipeline import files
from larpo_lib.progress import tell
from larpo_lib.tracking.client import one_line

_STATE, _DONE = "state.json", "done.json"

_NAME = re.compile(r"(?P<step>.+?)(-(?P<iteration>\d+))?(-share-(?P<index>\d+)-of-(?P<count>\d+))?")

SUMMARY = "summary"
"""The step that every pipeline ends with: with it done, the run has done what it was asked."""
WITHOUT_A_WORD = "was stopped, or ended without a message, for example because memory ran out"


@dataclass(frozen=True)
class UnfinishedStep:
    """A step that was begun and not ended well.

    Attributes:
        step: its name, with its iteration and its share.
        cause: what it failed of; "": it is at work still, or was killed.
    """

    step: str
    cause: str

    def __str__(self) -> str:
        return f"{self.step}: {self.cause}" if self.cause else f"{self.step} {WITHOUT_A_WORD}"


@dataclass(frozen=True)
class Journal:
    """Notes of the steps that one Kubeflow run took.

    A step is known as done by the presence of a file, so that a look at many steps is one listing of the store.

    Attributes:
        root: of the run; a local directory or an s3:// URI.
        job: identity of the Kubeflow run. A run that is submitted again begins a journal of its own.
    """

    root: str
    job: str

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Note that a step is at work, before it does anything, and how it ended.

        Args:
            name: of the step, its iteration and its share.
        """
        tell(f"larpo: step {_spoken(name)}")
        place = f"{self._place}/{name}"
        files.write(place, _STATE, {"step": name, "state": "began", "cause": ""})
        try:
            yield
        except BaseException as error:
            try:
                files.write(place, _STATE, {"step": name, "state": "failed", "cause": one_line(error)})
            except LarpoError as second:  # the first error is the one to mend
                error.add_note(str(second))
            raise
        files.write(place, _DONE, {"step": name, "state": "done", "cause": ""})

    def done(self) -> set[str]:
        """Names of the steps that ended well."""
        return self._noted(_DONE)

    def others_finished(self) -> bool:
        """Whether another Kubeflow run has done all that it was asked in this root."""
        ends = files.directories(f"{self.root}/journal", _DONE)
        return any(place.endswith(f"/{SUMMARY}") and not place.startswith(f"{self._place}/") for place in ends)

    def unfinished(self) -> list[UnfinishedStep]:
        """The steps that were begun and did not end well, by name: they failed, were killed, or are at work."""
        names = sorted(self._noted(_STATE) - self.done())
        return [UnfinishedStep(name, files.read(f"{self._place}/{name}", _STATE)["cause"]) for name in names]

    @property
    def _place(self) -> str:
        return f"{self.root}/journal/{self.job}"

    def _noted(self, file: str) -> set[str]:
        return {place.rpartition("/")[2] for place in files.directories(self._place, file)}


def _spoken(name: str) -> str:
    """A step's name in words: `rerank-2-share-0-of-4` is `rerank, iteration 2, share 0 of 4`."""
    found = _NAME.fullmatch(name)
    assert found is not None
    iteration = "" if found["iteration"] is None else f", iteration {found['iteration']}"
    share = "" if found["count"] is None else f", shard {found['index']} of {found['count']}"
    return f"{found['step']}{iteration}{share}"
