"""What the runs of a seed are made of: at the scale `tiny` the embedded world, at the scale `small` a real model's."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from larpo_lib.config import apply_settings
from larpo_lib.playground.world import make_world, world_documents, world_sources
from larpo_lib.pool import use_pool
from larpo_lib.studies.small import SmallWorld, choose_policy, load_world, make_small_world, measure_models, quality
from larpo_lib.studies.study import WORLD, Cell, Scale, ScaleName, filled


def placed(cell: Cell, scale: ScaleName, out: Path) -> Cell:
    """The cell with the sources of its world, which at the scales `tiny` and `small` is its seed's own below `out`."""
    if scale == "paper":
        return cell
    world, settings = _world(out, cell.seed), dict(cell.settings)
    if scale == "tiny":
        return replace(cell, settings=apply_settings(settings, world_sources(world)))
    return replace(cell, settings=filled(settings, {WORLD: world}), world=world)


def with_policy(made: Sequence[Cell], scale: ScaleName, out: Path) -> list[Cell]:
    """The cells with the model, of the hub or of a package, that the study began with at the scale `small`."""
    if scale != "small":
        return [*made]
    return [
        replace(cell, settings={**cell.settings, "policy": choose_policy(str(cell.settings["policy"]), out)})
        for cell in made
    ]


def make_worlds(made: Sequence[Cell], scale: ScaleName, out: Path, pool: Path, over: Mapping[str, Any]) -> None:
    """Make the worlds of all seeds, or go on with them.

    Args:
        made: cells that are placed.
        scale: of the study.
        out: directory of the study.
        pool: of the study. Reward models are the same for all seeds, and trained once.
        over: settings of the whole study, those of the world among them.
    """
    first = {cell.seed: cell for cell in reversed(made)}
    for seed, cell in sorted(first.items()):
        if scale == "tiny":
            make_world(_world(out, seed), seed)
        elif scale == "small":
            with use_pool(pool):
                make_small_world(_world(out, seed), _settings(over), cell)
                if seed == min(first):  # the models of all seeds are the same
                    measure_models(_world(out, seed), cell)


def check_worlds(scale: ScaleName, over: Mapping[str, Any]) -> None:
    """Check before anything is made that the files which worlds are made of are there.

    Raises:
        ConfigError: one is missing, or a setting of the world is none.
    """
    if scale == "small":
        _settings(over).require()


def world_notes(made: Sequence[Cell], scale: ScaleName, out: Path) -> list[str]:
    """What the page tells of a study's worlds: at the scale `small` how good its reward models are."""
    return quality(_world(out, min(cell.seed for cell in made))) if scale == "small" else []


def documents(made: Sequence[Cell], scale: ScaleName, size: Scale, out: Path) -> dict[int, dict[str, Path]]:
    """What retrievers search, by seed: at the scale `tiny` its world's documents."""
    if size.documents is not None:
        given = {name: Path(path) for name, path in size.documents.model_dump().items()}
        return {cell.seed: given for cell in made}
    return {cell.seed: world_documents(_world(out, cell.seed)) for cell in made if scale == "tiny"}


def _settings(over: Mapping[str, Any]) -> SmallWorld:
    return load_world(over.get(WORLD, {}))


def _world(out: Path, seed: int) -> Path:
    return out / "worlds" / f"seed{seed}"
