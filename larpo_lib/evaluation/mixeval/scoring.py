"""MixEval's scores, from judgements: those just made, or those that somebody published."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from larpo_lib.errors import DataError
from larpo_lib.evaluation.mixeval.parsing import judged_option, judged_score
from larpo_lib.evaluation.mixeval.questions import FREE_FORM, MULTIPLE_CHOICE, letters, read_rows

CUT = "cut"
"""In a row of `judged.jsonl`: the judge's text was cut, and may be all thoughts, so that nothing is read out of it."""
_DECIMALS = 3
"""The official scores of a kind and of a benchmark are rounded to as many before they are used."""


@dataclass(frozen=True)
class Judgement:
    """What one question scores.

    Attributes:
        kind: FREE_FORM or MULTIPLE_CHOICE.
        id: of the question, within its kind.
        benchmark: where the question comes from.
        score: in [0, 1]; None: it is left out.
        parsed: whether it could be read out of the judge's text, or out of the response.
        differs: whether the text says something else than the parse that stands beside it.
    """

    kind: str
    id: str
    benchmark: str
    score: float | None
    parsed: bool
    differs: bool = False


@dataclass(frozen=True)
class Part:
    """The questions of one kind, or those of one benchmark within a kind.

    Attributes:
        score: official: the mean, rounded to three decimals; None where nothing counts.
        items: questions that count.
        unparsed: questions whose judgement could not be read.
        left_out: questions that do not count.
    """

    score: float | None
    items: int
    unparsed: int
    left_out: int


@dataclass(frozen=True)
class MixEvalScores:
    """All scores of one policy.

    Attributes:
        overall: official: the mean of the two kinds' rounded scores, weighted by their items; None if one is None.
        kinds: by kind.
        benchmarks: by kind and benchmark.
        differing: judgements whose text says something else than the parse that stands beside it.
    """

    overall: float | None
    kinds: Mapping[str, Part]
    benchmarks: Mapping[tuple[str, str], Part]
    differing: int


def score(judgements: Iterable[Judgement]) -> MixEvalScores:
    """The official scores."""
    judgements = list(judgements)
    by_benchmark: dict[tuple[str, str], list[Judgement]] = defaultdict(list)
    for judgement in judgements:
        by_benchmark[judgement.kind, judgement.benchmark].append(judgement)
    kinds = {
        kind: _part([judgement for judgement in judgements if judgement.kind == kind])
        for kind in (FREE_FORM, MULTIPLE_CHOICE)
    }
    benchmarks = {name: _part(members) for name, members in sorted(by_benchmark.items())}
    return MixEvalScores(_overall(kinds), kinds, benchmarks, sum(judgement.differs for judgement in judgements))


def standard_error(groups: Mapping[str, Mapping[str, Sequence[float]]]) -> float | None:
    """Standard error of the weighted mean of the kinds, questions asked several times counted as one draw.

    MixEval asks some questions again and again (1,446 of 2,000 free-form ones differ, 200 of 500 in MixEval-Hard), and
    equal questions get equal answers: their scores are one draw, of that weight (cluster-robust variance).

    Args:
        groups: kind, then question, to the scores of its copies.

    Returns:
        None where a kind has fewer than two different questions.
    """
    variance, items = 0.0, sum(len(scores) for questions in groups.values() for scores in questions.values())
    for questions in groups.values():
        count = sum(map(len, questions.values()))
        if len(questions) < 2:
            return None
        mean = sum(map(sum, questions.values())) / count
        squares = sum((sum(scores) - len(scores) * mean) ** 2 for scores in questions.values())
        variance += squares * len(questions) / (len(questions) - 1) / items**2
    return math.sqrt(variance)


