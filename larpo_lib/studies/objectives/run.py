"""Searches for every objective alike, runs each at its best setting for all seeds, and writes what came of it."""

from collections.abc import Callable, Sequence
from pathlib import Path

from larpo_lib.files import make_directory
from larpo_lib.progress import tell
from larpo_lib.statistics.estimates import Values
from larpo_lib.studies.objectives.bed import Bed
from larpo_lib.studies.objectives.output import write
from larpo_lib.studies.objectives.playground import Playground
from larpo_lib.studies.objectives.published import Published
from larpo_lib.studies.objectives.results import Comparison, compare
from larpo_lib.studies.objectives.search import search
from larpo_lib.studies.objectives.study import ObjectivesStudy, Setting, around, strength_of


def run(study: ObjectivesStudy, out: Path, jobs: int, command: str) -> str:
    """Do what is not done yet, write `results/`, and return the tables."""
    make_directory(out)
    beds: list[Bed] = [Playground(study, out, jobs), Published(study, out)]
    return write(study, [measure(study, bed) for bed in beds], command, out / "results")


def measure(study: ObjectivesStudy, bed: Bed) -> Comparison:
    """Compare all objectives in one place: search learning rates, then strengths at the best, then run the seeds."""
    about = bed.about

    def setting(name: str, rate: int, strength: int) -> Setting:
        return Setting(
            objective=name,
            learning_rate=around(about.learning_rate, study.learning_rate_ratio, rate),
            strength=around(strength_of(name)[1], study.strength_ratio, strength),
        )

    def attempt(of: Callable[[str, int], Setting]) -> Callable[[Sequence[tuple[str, int]]], list[Values | None]]:
        def attempted(asked: Sequence[tuple[str, int]]) -> list[Values | None]:
            settings = [of(name, place) for name, place in asked]
            bed.run(settings, [about.search_seed])
            found = [bed.read(one, about.search_seed) for one in settings]
            return [None if one is None else one[about.main] for one in found]

        return attempted

    names = study.objectives
    rates = search(names, about.reach.learning_rates, attempt(lambda name, place: setting(name, place, 0)))
    tell(f"{about.title}: learning rates at {[*rates.line.places]}, still at an end: {rates.at_end}")
    at_best = attempt(lambda name, place: setting(name, rates.best[name], place))
    strengths = search(names, about.reach.strengths, at_best)
    tell(f"{about.title}: strengths at {[*strengths.line.places]}, still at an end: {strengths.at_end}")
    chosen = [setting(name, rates.best[name], strengths.best[name]) for name in names]
    seeds = range(study.seeds)
    bed.run(chosen, seeds)
    runs = {one: {seed: bed.read(one, seed) for seed in seeds} for one in chosen}
    return compare(about, (rates, strengths), runs, {seed: bed.before(seed) for seed in seeds})


def listing(study: ObjectivesStudy) -> list[str]:
    """The study before it is run: lines for the terminal."""
    names = study.objectives
    reported = 2 * len(names) * study.seeds
    return [
        f"{study.title}: {len(names)} objectives, {reported} runs, after at least {10 * len(names)} of the search",
        *(f"  {name}: {setting} around {default:g}" for name in names for setting, default in [strength_of(name)]),
        f"Learning rates: around {study.playground.learning_rate:g} on word problems and "
        f"{study.published.learning_rate:g} on published lists, by factors of {study.learning_rate_ratio:g}; then "
        f"strengths by factors of {study.strength_ratio:g}",
        "Of both three values for each objective, and more for all while one's best is at an end",
    ]
