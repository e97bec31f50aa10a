"""Runs a step that trains in several processes: starts them, and lets the leading one publish.

Every process runs the step's own function. torchrun starts them, here on this machine's behalf or, told by its
PET_... variables, on behalf of several; a user who runs `torchrun -m larpo_lib train ...` gets the same.
"""

import json
import logging
import os
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from signal import SIGHUP, SIGINT, SIGQUIT, SIGTERM
from threading import Event
from typing import Any

from larpo_lib import logs
from larpo_lib.artifacts import Metrics, WorkDir, produce, read_metrics
from larpo_lib.beside import beside
from larpo_lib.config import TrainingConfig, section_class
from larpo_lib.device_memory import memory_errors
from larpo_lib.errors import ConfigError, LarpoError
from larpo_lib.heartbeat import HangError, Watch, heartbeat, shared_cells
from larpo_lib.launcher import is_distributed
from larpo_lib.models.device import model_device
from larpo_lib.signals import handlers_restored, minded
from larpo_lib.steps.declarations import STEPS
from larpo_lib.training.fit import MetricLogger
from larpo_lib.training.ranks import Ranks, init_distributed
from larpo_lib.workers import end_with_parent

_POLL_S = 1.0
_FAREWELL_S = 20  # of the 30 that a pod has between SIGTERM and SIGKILL
_CELLS = "heartbeats"
_ELASTIC = "torch.distributed.elastic"
_RANK = b"LOCAL_RANK="


def produce_distributed(
    step: str,
    config: TrainingConfig,
    inputs: Mapping[str, Path],
    output: Path,
    make: Callable[[Ranks, WorkDir | None], Metrics],
    log: MetricLogger,
) -> Metrics:
    """`artifacts.produce` for a step that several processes make together.

    Args:
        step: name of the step and of its module.
        config: with the launcher.
        inputs: by the names that the step's `run` gives them.
        output: `run`'s argument `trained`.
        make: makes the artifact; processes that do not lead get no folders.
        log: called with each optimiser step's metrics.

    Returns:
        The metrics; on a machine that does not lead, nothing.
    """
    if config.launch.launcher != "none" and not is_distributed():
        return _start(step, config, inputs, output, log)
    with init_distributed(config.model) as ranks:
        if not ranks.is_main:
            if ranks.broadcast(None):
                with memory_errors(step, config):
                    make(ranks, None)
            return {}
        made = False

        def lead(work: WorkDir) -> Metrics:
            nonlocal made
            made = ranks.broadcast(True)
            return make(ranks, work)

        metrics = produce(step, config, inputs, output, lead)
        if not made:  # it was there already: let the others go
            ranks.broadcast(False)
        return metrics


