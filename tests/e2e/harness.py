"""Runs a pipeline on KFP's local runners, and makes steps fail on purpose."""

import contextlib
import io
import json
import textwrap
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kfp import local

from larpo_kubeflow.pipelines.limits import Limits

OWN = ("AWS_", "MLFLOW_", "LARPO_")
"""Prefixes of what the environment tells larpo."""

QUICK = Limits(retries=2, backoff="1s")
"""Retries without the pauses of a cluster."""

SMALL: dict[str, Any] = {
    "sft": {"max_steps": 60, "batch_size": 32},
    "sample": {"k": 4, "prompts_per_iteration": 64},
    "prepare": {"limit": 128},
    "evaluation_prompts": {"limit": 32},
    "evaluate": {"n": 4, "resamples": 100},
    "train": {"learning_rate": 1e-4},
    "promote": {"metric": "reward", "resamples": 100},
    "report": {"examples": 1},
}
"""The quickstart, with fewer prompts and steps; its result passes the gate after two rounds."""


def as_options(settings: dict[str, Any], prefix: str = "") -> list[str]:
    """Settings as the command line takes them."""
    options = []
    for name, value in settings.items():
        if isinstance(value, dict):
            options += as_options(value, f"{prefix}{name}.")
        else:
            options += ["--set", f"{prefix}{name}={json.dumps(value)}"]
    return options


FAULT = """\
import importlib.abc, importlib.util, pathlib, sys

STEP, TIMES, FOLDER, MESSAGE = {step!r}, {times!r}, pathlib.Path({folder!r}), {message!r}


class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != f"larpo_lib.steps.{{STEP}}":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module

        def load_and_break(module):
            load(module)
            run = module.run

            def fail_first(*args, **kwargs):
                failed = len(list(FOLDER.glob("failure-*")))
                if failed < TIMES:
                    (FOLDER / f"failure-{{failed}}").touch()
                    from larpo_lib.errors import LarpoError

                    raise LarpoError(MESSAGE)
                return run(*args, **kwargs)

            module.run = fail_first

        spec.loader.exec_module = load_and_break
        return spec


sys.meta_path.insert(0, Finder())
"""


@dataclass(frozen=True)
class Outcome:
    """What became of a pipeline.

    Attributes:
        error: what KFP raised at the end; empty: it succeeded.
        log: everything its tasks wrote.
        folder: KFP's folder of this run, with a folder a task.
    """

    error: str
    log: str
    folder: Path

    def outputs(self, task: str) -> list[dict[str, Any]]:
        """What a task gave each time it ran, parameters and artifacts, as KFP's executor wrote it.

        Args:
            task: its name.
        """
        found = sorted(self.folder.rglob(f"{task}/executor_output.json"), key=lambda path: path.stat().st_mtime)
        return [dict(json.loads(path.read_text("utf-8"))) for path in found]

    def tasks(self) -> list[str]:
        """The names of all tasks that ran to an end, in their order."""
        found = sorted(self.folder.rglob("executor_output.json"), key=lambda path: path.stat().st_mtime)
        return [path.parent.name for path in found]

    def text(self, name: str) -> str:
        """The content of the artifact of that name which was written last."""
        found = [path for path in self.folder.rglob(name) if path.is_file()]
        return max(found, key=lambda path: path.stat().st_mtime).read_text("utf-8")


def run_locally(pipeline: Any, arguments: dict[str, Any], folder: Path, runner: Any) -> Outcome:
    """Run a pipeline.

    Args:
        pipeline: as `larpo_pipeline` gives it.
        arguments: its parameters.
        folder: KFP's pipeline root.
        runner: one of `kfp.local`'s.
    """
    before = set(folder.iterdir()) if folder.exists() else set()
    local.init(runner=runner, pipeline_root=str(folder))
    log, error = io.StringIO(), ""
    with warnings.catch_warnings(), contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
        warnings.simplefilter("ignore")
        try:
            pipeline(**arguments)
        except RuntimeError as failure:
            error = str(failure)
    (made,) = set(folder.iterdir()) - before
    return Outcome(error, log.getvalue(), made)


@contextlib.contextmanager
def broken_step(folder: Path, step: str, times: int, message: str) -> Iterator[str]:
    """A folder for PYTHONPATH under which a step fails so many times, in whatever process it runs.

    Args:
        folder: to write to.
        step: module below `larpo_lib.steps`.
        times: how often it fails before it works.
        message: of its failure.
    """
    folder.mkdir()
    code = FAULT.format(step=step, times=times, folder=str(folder), message=message)
    (folder / "sitecustomize.py").write_text(textwrap.dedent(code), "utf-8")
    yield str(folder)
