"""What Arena-Hard says of one model, as every benchmark reports it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Self

from larpo_lib.evaluation.arena_hard import BENCHMARK
from larpo_lib.evaluation.arena_hard.files import BASELINES, TITLES
from larpo_lib.evaluation.arena_hard.judging import Games, Pair
from larpo_lib.evaluation.arena_hard.prompts import VERDICTS, Verdict
from larpo_lib.evaluation.arena_hard.scoring import RATES, Judgement, Rates, comparison, rates
from larpo_lib.evaluation.arena_hard.settings import ArenaHardConfig
from larpo_lib.evaluation.arena_hard.style import difference
from larpo_lib.evaluation.published import arena_hard_rows
from larpo_lib.judging.pairs import judge_name
from larpo_lib.reporting.evaluation import EvaluationReport, Score, Table
from larpo_lib.statistics.estimates import Bootstrap

PROTOCOL = "arena_hard_v2.0"
"""How the judge is asked."""
_STYLES = ("tokens", "headers", "list items", "bold texts")


@dataclass(frozen=True)
class Judged:
    """A pair of answers, what the judge wrote of it, and its judgement."""

    pair: Pair
    games: Games
    judgement: Judgement

    @classmethod
    def of(cls, config: ArenaHardConfig, pair: Pair, names: tuple[str, str], games: Games) -> Self:
        """The judgement of two games; `names`: of the model and of the baseline."""
        first, second = (None if game is None else game.label for game in games)
        question = pair.question
        read = Judgement(question.uid, question.category, config.judge.model, *names, (first, second))
        return cls(pair, games, read)

    @property
    def texts(self) -> tuple[str | None, str | None]:
        """What the judge wrote in both games; None: too long for it."""
        first, second = self.games
        return None if first is None else first.text, None if second is None else second.text

    @property
    def orders(self) -> tuple[float | None, float | None]:
        """The preference in both orders, from 1, the baseline's answer is better, to 2; see `Verdict.preference`."""
        first, second = self.judgement.labels
        return (
            None if first is None else VERDICTS[first].swapped.preference,
            None if second is None else VERDICTS[second].preference,
        )

    @property
    def preference(self) -> float | None:
        """The mean of both orders."""
        first, second = self.orders
        return None if first is None or second is None else (first + second) / 2

    @property
    def read(self) -> bool:
        """Whether both verdicts were."""
        return None not in self.judgement.labels


def judged_by(config: ArenaHardConfig) -> str:
    """The judge, as reports name it."""
    return judge_name(config.judge.model, PROTOCOL, both_orders=True)


def make_report(
    config: ArenaHardConfig, model: str, judged: Sequence[Judged], counts: Mapping[str, int], judge_check: str = ""
) -> EvaluationReport:
    """The report of one model.

    Args:
        config: who judged, and how.
        model: its name.
        judged: its answers.
        counts: how many questions there were, and what was dropped on the way.
        judge_check: what is known of how good the judge is.
    """
    categories = {category: [one for one in judged if one.judgement.category == category] for category in TITLES}
    categories = {category: of_category for category, of_category in categories.items() if of_category}
    rated = {category: _rated(config, rows) for category, rows in categories.items()}
    values = {f"{category}_{name}": one.values.get(name, {}) for category, one in rated.items() for name in RATES}
    why = {f"{category}_{name}": said for category, one in rated.items() for name, said in one.undefined.items()}
    bootstrap = Bootstrap.of(config)
    scores = [
        _possible(BENCHMARK.mean(f"{{category}}_{name}", values, bootstrap, category=category, title=TITLES[category]))
        for category in categories
        for name in RATES
    ]
    unread = {
        "unparsed": sum(not one.read for one in judged),
        "too_long_for_judge": sum(None in one.texts for one in judged),
    }
    baselines = {category: rows[0].judgement.baseline for category, rows in categories.items()}
    return EvaluationReport(
        benchmark=BENCHMARK.name,
        title=BENCHMARK.title,
        policy=model,
        judged_by=judged_by(config),
        scores=scores,
        counts={**counts, **unread},
        values={name: found for name, found in values.items() if found},
        published=arena_hard_rows() if "hard_prompt" in categories else (),
        tables=[_verdicts(judged), _style(categories)],
        caveats=[*_caveats(config, baselines, unread["unparsed"]), *_undefined(scores, why)],
        confidence=config.confidence,
        version="v2.0 against " + ", ".join(baselines.values()),
        distributions=(),  # a question's value is its part in the fit
        headline=[score.name for score in scores],
        judge_check=judge_check,
    )


