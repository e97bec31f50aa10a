"""The kinds of faults: what is done to a step, and the remedy where a refusal asks for one."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from chaos.attempts import Attempt
from chaos.sabotage import Sabotage
from chaos.steps import Step

from larpo_lib.artifacts import MANIFEST
from larpo_lib.heartbeat import VARIABLE

_DAY_S = 86400.0
_HANG_LIMIT_S = 6
_IMPATIENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "2"}


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    Attributes:
        name: shown.
        act: does it, and leaves the world as the remedy does.
        happens_to: whether it can happen to a step.
    """

    name: str
    act: Callable[[Attempt], None]
    happens_to: Callable[[Step], bool]


def _strike(what: str, **more: object) -> Callable[[Attempt], None]:
    """At one of the step's operations on files."""

    def act(attempt: Attempt) -> None:
        attempt.run(Sabotage(what, attempt.operation(), **more))  # type: ignore[arg-type]

    return act


def _kill_at_any_moment(attempt: Attempt) -> None:
    process, log = attempt.start(Sabotage())
    time.sleep(attempt.rng.uniform(0.0, attempt.known.seconds))
    if process.poll() is None:
        process.kill_session()
    attempt.finish(process, log)


def _kill_twice(attempt: Attempt) -> None:
    for _ in range(2):
        attempt.run(Sabotage("kill", attempt.operation()))


def _kill_without_locks(attempt: Attempt) -> None:
    attempt.locks = "none"
    attempt.run(Sabotage("kill", attempt.operation(), locks="none"))


def _kill_on_another_machine(attempt: Attempt) -> None:
    attempt.locks = "local"
    attempt.run(Sabotage("kill", attempt.operation(), locks="local"))


def _jump(attempt: Attempt) -> None:
    attempt.run(Sabotage("clock", attempt.operation(), attempt.rng.uniform(-3000.0, 3000.0) * _DAY_S))


def _files_of_another_time(attempt: Attempt) -> None:
    attempt.run(Sabotage("kill", attempt.operation()))
    moved_s = attempt.rng.uniform(-3000.0, 3000.0) * _DAY_S
    for path in attempt.here.rglob("*"):
        if path.is_file():
            os.utime(path, (path.stat().st_mtime + moved_s,) * 2)


def _small_disk(attempt: Attempt) -> None:
    """A disk with room for a part of what the step writes; the remedy is a larger one."""
    output = attempt.base / attempt.step.output[1]
    needed = sum(path.stat().st_size + 4096 for path in output.rglob("*"))
    _mount(attempt, "size=256m")
    attempt.populate()
    used = shutil.disk_usage(attempt.here).used
    _mount(attempt, f"remount,size={used + attempt.rng.randrange(2 * needed)}")
    attempt.run(Sabotage())
    _mount(attempt, "remount,size=256m")


