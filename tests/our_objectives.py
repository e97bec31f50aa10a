"""The objectives that have a formula here; the others call a user's own function."""

from larpo_lib.config import ObjectiveConfig

OURS = {name: entry for name, entry in ObjectiveConfig.entries().items() if name != "function"}
