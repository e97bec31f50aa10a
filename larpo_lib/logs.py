"""What a program tells beside its results: plain lines on standard error, of which the user says how many.

Nothing is set up by an import: the command line, the processes that it starts and the tasks of a pipeline do it when
they begin. A program that uses the library sets up its own logging, of the logger `larpo_lib`.
"""

import logging
import os
import sys
import warnings

from larpo_lib.errors import ConfigError
from larpo_lib.redaction import presentable

VARIABLE = "LARPO_LOG"
"""Variable of the environment that says how much is told, for pods and for the processes that this one starts."""

QUIET, NORMAL, VERBOSE = "quiet", "normal", "verbose"
_LEVELS = {QUIET: logging.WARNING, NORMAL: logging.INFO, VERBOSE: logging.DEBUG}

_SILENT = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_VERBOSITY": "error",  # of retries it says each; the error that ends them says it all
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "TRANSFORMERS_VERBOSITY": "error",
}
"""Read by other libraries when they are imported."""

_START_UP = {
    "DeepSpeed": "Setting accelerator to CPU",
    "torch.distributed.run": "Setting OMP_NUM_THREADS environment variable",
}
"""Loggers that warn of what is as it should be, and what they say of it."""


def set_up(level: str | None = None) -> None:
    """Say what is to be said on standard error, as it is now and whatever it becomes. Done again it changes the level.

    Args:
        level: `quiet`: warnings alone; `normal`: also notices and progress; `verbose`: also details, and what other
            libraries say. As LARPO_LOG has it if not given, else `normal`.

    Raises:
        ConfigError: LARPO_LOG is none of these words.
    """
    level = level or os.environ.get(VARIABLE) or NORMAL
    if level not in _LEVELS:
        raise ConfigError(f"{VARIABLE} is '{level}'", remedy=f"Set it to {QUIET}, {NORMAL} or {VERBOSE}")
    os.environ[VARIABLE] = level
    ours = logging.getLogger("larpo_lib")
    ours.setLevel(_LEVELS[level])
    ours.propagate = False  # Kubeflow's executor gives the root a handler of its own: each line would come twice
    if _HANDLER not in ours.handlers:
        ours.addHandler(_HANDLER)
    for name in _START_UP:
        logging.getLogger(name).addFilter(_DIVERTED)
    if level == VERBOSE:
        logging.basicConfig(format="%(name)s: %(message)s", level=logging.INFO)
        return
    logging.getLogger().setLevel(logging.WARNING)
    logging.getLogger("mlflow").setLevel(logging.WARNING)  # where it was imported before
    warnings.simplefilter("ignore", FutureWarning)  # for the authors of programs
    for name, value in _SILENT.items():
        os.environ.setdefault(name, value)


class _Lines(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to what standard error is at that moment: a bar that is being drawn puts itself before it."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> object:
        return sys.stderr

    def format(self, record: logging.LogRecord) -> str:
        text = presentable(super().format(record))
        return f"warning: {text}" if record.levelno >= logging.WARNING else text


class _Diverted(logging.Filter):
    """Takes what a logger of another library says to our lines: DeepSpeed's would stand among the results."""

    def filter(self, record: logging.LogRecord) -> bool:
        expected = _START_UP.get(record.name, "") in record.getMessage()
        if not expected or os.environ.get(VARIABLE) == VERBOSE:
            _HANDLER.handle(record)
        return False


_HANDLER, _DIVERTED = _Lines(), _Diverted()
