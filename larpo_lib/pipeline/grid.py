"""Whole runs as arguments of the pipeline `study`: what they share as settings, what each changes as its grid."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from larpo_lib.config import LarpoConfig, apply_settings
from larpo_lib.evaluation import benchmarks

COMMON = ("policy", "prepare", "demonstrations", "evaluation_prompts", "sft", "evaluate", "tracking")
"""What the runs of one pipeline share. Runs that were not measured alike cannot be compared."""

_NO_PART = {*benchmarks(), "reward_model", "search_temperature"}
"""Sections that a run does not read, but for those of the benchmarks that it takes."""

Tree = dict[str, Any]


@dataclass(frozen=True)
class Grid:
    """One run of the pipeline.

    Attributes:
        names: of the runs in it, in the order of the grid.
        settings: JSON of the first run.
        grid: JSON of what each run changes in that.
    """

    names: Sequence[str]
    settings: str
    grid: Sequence[str]

    def arguments(self) -> dict[str, Any]:
        """Of the pipeline."""
        return {"settings": self.settings, "grid": list(self.grid)}


def grids(runs: Mapping[str, LarpoConfig]) -> list[Grid]:
    """As few grids as hold all runs: those that share what the pipeline's runs must share come into one."""
    groups: dict[str, dict[str, Tree]] = {}
    for name, config in runs.items():
        tree = config.model_dump(mode="json", exclude=_NO_PART - {*config.benchmarks})
        files = config.loop.benchmark_files if config.benchmarks else {}
        shared = json.dumps([files, {name: tree[name] for name in (*COMMON, *config.benchmarks)}], sort_keys=True)
        groups.setdefault(shared, {})[name] = tree
    return [_grid(group) for group in groups.values()]


def _grid(group: Mapping[str, Tree]) -> Grid:
    base = next(iter(group.values()))
    changes = [_changed(base, tree) for tree in group.values()]
    assert all(apply_settings(base, change) == tree for change, tree in zip(changes, group.values(), strict=True))
    return Grid([*group], _json(base), [_json(change) for change in changes])


def _changed(base: Tree, tree: Tree) -> Tree:
    """The settings over `base` that make `tree`; a table of another `type` stands whole."""
    found: Tree = {}
    for name, value in tree.items():
        below = base.get(name)
        if name in base and value == below:
            continue
        alike = isinstance(below, dict) and isinstance(value, dict) and below.get("type") == value.get("type")
        found[name] = _changed(below, value) if alike and isinstance(below, dict) else value
    return found


def _json(tree: Tree) -> str:
    return json.dumps(tree, sort_keys=True)