def _start(step: str, config: TrainingConfig, inputs: Mapping[str, Path], output: Path, log: MetricLogger) -> Metrics:
    """Run the step in processes of their own, and wait for them."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import elastic_launch
    from torch.distributed.run import config_from_args, parse_args

    _check_nodes(config)
    _check_devices(config)
    with tempfile.TemporaryDirectory(prefix="larpo-") as folder, _own_environment():
        call = Path(folder) / "call.json"
        paths = {**inputs, "trained": output}
        stated = {
            "parent": os.getpid(),
            "step": step,
            "config": config.model_dump(mode="json"),
            "paths": {name: str(path.absolute()) for name, path in paths.items()},
        }
        call.write_text(json.dumps(stated), "utf-8")
        here = ["--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0", f"--rdzv-id={uuid.uuid4().hex}"]
        meeting = [] if "PET_NNODES" in os.environ else here
        here_too = [f"--nproc-per-node={config.launch.nproc}", f"--log-dir={folder}"]  # it would leave its own behind
        arguments = [*meeting, *here_too, "--module", __name__, str(call)]
        launch, command, command_arguments = config_from_args(parse_args(arguments))  # type: ignore[no-untyped-call]
        launch.shutdown_timeout = _FAREWELL_S
        launch.signals_to_handle = ",".join(number.name for number in minded([SIGTERM, SIGINT, SIGHUP, SIGQUIT]))
        cells = shared_cells(call.with_name(_CELLS), config.launch.nproc)
        hung: list[HangError] = []
        try:
            with _followed(Path(folder) / "steps.jsonl", log), _watched(call, cells, hung):
                elastic_launch(launch, command)(*command_arguments)
        except ChildFailedError as failure:
            raise hung[0] if hung else _failure(failure) from None
        except SignalException as told:
            raise (KeyboardInterrupt if told.sigval == SIGINT else SystemExit(128 + told.sigval)) from None
    return read_metrics(output) if output.exists() else {}


def _check_nodes(config: TrainingConfig) -> None:
    nodes = config.launch.nodes
    if nodes > 1 and os.environ.get("PET_NNODES") != str(nodes):
        raise ConfigError(
            f"nodes is {nodes}, but PET_NNODES on this machine is not {nodes}",
            remedy="Set nodes to 1, or start the command on each machine with torchrun's PET_... variables",
        )


def _check_devices(config: TrainingConfig) -> None:
    import torch

    if model_device(config.model).type == "cuda" and config.launch.nproc > torch.cuda.device_count():
        raise ConfigError(
            f"nproc is {config.launch.nproc}, but this machine has {torch.cuda.device_count()} CUDA devices",
            remedy="Reduce nproc, or set model.device to cpu",
        )


def _failure(failure: Any) -> LarpoError:
    """What a process that failed recorded of it, the main one before the others."""
    for _, found in sorted(failure.failures.items()):
        if isinstance(found.message, dict):
            return LarpoError(found.message["message"].partition(": ")[2])
    rank, first = failure.get_first_failure()
    return LarpoError(
        f"training process {rank} ended with {first.signal_name() if first.exitcode < 0 else first.exitcode}",
        remedy="See its output above; SIGKILL usually means that memory ran out",
    )


def main(call: Path) -> int:
    """One of the processes."""
    from torch.distributed.elastic.multiprocessing.errors import get_error_handler

    stated = json.loads(call.read_text("utf-8"))
    end_with_parent(stated["parent"])
    logs.set_up()
    step = STEPS[stated["step"]]
    assert step.section is not None
    config: Any = section_class(step.section).model_validate(stated["config"])
    paths = {name: Path(path) for name, path in stated["paths"].items()}

    def log(row: Mapping[str, float], number: int) -> None:
        with (call.parent / "steps.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps([dict(row), number]) + "\n")

    cells = shared_cells(call.with_name(_CELLS), config.launch.nproc)
    try:
        with heartbeat(cells, int(os.environ["LOCAL_RANK"])):
            step.run(config, **paths, log=log)
    except LarpoError as error:
        get_error_handler().record_exception(error)  # to TORCHELASTIC_ERROR_FILE, which the starting process reads
        sys.stdout.flush()
        os._exit(2)  # the others wait for this one: no farewell through the process group
    except SystemExit as stopped:
        return int(stopped.code or 0)
    return 0


@contextmanager
def _own_environment() -> Iterator[None]:
    """Undo what torchrun's functions do to the environment, to the log and to the handlers of signals."""
    before = dict(os.environ)
    loggers = [logging.getLogger(name) for name in logging.root.manager.loggerDict if name.startswith(_ELASTIC)]
    levels = [logger.level for logger in loggers]  # each has its own
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with handlers_restored():
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        os.environ.clear()
        os.environ.update(before)


def _watched(call: Path, cells: Any, hung: list[HangError]) -> AbstractContextManager[None]:
    """End processes that hang; torchrun then ends the others."""
    watch = Watch(cells, "training process", works=True)

    def look(ended: Event) -> None:
        while not ended.wait(_POLL_S):
            if watch.some_are_missing:
                for rank, pid in _processes_of(call):
                    watch.started(rank, pid)
            if (found := watch.end_hung()) is not None:
                hung.append(found)

    return beside(look)


def _processes_of(call: Path) -> Iterator[tuple[int, int]]:
    """Rank and process id of torchrun's processes, which a process that has not come to its first line cannot say."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is somebody else's
            if os.fsencode(call) in (folder / "cmdline").read_bytes().split(b"\0"):
                environment = (folder / "environ").read_bytes().split(b"\0")
                ranks = [entry.removeprefix(_RANK) for entry in environment if entry.startswith(_RANK)]
                yield from ((int(rank), int(folder.name)) for rank in ranks)


def _followed(path: Path, log: MetricLogger) -> AbstractContextManager[None]:
    """Hand on the lines that the leading process writes, as they come. What `log` raises ends the block, at its end."""

    def follow(ended: Event) -> None:
        place = 0
        while True:
            last = ended.is_set()
            if path.exists():
                with path.open(encoding="utf-8") as file:
                    file.seek(place)
                    while (line := file.readline()).endswith("\n"):
                        log(*json.loads(line))
                        place = file.tell()
            if last:
                return
            ended.wait(_POLL_S)

    return beside(follow)


if __name__ == "__main__":
    code = main(Path(sys.argv[1]))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # threads of the process group, still there at times, would abort a process that ends by itself
