"""Trains tiny policies from scratch with every objective on published preferences, and measures held-out orders."""

from pathlib import Path

from larpo_lib.files import make_directory, write_json
from larpo_lib.steps import prepare
from larpo_lib.studies.preferences.output import write
from larpo_lib.studies.preferences.results import choose, collect
from larpo_lib.studies.preferences.runs import Task, run_tasks
from larpo_lib.studies.preferences.study import PreferenceStudy


def run(study: PreferenceStudy, out: Path, jobs: int, command: str) -> str:
    """Do what is not done yet, write `results/`, and return the table."""
    make_directory(out)
    prepare.ranked(study.prepared, prompts=out / "prompts", ranked=out / "ranked")
    run_tasks([Task(seed) for seed in (study.search_seed, *range(study.seeds))], study, out, jobs)
    run_tasks(searched(study), study, out, jobs)
    search = choose(study, out)
    write_json(out / "search.json", search)
    rates = {name: found["learning_rate"] for name, found in search.items()}
    run_tasks([Task(seed, name, rates[name]) for seed in range(study.seeds) for name in rates], study, out, jobs)
    return write(study, search, collect(study, search, out), command, out / "results")


def searched(study: PreferenceStudy) -> list[Task]:
    """The runs of the search."""
    return [
        Task(study.search_seed, name, rate, searching=True) for name in study.trained for rate in study.learning_rates
    ]


def listing(study: PreferenceStudy) -> list[str]:
    """The study before it is run: lines for the terminal."""
    rates = ", ".join(f"{rate:g}" for rate in study.learning_rates)
    return [
        f"{study.title}: {len(study.trained) * study.seeds} runs, after {len(searched(study))} runs of the search",
        *(f"  {name}: {one.lists}, ranks by {one.score.replace('_', ' ')}" for name, one in study.trained.items()),
        f"Learning rates searched for each, with {study.search_share:g} of the steps, on seed "
        f"{study.search_seed}: {rates}",
    ]
