"""The benchmarks, a folder each. Importing this imports none of them, and none of their libraries."""

import functools
import pkgutil
from importlib import import_module

from larpo_lib.evaluation.benchmark import Benchmark


@functools.cache
def benchmarks() -> dict[str, Benchmark]:
    """What the folders here declare, by name."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__) if module.ispkg)
    return {name: import_module(f"{__name__}.{name}").BENCHMARK for name in names}