def _possible(score: Score) -> Score:
    """The score with an interval within 0 to 100, which values that stand for a fit's change may leave."""
    found = score.estimate
    if found.low is None or found.high is None:
        return score
    return replace(score, estimate=replace(found, low=max(0.0, found.low), high=min(100.0, found.high)))


def _rated(config: ArenaHardConfig, judged: Sequence[Judged]) -> Rates:
    """The numbers of a category."""
    compared = [
        comparison(
            one.judgement,
            difference(one.pair.model.style, one.pair.baseline.style),
            unread_as_tie=config.unparsed == "tie",
        )
        for one in judged
    ]
    return rates({"": [one for one in compared if one is not None]})[""]


def _verdicts(judged: Sequence[Judged]) -> Table:
    """How often the model wins, by subcategory, and as the second and as the first of the two."""
    rows = []
    for name in dict.fromkeys(one.pair.question.subcategory for one in judged):
        own = [one for one in judged if one.pair.question.subcategory == name]
        labels = [one.judgement.labels for one in own if one.read]
        games = [[VERDICTS[each] for each in pair if each is not None] for pair in labels]
        second, first = [pair[0].swapped for pair in games], [pair[1] for pair in games]
        rows.append((name, len(own), len(own) - len(games), *map(_rate, ([*second, *first], second, first))))
    columns = ("category", "questions", "not read", "win rate, %", "shown second, %", "shown first, %")
    return Table("Win rate by category and by place in the judge's prompt", columns, rows)


def _rate(games: Sequence[Verdict]) -> float | None:
    battles = sum(game.battles for game in games)
    return 100 * sum(game.battles * game.share for game in games) / battles if battles else None


def _style(categories: Mapping[str, Sequence[Judged]]) -> Table:
    rows: list[Sequence[str | float]] = []
    for category, judged in categories.items():
        models, baselines = (zip(*styles, strict=True) for styles in (
            [one.pair.model.style for one in judged], [one.pair.baseline.style for one in judged],
        ))  # fmt: skip
        for name, model, baseline in zip(_STYLES, models, baselines, strict=True):
            rows.append((TITLES[category], name, fmean(model), fmean(baseline)))
    return Table("Style: means of an answer", ("category", "", "policy", "baseline"), rows)


def _caveats(config: ArenaHardConfig, baselines: Mapping[str, str], unread: int) -> Iterator[str]:
    yield (
        f"Judged by {config.judge.model}; scores of other judges are not comparable. The published style-controlled "
        "win rates were fitted together with those of many models, as `larpo score arena-hard` does."
    )
    for category, baseline in baselines.items():
        if baseline != BASELINES[category]:
            yield f"{TITLES[category]}: compared with answers of {baseline}, not of {BASELINES[category]}."
    if config.partial:
        yield "Not checked to be all of Arena-Hard's questions: not comparable with published scores."
    if unread:
        done = "left out, as officially" if config.unparsed == "leave_out" else "kept, with a tie in the place of each"
        yield f"On {unread} questions a verdict could not be read; these questions are {done}."


def _undefined(scores: Sequence[Score], why: Mapping[str, str]) -> Iterator[str]:
    """What has no value, with the reason, and what has no interval."""
    for reason in dict.fromkeys(why.values()):
        labels = [score.label for score in scores if why.get(score.name) == reason]
        yield f"Not defined, because {reason}: {', '.join(labels)}."
    alike = [one.label for one in scores if one.estimate.value is not None and one.estimate.low is None]
    if alike:
        yield f"Without an interval, because all questions have the same value: {', '.join(alike)}."
