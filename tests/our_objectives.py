"""The objectives that have a formula here; the others call a user's own function, or several of these."""

from larpo_lib.config import ObjectiveConfig
from larpo_lib.objectives._entry import DeclaredConfig

OURS = {name: entry for name, entry in ObjectiveConfig.entries().items() if issubclass(entry, DeclaredConfig)}
