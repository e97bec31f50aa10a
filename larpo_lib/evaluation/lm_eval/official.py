"""lm-eval's package, kept quiet, and kept from fetching and drawing what nobody asked it to."""

import io
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from typing import Any

from larpo_lib import logs


@contextmanager
def official() -> Iterator[None]:
    """Within the block, lm-eval shows no bars and prints nothing, and its verdicts do not depend on chance.

    What it warns of is counted or told otherwise; LARPO_LOG=verbose shows it. IFEval's module would fetch NLTK's model
    when it is imported, and langdetect would draw without a seed.
    """
    import langdetect
    import nltk
    from tqdm import tqdm

    begin = tqdm.__init__

    def without_bar(self: Any, *args: Any, **settings: Any) -> None:
        begin(self, *args, **{**settings, "disable": True})

    with ExitStack() as stack:
        stack.enter_context(_replaced(tqdm, "__init__", without_bar))
        stack.enter_context(_replaced(nltk, "download", _fetches_nothing))
        stack.enter_context(_replaced(langdetect.DetectorFactory, "seed", 0))
        if os.environ.get(logs.VARIABLE) != logs.VERBOSE:
            stack.enter_context(_silent(logging.getLogger("lm_eval")))
            stack.enter_context(redirect_stdout(io.StringIO()))
        yield


@contextmanager
def fetching_by(load: Callable[..., Any]) -> Iterator[None]:
    """Within the block, `datasets.load_dataset` is `load`: the tasks' classes offer no other way to say where data are.

    Args:
        load: takes what `load_dataset` takes.
    """
    import datasets

    with _replaced(datasets, "load_dataset", load):
        yield


def _fetches_nothing(*_args: Any, **_settings: Any) -> bool:
    return False


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


@contextmanager
def _silent(logger: logging.Logger) -> Iterator[None]:
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
