"""The official AlpacaEval package, imported late and kept from changing what is not its own."""

import importlib
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import metadata
from types import ModuleType, SimpleNamespace

from larpo_lib.errors import ConfigError

_INSTALL = "pip install 'larpo[alpaca-eval]'"


@contextmanager
def official(module: str) -> Iterator[ModuleType]:
    """A module of the package, such as "metrics.glm_winrate", to be used inside the block.

    The import reads a file .env into the environment and lets the root logger tell everything; fitting switches
    scikit-learn's metadata routing on, and warns of its own arguments. Nothing of that is left behind, and what the
    package says to the root logger, whole answers of the judge among it, is not passed on: what it drops is counted.
    Nor are its progress bars shown.

    Raises:
        ConfigError: the package is not installed, or cannot be imported.
    """
    installed_version()
    root, environment = logging.getLogger(), dict(os.environ)
    level, handlers = root.level, list(root.handlers)
    bars = ExitStack()
    root.addFilter(_silence)  # of what is logged to the root logger itself
    if not handlers and logging.lastResort is not None:
        root.addHandler(logging.lastResort)  # without a handler the package's first message would set one up
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            imported = _imported(module)
            root.setLevel(level)
            bars.enter_context(_without_bars())
            for name in os.environ.keys() - environment.keys():
                del os.environ[name]
            import sklearn

            with sklearn.config_context():
                yield imported
    finally:
        bars.close()
        root.removeFilter(_silence)
        root.setLevel(level)
        root.handlers[:] = handlers


def installed_version() -> str:
    """The version of the package, told without its import.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return metadata.version("alpaca_eval")
    except metadata.PackageNotFoundError:
        raise ConfigError("this needs the package alpaca_eval, which is not installed", remedy=_INSTALL) from None


def _imported(module: str) -> ModuleType:
    try:
        return importlib.import_module(f"alpaca_eval.{module}")
    except ImportError as error:
        raise ConfigError(
            f"the official alpaca_eval package cannot be imported: {error}", remedy=f"{_INSTALL} again"
        ) from error


@contextmanager
def _without_bars() -> Iterator[None]:
    """The package shows bars of its own over the chunks of a table; what is asked has its own progress."""
    from alpaca_eval import utils

    shown, utils.tqdm = utils.tqdm, SimpleNamespace(tqdm=lambda chunks, **_: chunks)
    try:
        yield
    finally:
        utils.tqdm = shown


def _silence(_record: logging.LogRecord) -> bool:
    return False
