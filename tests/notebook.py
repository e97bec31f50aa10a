"""A run as a notebook makes it: within a running event loop, in a process that goes on afterwards."""

import asyncio
import logging
import shutil
import signal
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import larpo_lib

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGPROF)


@dataclass(frozen=True)
class NotebookRun:
    """A run, and what it might have changed in the process.

    Attributes:
        result: of the run.
        before: the state of the process before it.
        after: and behind it.
    """

    result: larpo_lib.RunResult
    before: dict[str, Any]
    after: dict[str, Any]


def run_in_notebook(world: Path, database: Path, out: Path) -> NotebookRun:
    """Run the loop on a tiny world, with a copy of an empty MLflow database."""
    (out / "mlflow").mkdir(parents=True)
    shutil.copyfile(database, out / "mlflow" / "mlflow.db")

    async def cell() -> larpo_lib.RunResult:
        return larpo_lib.run_loop(larpo_lib.load_config(world / "larpo.toml"), out)

    before = _process()
    result = asyncio.run(cell())
    return NotebookRun(result, before, _process())


def _process() -> dict[str, Any]:
    root = logging.getLogger()
    return {
        "signals": [signal.getsignal(number) for number in SIGNALS],
        "root": (root.level, list(root.handlers)),
        "transformers": logging.getLogger("transformers").level,
        "warnings": list(warnings.filters),
        "directory": Path.cwd(),
    }
