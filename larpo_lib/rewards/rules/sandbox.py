"""Code run against tests, in a process of its own that can reach neither network nor files nor other processes."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from larpo_lib.errors import ConfigError, LarpoError

Outcome = Literal["passed", "failed", "unread", "out_of_time"]
Test = dict[str, str]
"""`code`: is run behind the tested code, in its names, and must raise nothing. Or `stdin`, and `stdout` that is due."""

_PROGRAM = Path(__file__).with_name("sandbox_process.py")
_START_S = 30.0


@dataclass(frozen=True)
class Limits:
    """What one test may use.

    Attributes:
        timeout_s: seconds.
        memory_mb: MiB of memory of each process.
        output_mb: MiB of a file, such as its output.
        files_mb: MiB of all files together.
        processes: at one time.
    """

    timeout_s: float
    memory_mb: int
    output_mb: int = 4
    files_mb: int = 64
    processes: int = 16


def run_tests(code: str, tests: Sequence[Test], limits: Limits) -> list[Outcome]:
    """Run code against tests, each in a new process with a new folder.

    Args:
        code: Python.
        tests: at least one.
        limits: of each test.

    Returns:
        The outcome of each test.

    Raises:
        ConfigError: this machine does not let a process be cut off from network and files.
        LarpoError: the process that runs the tests itself came to an end.
    """
    with tempfile.TemporaryDirectory(prefix="larpo-code-") as folder:
        job = {"code": code, "tests": list(tests), "folder": folder, **asdict(limits)}
        answer = _asked(json.dumps(job), _START_S + len(tests) * (limits.timeout_s + 1.0))
    if isinstance(answer, dict):
        raise ConfigError(
            f"code cannot be cut off from network and files on this machine: {answer['refused']}",
            remedy="It needs Linux 5.12 or newer and user namespaces: sysctl kernel.unprivileged_userns_clone=1 or "
            "user.max_user_namespaces, for a container a seccomp profile that allows unshare and mount",
        )
    return answer


def check_sandbox() -> None:
    """Run a line of code.

    Raises:
        ConfigError: as of `run_tests`.
        LarpoError: code does not run here.
    """
    outcomes = run_tests("x = 1", [{"code": "assert x == 1"}], Limits(timeout_s=30.0, memory_mb=512))
    if outcomes != ["passed"]:
        raise LarpoError(f"code does not run on this machine: a line of it {outcomes[0].replace('_', ' ')}")


def _asked(job: str, seconds: float) -> dict[str, str] | list[Outcome]:
    process = subprocess.Popen(  # noqa: S603 - our own program, by this interpreter
        [sys.executable, "-I", "-S", str(_PROGRAM)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={}, start_new_session=True,
    )  # fmt: skip
    try:
        told, problem = process.communicate(job.encode("utf-8", "replace"), timeout=seconds)
    except subprocess.TimeoutExpired:
        told, problem = b"", b"it did not come to an end"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    try:
        answer: dict[str, str] | list[Outcome] = json.loads(told)
    except ValueError:
        last = problem.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise LarpoError(f"tests of code could not be run: {last or 'the process was killed'}") from None
    return answer