def _mount(attempt: Attempt, options: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", attempt.here], check=True)


def can_mount(folder: Path) -> bool:
    """Whether a small disk can be made here."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        return False
    subprocess.run(["umount", folder], check=True)
    return True


def _large_files_refused(attempt: Attempt) -> None:
    output = attempt.base / attempt.step.output[1]
    largest = max(path.stat().st_size for path in output.rglob("*") if path.is_file())
    attempt.run(Sabotage(file_bytes=attempt.rng.randint(1, largest)))


def _damaged_input(attempt: Attempt) -> None:
    """A bit of an artifact that the step reads; the remedy is to have the artifact made again."""
    inputs = [name for _, name in attempt.step.inputs if (attempt.here / name / MANIFEST).is_file()]
    name = attempt.rng.choice(inputs)
    files = sorted(path for path in (attempt.here / name).rglob("*") if path.is_file() and path.stat().st_size)
    _flip(attempt, attempt.rng.choice(files))
    attempt.run(Sabotage())
    shutil.rmtree(attempt.here / name)
    attempt.populate()


def _damaged_published(attempt: Attempt) -> None:
    """A bit of what a run that is killed has published; the remedy is to delete the artifact."""
    attempt.keeps_work = False
    attempt.run(Sabotage("kill", attempt.operation()))
    published = attempt.outputs()
    if not published:
        return
    damaged = published[attempt.rng.choice(sorted(published))]
    _flip(attempt, attempt.rng.choice([path for path in sorted(damaged.iterdir()) if path.is_file()]))
    if attempt.run(Sabotage()).code:
        shutil.rmtree(damaged)


def _flip(attempt: Attempt, path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[attempt.rng.randrange(len(content))] ^= 1 << attempt.rng.randrange(8)
    path.write_bytes(content)


def _cut(attempt: Attempt, path: Path) -> None:
    os.truncate(path, attempt.rng.randrange(path.stat().st_size))


def _remove(_attempt: Attempt, path: Path) -> None:
    path.unlink()


def _damage_partial(damage: Callable[[Attempt, Path], None]) -> Callable[[Attempt], None]:
    """To a file of the half-done work, after a kill in the second half of the step."""

    def act(attempt: Attempt) -> None:
        attempt.keeps_work = False  # what is damaged is made again
        operations = attempt.known.operations
        attempt.run(Sabotage("kill", attempt.rng.randint(operations // 2, operations)))
        files = [path for path in attempt.partial() if path.stat().st_size]
        if files:
            damage(attempt, attempt.rng.choice(files))

    return act


def _two_at_once(locks: str) -> Callable[[Attempt], None]:
    """A second process of the same command; one of them may refuse."""

    def act(attempt: Attempt) -> None:
        attempt.locks = locks
        attempt.keeps_work = False  # where both may think that the other is gone, both do the work
        first = attempt.start(Sabotage(locks=locks))
        time.sleep(attempt.rng.uniform(0.0, attempt.known.seconds))
        second = attempt.start(Sabotage(locks=locks))
        ends = [attempt.finish(*first), attempt.finish(*second)]
        if all(end.code for end in ends):
            raise AssertionError("neither of two came to its end")

    return act


def _paused(attempt: Attempt) -> None:
    """A machine that stands still until another one has taken its work over, and then goes on."""
    attempt.locks = "local"
    attempt.keeps_work = False
    process, log = attempt.start(Sabotage(locks="local"))
    time.sleep(attempt.rng.uniform(0.2, 0.8) * attempt.known.seconds)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGSTOP)
    attempt.run(Sabotage(locks="local"))
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGCONT)
    attempt.finish(process, log)


def _outage(server: str, how: str, *, ends: bool) -> Callable[[Attempt], None]:
    """From one of the step's requests on: for a second and a half, or until the step has ended."""

    def act(attempt: Attempt) -> None:
        switch = attempt.store if server == "store" else attempt.mlflow
        attempt.environment |= {"LARPO_S3_PATIENCE": "20" if ends else "2", **_IMPATIENT}
        switch.set(how, attempt.rng.randint(1, attempt.known.requests), 1.5 if ends else 600.0)
        end = attempt.run(Sabotage(patience_s=1.0))
        attempt.environment.clear()
        if ends and end.code:
            raise AssertionError(f"an outage of 1.5 s was not borne: {end}")

    return act


def _no_server(attempt: Attempt) -> None:
    attempt.environment |= {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9", "LARPO_S3_PATIENCE": "1"}
    attempt.run(Sabotage())
    attempt.environment.clear()


def _stopped_worker(attempt: Attempt) -> None:
    """Stop a process at work on a part, which is found by the file that it has open."""
    attempt.environment[VARIABLE] = str(_HANG_LIMIT_S)
    process, log = attempt.start(Sabotage())
    while process.poll() is None and not (workers := _at_work(process.pid)):
        time.sleep(0.02)
    if process.poll() is None:
        os.kill(attempt.rng.choice(workers), signal.SIGSTOP)
    attempt.finish(process, log)
    attempt.environment.clear()


def _at_work(parent: int) -> list[int]:
    found = []
    for child in Path(f"/proc/{parent}/task").glob("*/children"):
        for pid in map(int, child.read_text().split()):
            try:
                opened = [os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()]  # noqa: PTH115
            except OSError:
                continue
            if any(name.endswith(".batches") for name in opened):
                found.append(pid)
    return sorted(found)


def _here(step: Step) -> bool:
    return not step.in_store and not step.processes and not step.served


def _reads(step: Step) -> bool:
    return _here(step) and bool(step.inputs)


def _stored(step: Step) -> bool:
    return step.in_store


def _served(step: Step) -> bool:
    return step.served


def _any(step: Step) -> bool:
    return not step.processes


KINDS = (
    Kind("killed at an operation", _strike("kill"), _any),
    Kind("killed at any moment", _kill_at_any_moment, lambda _step: True),
    Kind("killed twice", _kill_twice, _here),
    Kind("SIGTERM", _strike("SIGTERM"), _any),
    Kind("SIGINT", _strike("SIGINT"), _any),
    Kind("SIGHUP", _strike("SIGHUP"), _here),
    Kind("disk full (ENOSPC)", _strike("disk full"), _any),
    Kind("disk full (a small one)", _small_disk, _here),
    Kind("disk broken (EIO)", _strike("disk broken"), _here),
    Kind("file system gone (ESTALE)", _strike("store of files gone"), _here),
    Kind("large files refused (EFBIG)", _large_files_refused, _here),
    Kind("bit flip in an input", _damaged_input, _reads),
    Kind("bit flip in what a run made", _damaged_published, lambda step: step.command == "run" and _here(step)),
    Kind("bit flip in half-done work", _damage_partial(_flip), _here),
    Kind("half-done work cut off", _damage_partial(_cut), _here),
    Kind("half-done work removed", _damage_partial(_remove), _here),
    Kind("clock jumps", _jump, _here),
    Kind("files of another time", _files_of_another_time, _here),
    Kind("killed without locks", _kill_without_locks, _here),
    Kind("killed on another machine", _kill_on_another_machine, _here),
    Kind("two at once", _two_at_once(""), _here),
    Kind("two at once without locks", _two_at_once("none"), _here),
    Kind("two machines at once", _two_at_once("local"), _here),
    Kind("a machine stands still", _paused, _here),
    Kind("store busy, back soon", _outage("store", "busy", ends=True), _stored),
    Kind("store hangs, back soon", _outage("store", "hang", ends=True), _stored),
    Kind("store cuts, back soon", _outage("store", "cut", ends=True), _stored),
    Kind("store busy", _outage("store", "busy", ends=False), _stored),
    Kind("store hangs", _outage("store", "hang", ends=False), _stored),
    Kind("store cuts", _outage("store", "cut", ends=False), _stored),
    Kind("no store", _no_server, _stored),
    Kind("MLflow busy", _outage("mlflow", "busy", ends=False), _served),
    Kind("MLflow hangs", _outage("mlflow", "hang", ends=False), _served),
    Kind("MLflow cuts", _outage("mlflow", "cut", ends=False), _served),
    Kind("a worker hangs", _stopped_worker, lambda step: step.processes),
)
"""In the table of a campaign, in this order."""
