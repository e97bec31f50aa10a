"""Processes on this machine that share work, each with GPUs of its own."""

import ctypes
import multiprocessing
import os
import queue
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

from larpo_lib import logs
from larpo_lib.device_memory import RanOutError, ran_out
from larpo_lib.errors import LarpoError
from larpo_lib.files import refusal
from larpo_lib.heartbeat import CELLS, Watch, heartbeat, mark

ItemT = TypeVar("ItemT")

WorkerFn = Callable[[Callable[[], int | None], Callable[[int], None]], None]
"""Called in each process with what gives the next task's number (None: there is no more) and what is told that it is
done. It must be picklable."""

_POLL_S = 1.0


def run_in_processes(work: WorkerFn, tasks: int, processes: int, *, marked: bool = True) -> Iterator[int]:
    """Have `processes` processes go through tasks 0 to `tasks` - 1; gives the number of each as it is done.

    The visible GPUs are dealt out to them evenly. They end with this process, however that one ends.

    Args:
        work: what each of them does.
        tasks: how many there are.
        processes: that divide them.
        marked: the work within a task calls `heartbeat.mark`, so that a process that does not hangs.

    Raises:
        HangError: one of them hung, and was ended. What is finished stays.
        LarpoError: one of them failed. What the others have finished stays.
        RanOutError: memory ran out in one of them; likewise.
    """
    context = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
    upcoming, results = context.Value("q", 0), context.Queue()
    cells = context.RawArray("q", CELLS * processes)
    watch = Watch(cells, "worker process", works=marked)
    started = [
        context.Process(target=_serve, args=(work, upcoming, tasks, results, gpus, os.getpid(), cells, index))
        for index, gpus in enumerate(_gpus_per_process(processes))
    ]
    for index, process in enumerate(started):
        process.start()
        assert process.pid is not None
        watch.started(index, process.pid)
    try:
        left = tasks
        while left:
            kind, value = _next_result(results, started, watch)
            if kind == "refused":
                error = LarpoError(value[0])
                error.transient = value[1]
                raise error
            if kind == "ran out":
                raise RanOutError(value)
            if kind == "broke":
                raise RuntimeError(f"a worker process failed:\n{value}")
            left -= 1
            yield value
        for process in started:
            process.join()
    finally:
        for process in started:
            process.kill()
            process.join()


def go_through(
    items: Sequence[ItemT], do: Callable[[ItemT], None], jobs: int, *, threads: int | None = None
) -> Iterator[ItemT]:
    """Do something to each item, one after the other here or `jobs` at one time in processes; gives what those did.

    Args:
        items: for several jobs picklable, as `do` is.
        do: what is to be done.
        jobs: most items that are worked on at the same time.
        threads: of each process; None: its share of those it would take alone.

    Raises:
        LarpoError: as of `run_in_processes`.
    """
    if jobs == 1:
        for item in items:
            do(item)
        return
    processes = min(jobs, len(items))
    work = partial(_take_items, list(items), do, processes, threads)
    for index in run_in_processes(work, len(items), processes, marked=False):
        yield items[index]


def _take_items(
    items: Sequence[ItemT],
    do: Callable[[ItemT], None],
    processes: int,
    threads: int | None,
    take: Callable[[], int | None],
    done: Callable[[int], None],
) -> None:
    import torch

    torch.set_num_threads(threads or max(1, torch.get_num_threads() // processes))  # else each would take every core
    while (index := take()) is not None:
        do(items[index])
        done(index)


def end_with_parent(parent: int) -> None:
    """Have the kernel end this process with the one that started it, however that one dies. Linux only."""
    if sys.platform != "linux":
        return
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if os.getppid() != parent:  # it was dead before the kernel was told
        os._exit(1)


def _gpus_per_process(processes: int) -> list[str | None]:
    """CUDA_VISIBLE_DEVICES of each process; None where there is no GPU to deal out."""
    stated = os.environ.get("CUDA_VISIBLE_DEVICES")
    if stated is not None:
        devices = [device for device in stated.split(",") if device]
    else:
        import torch

        devices = [str(i) for i in range(torch.cuda.device_count())]
    if not devices:
        return [None] * processes
    if processes > len(devices):
        return [devices[i % len(devices)] for i in range(processes)]
    each = len(devices) // processes
    return [",".join(devices[i * each : (i + 1) * each]) for i in range(processes)]


def _serve(
    work: WorkerFn, upcoming: Any, tasks: int, results: Any, gpus: str | None, parent: int, cells: Any, number: int
) -> None:
    end_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started this process is interrupted, too, and ends it
    if gpus is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus  # before any library looks for GPUs

    def take() -> int | None:
        mark()
        with upcoming.get_lock():
            index: int = upcoming.value
            upcoming.value += 1
        return index if index < tasks else None

    logs.set_up()
    try:
        with heartbeat(cells, number):
            work(take, lambda index: results.put(("done", index)))
    except BaseException as error:
        results.put(_told(error))


def _told(error: BaseException) -> tuple[str, Any]:
    """What a process that fails says to the one that started it."""
    if isinstance(error, LarpoError):
        return "refused", (str(error), error.transient)
    if isinstance(error, Exception) and (refused := refusal(error)) is not None:
        remedy = "Fix this, and run the same command again; it continues where it stopped"
        return "refused", (str(LarpoError(f"a worker process cannot go on: {refused}", remedy=remedy)), False)
    if isinstance(error, Exception) and (told := ran_out(error)) is not None:
        return "ran out", told
    return "broke", "".join(traceback.format_exception(error))


def _next_result(results: Any, started: list[Any], watch: Watch) -> tuple[str, Any]:
    while True:
        if (hung := watch.end_hung()) is not None:
            raise hung
        ended = [process for process in started if process.exitcode not in (None, 0)]
        try:
            found: tuple[str, Any] = results.get(timeout=_POLL_S)
        except queue.Empty:
            if ended:
                raise LarpoError(
                    f"a worker process ended with exit code {ended[0].exitcode}",
                    remedy="Exit code -9 usually means that memory ran out; use fewer processes",
                ) from None
        else:
            return found
