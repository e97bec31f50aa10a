"""Where a run is: its artifacts, and what stands beside them on this machine while it goes on."""

import os
import shutil
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from larpo_lib.artifacts import MANIFEST, METRICS, read_metrics
from larpo_lib.caches import cache_dir
from larpo_lib.config import TrackingConfig
from larpo_lib.errors import ConfigError, StorageError
from larpo_lib.plan import SUMMARY
from larpo_lib.run_files import KEY, MODELS, SECONDS, SETTINGS, STORE
from larpo_lib.run_state import HERE, Artifacts
from larpo_lib.storage import complete_directories, fetch, is_remote, located, put
from larpo_lib.storage.failures import NotFoundError
from larpo_lib.storage.fetching import short_hash
from larpo_lib.storage.holding import exclusive_run

_FILES = (SETTINGS, MODELS, KEY, SECONDS, SUMMARY)
"""What a run keeps beside its artifacts."""


@dataclass(frozen=True)
class RunPlace:
    """Where a run is.

    Attributes:
        root: directory or s3:// URI of its artifacts.
        work: directory on this machine with the files beside them; of a run on this machine, `root`.
        chosen: whether somebody chose `work`, which then is there to stay.
    """

    root: str
    work: Path
    chosen: bool

    @classmethod
    def find(cls, out: str | Path, work: Path | None = None) -> Self:
        """The place of a run.

        Args:
            out: directory or s3:// URI of the run.
            work: directory for what cannot be in a store; None: one in the cache.

        Raises:
            ConfigError: there is a `work` for a run that needs none.
            StorageError: `out` is neither, or no name of a directory.
        """
        if str(out) == "" or Path(out).name == ".." or Path(out) == Path("/"):
            raise StorageError(f"'{out}': cannot be the directory of a run", remedy="Choose a directory of its own")
        out = located(str(out))
        if not is_remote(out):
            if work is not None:
                raise ConfigError(f"{out}: is a directory, and has all of the run", remedy="Leave out the work folder")
            return cls(out, Path(out), True)
        root = out.rstrip("/")
        return cls(root, work or cache_dir() / "runs" / short_hash(root), work is not None)

    @property
    def remote(self) -> bool:
        """Whether its artifacts are in a store."""
        return is_remote(self.root)

    @property
    def waiting(self) -> str | None:
        """Where in the store what MLflow has not got waits too; None: there is none."""
        return f"{self.root}/{STORE}" if self.remote else None

    @property
    def outputs(self) -> Path:
        """The directory on this machine in which its steps make their outputs."""
        return cache_dir() / "outputs" if self.remote else self.work

    def read(self) -> Sequence[str]:
        """Bring the files beside the artifacts to this machine, as they are in the store.

        Those of an earlier run, which was deleted from the store, are removed from this machine.

        Returns:
            Names of files that the store has not got yet.

        Raises:
            StorageError: the store refuses the read or stays away.
        """
        found: dict[str, Path] = {}
        for name in _FILES if self.remote else ():
            with suppress(NotFoundError):
                found[name] = fetch(f"{self.root}/{name}", cache_dir())
        here = [name for name in _FILES if self.remote and (self.work / name).is_file()]
        if KEY in here and (KEY not in found or found[KEY].read_bytes() != (self.work / KEY).read_bytes()):
            for name in here:
                (self.work / name).unlink()
            here = []
        for name, path in found.items():
            self.work.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, self.work / name)
        return [name for name in here if name not in found]

    def write(self, names: Sequence[str] = _FILES) -> None:
        """Put files beside the artifacts into the store, those of `names` that are there.

        Raises:
            StorageError: the store refuses the write or stays away.
        """
        if self.remote:
            put([self.work / name for name in names if (self.work / name).is_file()], self.root)

    def artifacts(self) -> Artifacts:
        """What is there of the run at this moment."""
        if not self.remote:
            return HERE
        there = frozenset(complete_directories(self.root, last=MANIFEST))
        return Artifacts(
            there.__contains__,
            lambda path: fetch(f"{path}/{MANIFEST}", cache_dir()).parent,
            lambda path: read_metrics(fetch(f"{path}/{METRICS}", cache_dir()).parent),
        )

    def held(self) -> AbstractContextManager[object]:
        """Hold a run in a store, against other machines. Raises HeldError where another process holds it."""
        return exclusive_run(self.root) if self.remote else nullcontext()

    def check_tracking(self, config: TrackingConfig) -> None:
        """Check that there is a place for MLflow's runs and models.

        Raises:
            ConfigError: there is none.
        """
        if self.chosen or config.uri is not None or os.environ.get("MLFLOW_TRACKING_URI"):
            return
        raise ConfigError(
            f"{self.root}: no MLflow server is set, and MLflow's own database cannot be in a store",
            remedy="Set tracking.uri or MLFLOW_TRACKING_URI, or pass --work with a directory that keeps the database",
        )
