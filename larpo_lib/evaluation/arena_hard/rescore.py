"""Arena-Hard's scores from stored judgements, of models scored together as on the official leaderboard."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from larpo_lib.errors import ConfigError, DataError
from larpo_lib.evaluation.arena_hard import BENCHMARK
from larpo_lib.evaluation.arena_hard.files import Answers, read_answers, read_judgments
from larpo_lib.evaluation.arena_hard.scoring import RATES, Comparison, Judgement, Rates, comparison, rates
from larpo_lib.evaluation.arena_hard.style import difference
from larpo_lib.statistics.estimates import mean, standard_error


def run(*, judgments: Sequence[Path], answers: Sequence[Path], ensemble: bool) -> dict[str, Any]:
    """The scores of every model, by judge and category.

    Args:
        judgments: files in the official format.
        answers: files of the models' and the baselines' answers; none: style is unknown.
        ensemble: the verdicts of all judges count as those of one.

    Raises:
        DataError: a file is missing or malformed, a judge judged an answer twice, or models that would be scored
            together were compared with different baselines.
        ConfigError: an answer is missing, or the package that counts their tokens.
    """
    if answers:
        BENCHMARK.require()  # which counts tokens
    rows = _distinct(judgments)
    known = {found.model: found for found in map(read_answers, answers)}
    together = " and ".join(sorted({one.judge for one in rows}))
    groups: defaultdict[tuple[str, str], list[Judgement]] = defaultdict(list)
    for one in rows:
        groups[together if ensemble else one.judge, one.category].append(one)
    found: dict[str, dict[str, Any]] = {}
    for (judge, category), judgements in sorted(groups.items()):
        _require_one_baseline(category, judgements, judgments)
        found.setdefault(judge, {})[category] = _scores(judgements, known if answers else None)
    return found


def _require_one_baseline(category: str, judgements: Sequence[Judgement], paths: Sequence[Path]) -> None:
    """Refuse win rates over different baselines, which would stand in one table and share one fit."""
    models: defaultdict[str, set[str]] = defaultdict(set)
    for one in judgements:
        models[one.baseline].add(one.model)
    if len(models) > 1:
        named = "; ".join(f"{baseline}: {', '.join(sorted(of))}" for baseline, of in sorted(models.items()))
        raise DataError(
            f"compares models on {category} with different baselines ({named})",
            path=" and ".join(map(str, paths)),
            remedy="Score those of each baseline by themselves",
        )


def _distinct(paths: Sequence[Path]) -> list[Judgement]:
    seen: dict[tuple[str, str, str], Judgement] = {}
    for path in paths:
        for one in read_judgments(path):
            if (key := (one.judge, one.model, one.question)) in seen:
                raise DataError(
                    f"has a second judgement of {one.judge} on the answer of {one.model} to {one.question}",
                    path=path,
                    remedy="Remove one of them",
                )
            seen[key] = one
    return [*seen.values()]


def _scores(judgements: Sequence[Judgement], known: Mapping[str, Answers] | None) -> dict[str, Any]:
    models: dict[str, dict[str, Comparison]] = {one.model: {} for one in judgements}
    unparsed = dict.fromkeys(models, 0)
    for one in judgements:
        found = comparison(one, None if known is None else _difference(one, known))
        if found is None:
            unparsed[one.model] += 1
            continue
        before = models[one.model].get(one.question)
        if before is not None:  # of another judge
            found = replace(found, battles=found.battles + before.battles, points=found.points + before.points)
        models[one.model][one.question] = found
    values = rates({model: [*rows.values()] for model, rows in models.items()})
    return {
        model: {
            **_told(values[model]), "baseline": judgements[0].baseline, "questions": len(rows),
            "unparsed": unparsed[model],
        }
        for model, rows in sorted(models.items())
    }  # fmt: skip


def _told(rated: Rates) -> dict[str, Any]:
    """Each number with its standard error; None where it is not defined, with the reason."""
    found: dict[str, Any] = {}
    for name in RATES:
        own = [*rated.values.get(name, {}).values()]
        found |= {name: mean(own) if own else None, f"{name}_standard_error": standard_error(own)}
    return found | ({"not_defined": rated.undefined} if rated.undefined else {})


def _difference(judgement: Judgement, known: Mapping[str, Answers]) -> Sequence[float]:
    styles = []
    for model in (judgement.model, judgement.baseline):
        answer = known[model].by_question.get(judgement.question) if model in known else None
        if answer is None:
            raise ConfigError(
                f"there is no answer of {model} to {judgement.question}, whose style is needed",
                remedy="Pass the file with --answers, or none at all for win rates without style",
            )
        styles.append(answer.style)
    return difference(*styles)
