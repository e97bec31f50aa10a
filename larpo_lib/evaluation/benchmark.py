"""What a benchmark declares of itself."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from larpo_lib.config.base import Section


@dataclass(frozen=True)
class Benchmark:
    """A benchmark, as the `__init__.py` of its folder declares it.

    Attributes:
        name: of its folder, its section in the settings, and its step.
        settings_class: the name of the class in `settings.py`.
    """

    name: str
    settings_class: str

    def settings(self) -> type[Section]:
        """The class of its section."""
        found: type[Section] = getattr(import_module(f"larpo_lib.evaluation.{self.name}.settings"), self.settings_class)
        return found