def question_values(questions: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """One value for each different question, of which the mean is that of all scores.

    It is the mean plus the question's influence on it (a ratio's linearization), so that the values' spread is the
    uncertainty of the mean where copies count as one draw; of questions asked once it is the score.

    Args:
        questions: each to the scores of its copies.
    """
    items = sum(map(len, questions.values()))
    weight = len(questions) / items if items else 0.0
    mean = sum(map(sum, questions.values())) / items if items else 0.0
    # so added up that questions asked once keep their score, whatever rounding does
    return {
        question: weight * sum(scores) + (mean - weight * len(scores) * mean) for question, scores in questions.items()
    }


def read_judged(paths: Sequence[Path]) -> list[Judgement]:
    """Read judgements, one object a line, in the form of `judged.jsonl` or of the official judge files, .gz or not.

    A row holds `kind` ("ff" or "mp"), `id`, `benchmark`, `judge` (the judge's text, null where there is none), and
    `score` or `n` (number of options), `target` (number of the right one) and `option`. The official names
    `benchmark_name`, `judge_response`, `judge_score`, `options` and `judge_option` are read as well. The judge's text
    decides; where it cannot be read, or `cut` is true, `score` or `option` does, and is null where the question is left
    out.

    Raises:
        DataError: names the file, the row and the field.
    """
    judgements: list[Judgement] = []
    seen: set[tuple[str, str]] = set()
    for path in paths:
        for number, row in read_rows(path):
            judgement = _judgement(path, number, _renamed(row))
            if (judgement.kind, judgement.id) in seen:
                raise DataError(f"judges {judgement.kind} {judgement.id!r} again", path=path, row=number, field="id")
            seen.add((judgement.kind, judgement.id))
            judgements.append(judgement)
    if not judgements:
        raise DataError("contains no judgement", path=" and ".join(map(str, paths)))
    return judgements


def rescore(*, judged: Sequence[Path]) -> dict[str, Any]:
    """The scores of the judgements in all files together, those of each benchmark, and counts.

    Raises:
        DataError: a file is missing or malformed.
    """
    scores = score(read_judged(judged))
    free_form, multiple_choice = scores.kinds[FREE_FORM], scores.kinds[MULTIPLE_CHOICE]
    return {
        "overall": scores.overall,
        "free_form": free_form.score,
        "multiple_choice": multiple_choice.score,
        "benchmarks": {
            name: {benchmark: part.score for (of, benchmark), part in scores.benchmarks.items() if of == kind}
            for name, kind in (("free_form", FREE_FORM), ("multiple_choice", MULTIPLE_CHOICE))
        },
        **counts(scores),
    }


def counts(scores: MixEvalScores) -> dict[str, int]:
    """How many questions count, could not be read, and are left out."""
    free_form, multiple_choice = scores.kinds[FREE_FORM], scores.kinds[MULTIPLE_CHOICE]
    return {
        "free_form_items": free_form.items,
        "multiple_choice_items": multiple_choice.items,
        "free_form_unparsed": free_form.unparsed,
        "multiple_choice_unparsed": multiple_choice.unparsed,
        "unparsed": free_form.unparsed + multiple_choice.unparsed,
        "left_out": free_form.left_out + multiple_choice.left_out,
        "parsed_otherwise": scores.differing,
    }


def _overall(kinds: Mapping[str, Part]) -> float | None:
    total, items = 0.0, 0
    for part in kinds.values():
        if part.score is None:
            return None
        total += part.items * part.score
        items += part.items
    return total / items


def _part(judgements: Sequence[Judgement]) -> Part:
    scores = [judgement.score for judgement in judgements if judgement.score is not None]
    of = Counter(judgement.parsed for judgement in judgements)
    mean = round(sum(scores) / len(scores), _DECIMALS) if scores else None
    return Part(mean, len(scores), of[False], len(judgements) - len(scores))


def _renamed(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the official judge files under the names of ours; one of ours as it is."""
    if "kind" in row or "judge_response" not in row:
        return dict(row)
    renamed = {"id": row.get("id"), "benchmark": row.get("benchmark_name"), "judge": row["judge_response"]}
    if "options" not in row:
        return {**renamed, "kind": FREE_FORM, "score": row.get("judge_score")}
    target = row.get("target")
    return {
        **renamed,
        "kind": MULTIPLE_CHOICE,
        "n": len(row["options"]) if isinstance(row["options"], list) else None,
        "target": target[0] if isinstance(target, list) and len(target) == 1 else None,
        "option": row.get("judge_option"),
    }


def _judgement(path: Path, number: int, row: Mapping[str, Any]) -> Judgement:
    def need(field: str, kind: Any, what: str) -> Any:
        value = row.get(field)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise DataError(f"is not {what}", path=path, row=number, field=field)
        return value

    kind = row.get("kind")
    if kind not in (FREE_FORM, MULTIPLE_CHOICE):
        raise DataError(f"is neither {FREE_FORM!r} nor {MULTIPLE_CHOICE!r}", path=path, row=number, field="kind")
    identity, benchmark = need("id", str, "a text"), need("benchmark", str, "a text")
    text = None if row.get("judge") is None else need("judge", str, "a text or null")
    readable = None if row.get(CUT) is True else text
    read: float | str | None
    recorded: float | str | None
    if kind == FREE_FORM:
        read = None if readable is None else judged_score(readable)
        recorded = None if row.get("score") is None else float(need("score", int | float, "a number or null"))
        if recorded is not None and not 0 <= recorded <= 1:
            raise DataError("is not between 0 and 1", path=path, row=number, field="score")
    else:
        right = _right_letter(path, number, need("n", int, "a whole number"), need("target", int, "a whole number"))
        read = None if readable is None else judged_option(readable)
        recorded = None if row.get("option") is None else need("option", str, "a letter or null")
    counting = recorded if read is None else read
    value = float(counting == right) if isinstance(counting, str) else counting
    parsed = read is not None or (text is None and row.get("parsed") is True)
    differs = read is not None and recorded is not None and read != recorded
    return Judgement(kind, identity, benchmark, value, parsed, differs)


def _right_letter(path: Path, number: int, options: int, target: int) -> str:
    if not 1 <= options <= len(letters(options)):
        raise DataError(
            f"is not a number of options that can have letters: {options}", path=path, row=number, field="n"
        )
    if not 0 <= target < options:
        raise DataError(f"is not the number of one of {options} options", path=path, row=number, field="target")
    return letters(options)[target]
