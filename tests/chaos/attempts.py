"""One fault: a world of its own, what is run in it, and what came of it."""

import os
import random
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import chdir, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from chaos.outages import Switch
from chaos.sabotage import Sabotage, larpo, read_counts
from chaos.steps import BUCKET, Step
from forked import Forked, forked

from larpo_lib import storage
from larpo_lib.artifacts import MANIFEST, digest, verify
from larpo_lib.errors import LarpoError

_LONGEST_S = 180.0
_STOPPED = frozenset({-9, -15, -1, 130, 143, 129})
"""Exit codes of a program that somebody stopped."""


@dataclass(frozen=True)
class Reference:
    """What a step does and makes where nothing goes wrong: operations on files, batches and passes, requests."""

    digests: Mapping[str, str]
    operations: int
    work: int
    seconds: float
    requests: int


@dataclass(frozen=True)
class End:
    """How a process ended, and what it said."""

    code: int | None
    told: str

    @property
    def refusal(self) -> str:
        """The line of a refusal; "" where there is none."""
        return next((line for line in self.told.splitlines() if line.startswith("larpo: ")), "")

    @property
    def fault(self) -> str:
        """What is wrong with how it ended: it must come to its end, be stopped, or refuse in one line."""
        refusals = sum(line.startswith("larpo: ") for line in self.told.splitlines())
        if "Traceback" in self.told:
            after = self.told.partition("Traceback")[2].splitlines()[1:]
            return f"a traceback: {next((line for line in after if line.strip() and line[0] != ' '), '')}"
        if self.code is None:
            return f"no end within {_LONGEST_S:.0f} s"
        if self.code == 0 or self.code in _STOPPED or (self.code == 2 and refusals == 1):
            return ""
        return f"exit code {self.code} with {refusals} lines of refusal: {self.told.strip()[-300:]}"

    def __str__(self) -> str:
        if self.code == 0:
            return "went on"
        return self.refusal.removeprefix("larpo: ")[:110] or "killed" * (self.code == -9) or "stopped"


@dataclass
class Attempt:
    """A fault that is tried.

    Attributes:
        number: of the fault.
        step: what it happens to.
        rng: its random numbers.
        base: the world, with all artifacts.
        folder: of its own.
        reference: the step without faults; None while that is made.
        store, mlflow: the servers.
        ends: how the processes ended so far.
        keeps_work: whether no finished work may be made again.
        locks: as of `Sabotage`, of every process.
    """

    number: int
    step: Step
    rng: random.Random
    base: Path
    folder: Path
    store: Switch
    mlflow: Switch
    reference: Reference | None = None
    ends: list[End] = field(default_factory=list)
    keeps_work: bool = True
    locks: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    _counts: list[Path] = field(default_factory=list)

    @property
    def here(self) -> Path:
        """The working directory."""
        return self.folder / "here"

    @property
    def known(self) -> Reference:
        """The reference, once it is known."""
        assert self.reference is not None
        return self.reference

    def populate(self) -> None:
        """Copy what the step reads."""
        self.here.mkdir(exist_ok=True)
        own = () if self.step.in_store else (name for _, name in self.step.inputs)
        names = {"larpo.toml", "prompts.jsonl", "heldout.jsonl", "demonstrations.jsonl", "policy", "reward", *own}
        for name in names:
            source = self.base / name
            if source.is_dir():
                shutil.copytree(source, self.here / name, dirs_exist_ok=True)
            else:
                shutil.copyfile(source, self.here / name)
        for place in self.step.databases:
            (self.here / place).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.base / "empty.db", self.here / place / "mlflow.db")

    def operation(self) -> int:
        """The number of an operation on files, drawn from all that the step makes."""
        return self.rng.randint(1, self.known.operations)

    def start(self, sabotage: Sabotage) -> tuple[Forked, Path]:
        """Begin the step; returns the process, and the file with what it says."""
        log, counts = self.folder / f"{len(self._counts)}.log", self.folder / f"{len(self._counts)}.counts"
        self._counts.append(counts)
        # MLflow's server, which is a thread of this process, sets variables that would lead every program to it.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
        environment = {**inherited, "LARPO_CACHE": str(self.here / "cache"), **self.environment}
        with chdir(self.here):
            arguments = self.step.arguments(self.number)
            return forked(larpo, arguments, sabotage, counts, output=log, environment=environment), log

    def finish(self, process: Forked, log: Path) -> End:
        """Wait for a process, and keep how it ended."""
        try:
            code: int | None = process.wait(_LONGEST_S)
        except subprocess.TimeoutExpired:
            code = None
            process.kill_session()
        self.ends.append(End(code, log.read_text("utf-8", errors="replace")))
        return self.ends[-1]

    def run(self, sabotage: Sabotage) -> End:
        """Take the step from its beginning to an end."""
        return self.finish(*self.start(sabotage))

    def work(self) -> int:
        """Batches, passes and steps that all processes so far have computed."""
        return sum(read_counts(counts)[1] for counts in self._counts)

    def operations(self) -> int:
        """Operations on files of the last process."""
        return read_counts(self._counts[-1])[0]

    def partial(self) -> list[Path]:
        """The files of half-done work."""
        files = [path for path in self.here.rglob("*") if path.is_file()]
        return sorted(path for path in files if any(part.endswith(".partial") for part in path.parts))

    def outputs(self) -> dict[str, Path]:
        """The artifacts that the step has published, by their names. Raises LarpoError where one cannot be fetched."""
        if self.step.in_store:
            uri = f"s3://{BUCKET}/{self.number}/{self.step.output[1]}"
            return {self.step.output[1]: storage.fetch(uri, self.folder / "fetched")}
        root = self.here / self.step.output[1]
        found = (path.parent for path in sorted(root.rglob(MANIFEST)) if ".partial" not in str(path))
        return {
            path.relative_to(self.here).as_posix(): path
            for path in found
            if "mlflow" not in path.parts and path.name not in self.step.unlike
        }

    def digests(self) -> dict[str, str]:
        """What the step has published, each file checked. Raises LarpoError where one is missing or damaged."""
        found = self.outputs()
        for path in found.values():
            verify(path)
        return {name: digest(path) for name, path in found.items()}

    def left_over(self) -> list[str]:
        """What a step that has come to its end must not leave beside its output."""
        strays = [*self.here.rglob(".*.partial"), *self.here.rglob("*.holder")]
        return sorted(path.relative_to(self.here).as_posix() for path in strays if "cache" not in path.parts)


