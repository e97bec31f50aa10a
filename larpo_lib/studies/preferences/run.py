"""Trains tiny policies from scratch with every objective on published preferences, and measures held-out orders.

`python -m benchmarks.preferences --lists candidate_lists.jsonl --out runs/preferences`

The same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from dataclasses import replace
from pathlib import Path

from benchmarks.preferences.output import write
from benchmarks.preferences.results import choose, collect
from benchmarks.preferences.runs import Task, go_through, prepare_source
from benchmarks.preferences.settings import OBJECTIVES, Settings
from larpo_lib.artifacts import make_directory, write_json
from larpo_lib.errors import LarpoError
from larpo_lib.progress import tell


def run(settings: Settings, source: Path, out: Path, jobs: int, command: str) -> str:
    """Do what is not done yet, write `results/`, and return the table."""
    make_directory(out)
    prepare_source(source, out)
    seeds = range(settings.seeds)
    go_through([Task(seed) for seed in (settings.search_seed, *seeds)], settings, out, jobs)
    searched = [
        Task(settings.search_seed, name, rate, searching=True)
        for name in settings.objectives
        for rate in settings.learning_rates
    ]
    go_through(searched, settings, out, jobs)
    search = choose(settings, out)
    write_json(out / "search.json", search)
    chosen = [Task(seed, name, search[name]["learning_rate"]) for seed in seeds for name in settings.objectives]
    go_through(chosen, settings, out, jobs)
    return write(settings, search, collect(settings, search, out), source, command, out / "results")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lists", type=Path, required=True, help="a file of prompts with scored responses")
    parser.add_argument("--out", type=Path, required=True, help="directory of everything that is made")
    parser.add_argument("--seeds", type=int, default=Settings().seeds, help="1 to 4; each holds out another fifth")
    parser.add_argument("--objectives", nargs="+", choices=[*OBJECTIVES], default=[*OBJECTIVES])
    parser.add_argument("--jobs", type=int, default=1, help="runs at one time; several have one thread each")
    given = parser.parse_args()
    if not 1 <= given.seeds < Settings().folds:
        parser.error(f"--seeds: 1 to {Settings().folds - 1}, since a seed holds out a fold and the search another one")
    if given.jobs < 1:
        parser.error("--jobs: at least 1")
    settings = replace(Settings(), seeds=given.seeds, objectives=tuple(given.objectives))
    try:
        tell(run(settings, given.lists, given.out, given.jobs, _command(given.lists, given.out)), sys.stdout)
    except LarpoError as error:
        raise SystemExit(f"error: {error}") from None


def _command(lists: Path, out: Path) -> str:
    """As it was given, but for the machine's directories."""
    words = [Path(sys.executable).name, *sys.orig_argv[1:]]
    names = {str(lists): lists.name, str(out): out.name}
    return shlex.join(names.get(word, word) for word in words)


if __name__ == "__main__":
    main()
