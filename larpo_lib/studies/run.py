"""Runs a study cell by cell: each cell an ordinary run, what cells have in common made once, resumable anywhere."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from larpo_lib.config import LarpoConfig
from larpo_lib.errors import ArtifactError, ConfigError
from larpo_lib.files import make_directory, read_json, write_json
from larpo_lib.loop import run_loop
from larpo_lib.plan import SUMMARY, Plan
from larpo_lib.progress import tell
from larpo_lib.run_files import pin_models, read_models, write_models
from larpo_lib.statistics.estimates import mean
from larpo_lib.studies.benchmarks import check_benchmarks, judge_notes, load_benchmarks
from larpo_lib.studies.finished import check_finished
from larpo_lib.studies.instruments import NOTHING, Instruments, Measurement, evaluated_by_prompt
from larpo_lib.studies.output import write
from larpo_lib.studies.results import Outcome, summarize
from larpo_lib.studies.study import (
    Cell,
    Faithful,
    ScaleName,
    Search,
    Study,
    candidates,
    cells,
    with_setting,
)
from larpo_lib.studies.worlds import check_worlds, documents, make_worlds, placed, with_policy, world_notes
from larpo_lib.workers import go_through

_AGAIN = "Delete this file, and run the study again to continue it"


@dataclass(frozen=True)
class Request:
    """How a study is to be run.

    Attributes:
        scale: at which size.
        seeds: how many; None: as many as the scale says.
        faithful: to the paper, or to the authors' published scripts where those differ.
        jobs: runs at one time, each with GPUs of its own.
        pool: directory of what runs have in common, which may be that of several studies; None: the study's own.
        over: settings over those of every cell and benchmark.
    """

    scale: ScaleName
    seeds: int | None = None
    faithful: Faithful = "paper"
    jobs: int = 1
    pool: Path | None = None
    over: Mapping[str, Any] = field(default_factory=dict)

    def pool_of(self, out: Path) -> Path:
        """The pool of a study in `out`."""
        return self.pool or out / "pool"


_SETTINGS = "settings.json"


def run_study(study: Study, request: Request, out: Path, command: str) -> str:
    """Run a study, or go on with it, and write what it found.

    Args:
        study: the grid.
        request: at which scale, with how many seeds, and from where.
        out: directory of the study.
        command: as the results are to quote it.

    Returns:
        The table.
    """
    size = study.scale(request.scale)
    check_worlds(request.scale, request.over)
    made = cells(study, request.scale, request.seeds, request.faithful, request.over)
    benchmarks = load_benchmarks(size.benchmarks, request.over)
    check_benchmarks([placed(cell, request.scale, out) for cell in made], benchmarks)
    if size.search is not None and any(size.measures[0] in one.measures for one in benchmarks.values()):
        raise ConfigError(
            f"{size.measures[0]} is only measured after the search, so it cannot decide the search",
            remedy="Put another measure first",
        )
    if size.search is not None:
        made = choose(made, size.search, size.measures[0], request, out)
    outcomes = run_cells(
        made, request, out, Instruments(benchmarks, size.retrieval, documents(made, request.scale, size, out))
    )
    results = summarize(study, size.measures, outcomes, size.checked_by)
    search = out / "search.json"
    provenance = {
        "command": command,
        "scale": request.scale,
        "notes": [
            *judge_notes(placed(made[0], request.scale, out), benchmarks),
            *world_notes(made, request.scale, out),
        ],
        "seeds": len({cell.seed for cell in made}),
        "search": read_json(search, remedy=_AGAIN) if size.search is not None else None,
        "settings": {" / ".join(cell.labels): dict(cell.settings) for cell in reversed(made)},
    }
    return write(study, results, provenance, out / "results")


def run_cells(made: Sequence[Cell], request: Request, out: Path, instruments: Instruments = NOTHING) -> list[Outcome]:
    """Run cells, or go on with them, and read what they came to.

    Args:
        made: the cells, each with its whole settings.
        request: how they are run; at the scales `tiny` and `small` each seed has a world of its own.
        out: directory of the study.
        instruments: what measures the policies of each run at its end.

    Raises:
        ConfigError: a cell's settings contradict each other, or it was run with other ones; told before any cell runs.
        LarpoError: a finished cell was made of other data or models, or by a version of larpo that gives other results,
            than those that are left would be; likewise.
    """
    ready = with_policy([placed(cell, request.scale, out) for cell in made], request.scale, out)
    for cell in ready:
        cell.config()
        _check_same(cell, _home(out, cell))
    make_worlds(ready, request.scale, out, request.pool_of(out), request.over)
    _pin(ready, out)
    left = [cell for cell in ready if not _is_done(cell, out, instruments)]
    finished = [cell for cell in ready if _is_run(out, cell)]
    if len(finished) < len(ready):
        check_finished([Plan(_pinned(cell, out), str(_home(out, cell))) for cell in finished])
    tell(f"{len(left)} of {len(ready)} runs left")
    pool = request.pool_of(out)
    for cell in go_through(left, partial(_run, out, pool, instruments), request.jobs if len(left) > 1 else 1):
        tell(f"{cell.key} is done")
    return [read_outcome(cell, out, pool, instruments) for cell in ready]


def choose(made: Sequence[Cell], search: Search, measure: str, request: Request, out: Path) -> list[Cell]:
    """Give every cell the searched value with the highest `measure`, each chosen among the same values.

    What was tried is kept in `search.json`. Of equal values the smallest one is chosen.
    """
    first = {cell.labels: cell for cell in reversed(made)}
    tried = {labels: list(candidates(first[labels], search)) for labels in dict.fromkeys(cell.labels for cell in made)}
    everyone = [cell for group in tried.values() for _, cell in group]
    outcomes = {outcome.labels: outcome for outcome in run_cells(everyone, request, out / "search")}
    found: dict[tuple[str, ...], dict[float, float]] = {
        labels: {value: mean([*outcomes[cell.labels].values[measure].values()]) for value, cell in group}
        for labels, group in tried.items()
    }
    best = {labels: max(values, key=lambda value: (values[value], -value)) for labels, values in found.items()}
    write_json(
        out / "search.json",
        {
            "setting": search.setting,
            "measure": measure,
            "seed": search.seed,
            "cells": [
                {"labels": list(labels), "chosen": best[labels], "tried": {f"{v:g}": m for v, m in values.items()}}
                for labels, values in found.items()
            ],
        },
    )
    return [replace(cell, settings=with_setting(cell.settings, search.setting, best[cell.labels])) for cell in made]


def read_outcome(cell: Cell, out: Path, pool: Path, instruments: Instruments = NOTHING) -> Outcome:
    """What a finished run came to.

    Raises:
        ArtifactError: the run is not finished, or its policies were measured with other settings.
    """
    run = _home(out, cell)
    values = {
        iteration: evaluated_by_prompt(run / f"iteration-{iteration}" / "evaluation") for iteration in (0, _last(run))
    }
    prompts = frozenset(prompt for measured in values[0].values() for prompt in measured)
    for iteration, measurement in _measurements(cell, run, instruments):
        values[iteration].update(measurement.take(pool))
    return Outcome(cell.labels, cell.seed, values[_last(run)], values[0], prompts)


def _measurements(cell: Cell, run: Path, instruments: Instruments) -> Iterator[tuple[int, Measurement]]:
    """Of the first and the last policy of a finished run, each with its iteration."""
    plan = Plan(_pinned(cell, run.parents[1]), str(run))
    for iteration in (0, _last(run)):
        for measurement in instruments.of_policy(cell, plan, iteration):
            yield iteration, measurement


def _last(run: Path) -> int:
    """The last iteration of a finished run."""
    try:
        last: int = read_json(run / SUMMARY, remedy=_AGAIN)["iterations"][-1]["iteration"]
    except (KeyError, IndexError, TypeError):
        raise ArtifactError(f"{run / SUMMARY}: has no iterations", remedy=_AGAIN) from None
    return last


def _run(out: Path, pool: Path, instruments: Instruments, cell: Cell) -> None:
    run = _home(out, cell)
    if not _is_run(out, cell):
        make_directory(run)
        write_json(run / _SETTINGS, cell.settings)
        run_loop(_pinned(cell, out), run, pool)
    for _, measurement in _measurements(cell, run, instruments):
        measurement.take(pool)


def _pin(made: Sequence[Cell], out: Path) -> None:
    """Note the commits of models of the hub, so that all cells have the same, however long the study takes."""
    known = read_models(out)
    for cell in made:
        known |= pin_models(cell.config(), known)[1]
    if known:
        make_directory(out)
        write_models(known, out)


def _pinned(cell: Cell, out: Path) -> LarpoConfig:
    return pin_models(cell.config(), read_models(out))[0]


def _is_done(cell: Cell, out: Path, instruments: Instruments) -> bool:
    measurements = _measurements(cell, _home(out, cell), instruments) if _is_run(out, cell) else ()
    return _is_run(out, cell) and all(measurement.evaluation.exists() for _, measurement in measurements)


def _is_run(out: Path, cell: Cell) -> bool:
    return (_home(out, cell) / SUMMARY).is_file()


def _check_same(cell: Cell, home: Path) -> None:
    """A finished run is taken as it is only where it was run with the cell's settings."""
    noted = home / _SETTINGS
    if noted.is_file() and read_json(noted, remedy=_AGAIN) != json.loads(json.dumps(cell.settings)):
        raise ConfigError(f"{home}: was run with other settings", remedy="Choose another --out, or delete it")


def _home(out: Path, cell: Cell) -> Path:
    return out / "runs" / cell.key