@dataclass(frozen=True)
class Outcome:
    """What came of a fault: what was wrong, what was lost, and which share of the work was done twice."""

    problem: str
    lost: list[str]
    repeated: float | None


def conclude(attempt: Attempt) -> Outcome:
    """Run the step again after its fault, and compare."""
    problem = next((end.fault for end in attempt.ends if end.fault), "")
    attempt.store.set()
    attempt.mlflow.set()
    before = {} if attempt.step.in_store else {name: _inode(path) for name, path in attempt.outputs().items()}
    stops = sum(end.code != 0 for end in attempt.ends)
    end = attempt.run(Sabotage(locks=attempt.locks))
    if end.code != 0:
        return Outcome(problem or f"the rerun: {end.fault or end}", [], None)
    try:
        found = attempt.digests()
    except LarpoError as error:
        return Outcome(problem, [str(error)], None)
    lost = [name for name, digest in attempt.known.digests.items() if found.get(name) != digest]
    lost += [f"{name} was made again" for name, inode in before.items() if inode != _inode(attempt.here / name)]
    lost += [f"{name} is left" for name in attempt.left_over()]
    work, repeated = attempt.known.work, None
    if work and not attempt.step.processes:
        repeated = (attempt.work() - work) / work
        if attempt.keeps_work and repeated > attempt.step.piece * stops:
            lost.append(f"{repeated:.0%} of the work, where a stop may cost {attempt.step.piece:.0%}")
    return Outcome(problem, lost, repeated)


def _inode(path: Path) -> int:
    return (path / MANIFEST).stat().st_ino if (path / MANIFEST).is_file() else 0


@contextmanager
def attempted(attempt: Attempt) -> Iterator[Attempt]:
    """Make its world, and remove it at the end."""
    attempt.folder.mkdir(parents=True)
    attempt.populate()
    try:
        yield attempt
    finally:
        while os.path.ismount(attempt.here):
            subprocess.run(["umount", "--lazy", attempt.here], check=True)
        shutil.rmtree(attempt.folder)


def measured(attempt: Attempt) -> Reference:
    """The step without any fault; what it makes is put into the base. Raises RuntimeError where it fails."""
    attempt.store.set()
    attempt.mlflow.set()
    start = time.monotonic()
    end = attempt.run(Sabotage())
    seconds = time.monotonic() - start
    if end.code != 0:
        raise RuntimeError(f"{attempt.step.name} without any fault: {end.told}")
    requests = attempt.store.requests + attempt.mlflow.requests
    reference = Reference(attempt.digests(), attempt.operations(), attempt.work(), seconds, requests)
    output = attempt.step.output[1]
    if not attempt.step.in_store and not (attempt.base / output).exists():
        shutil.copytree(attempt.here / output, attempt.base / output)
    return reference
