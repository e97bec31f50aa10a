"""GSM8K (Cobbe et al. 2021, arXiv 2110.14168): a response is right if its final number is the reference's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from larpo_lib.evaluation.gsm8k import BENCHMARK
from larpo_lib.evaluation.gsm8k.files import read_solutions
from larpo_lib.reporting.evaluation import Curve, EvaluationReport, Score, Table, mean_curve
from larpo_lib.rewards.answers import final_number
from larpo_lib.schemas import Messages
from larpo_lib.statistics.draws import majority_vote, pass_at_n
from larpo_lib.statistics.estimates import Bootstrap, Values

JUDGED_BY = "numeric match of the final number"

_STEP = "<<"
"""Opens a calculation in GSM8K's references: one for each step."""
_MANY_STEPS = 8


@dataclass(frozen=True)
class Judged:
    """The responses to one problem.

    Attributes:
        wanted: the reference's final number.
        steps: calculations that the reference states.
        greedy: final number of the greedy response; None where it has none, or there is no response.
        sampled: the same of each sampled response.
    """

    wanted: Fraction
    steps: int
    greedy: Fraction | None
    sampled: Sequence[Fraction | None]


def judge(reference: str, greedy: str | None, sampled: Sequence[str]) -> Judged:
    """Read the final numbers of a reference, which has one, and of the responses; no response is a wrong one."""
    wanted = final_number(reference)
    assert wanted is not None, "problems are read with a number"
    return Judged(
        wanted,
        reference.count(_STEP),
        None if greedy is None else final_number(greedy),
        [final_number(text) for text in sampled],
    )


def rescore(*, solutions: Path) -> dict[str, float]:
    """The accuracy of every model in a file of solutions, in percent.

    Raises:
        DataError: the file is missing or malformed.
    """
    solved = read_solutions(solutions, str(solutions))
    return {
        name: accuracy([(one.problem.answer, one.solutions[name]) for one in solved]) for name in solved[0].solutions
    }


def accuracy(pairs: Sequence[tuple[str, str]]) -> float:
    """Percent of right ones among (reference, response) pairs, to three decimals as it was published."""
    right = sum(final_number(reference) == final_number(response) for reference, response in pairs)
    return round(100 * right / len(pairs), 3)


def conversation(question: str, template: str, examples: Sequence[tuple[str, str]]) -> Messages:
    """A problem as the last turn of a conversation, worked examples (question, answer) as the turns before it."""
    turns: Messages = []
    for asked, answered in examples:
        turns += [{"role": "user", "content": fill(template, asked)}, {"role": "assistant", "content": answered}]
    return [*turns, {"role": "user", "content": fill(template, question)}]


def fill(template: str, question: str) -> str:
    """The template with the problem in it; other braces stay as they are."""
    return template.replace("{question}", question)


def report(
    judged: Mapping[str, Judged], *, policy: str, version: str, counts: Mapping[str, int], bootstrap: Bootstrap
) -> EvaluationReport:
    """What the responses say of the policy.

    Args:
        judged: by problem; each has the same number of sampled responses, if any.
        policy: its identity.
        version: of the problems' presentation.
        counts: of problems and of what was dropped.
        bootstrap: how intervals are made.
    """
    values = _values(judged)
    n = max((len(one.sampled) for one in judged.values()), default=0)
    return EvaluationReport(
        benchmark=BENCHMARK.name,
        title=BENCHMARK.title,
        policy=policy,
        judged_by=JUDGED_BY,
        version=version,
        scores=_scores(values, n, bootstrap),
        counts={
            **counts,
            "greedy_without_number": sum(one.greedy is None for one in judged.values()),
            "sampled_without_number": sum(number is None for one in judged.values() for number in one.sampled),
        },
        values=values,
        tables=_by_steps(judged, values["accuracy"]),
        curves=_curves(judged, n, bootstrap),
        caveats=[
            "Accuracies with other templates, numbers of worked examples or answer checks are not comparable: a "
            "test for the answer anywhere in the text, which some published scores use, counts many wrong "
            "responses as right.",
        ],
        confidence=bootstrap.confidence,
        made_by={"sampling": {"n": n}},
    )


def _values(judged: Mapping[str, Judged]) -> dict[str, dict[str, float]]:
    """In percent, so that their means are the scores."""
    found = {"accuracy": {item: 100.0 * (one.greedy == one.wanted) for item, one in judged.items()}}
    if any(one.sampled for one in judged.values()):
        rights = {item: _right(one) for item, one in judged.items()}
        found["sampled_accuracy"] = {item: 100 * sum(right) / len(right) for item, right in rights.items()}
        n = len(next(iter(rights.values())))
        found |= {f"pass_at_{i}": _pass(rights, i) for i in range(1, n + 1)}
        found["majority_accuracy"] = {
            item: 100 * majority_vote(one.sampled, one.wanted) for item, one in judged.items()
        }
    return found


def _right(one: Judged) -> list[bool]:
    return [number == one.wanted for number in one.sampled]


def _pass(rights: Mapping[str, Sequence[bool]], n: int) -> dict[str, float]:
    return {item: 100 * pass_at_n(right, n) for item, right in rights.items()}


def _scores(values: Mapping[str, Values], n: int, bootstrap: Bootstrap) -> list[Score]:
    names = ["accuracy", *(["sampled_accuracy", "majority_accuracy"] if n else [])]
    return [
        *(BENCHMARK.mean(name, values, bootstrap, n=n) for name in names),
        *(BENCHMARK.mean("pass_at_{n}", values, bootstrap, n=i) for i in range(1, n + 1)),
    ]


def _by_steps(judged: Mapping[str, Judged], values: Values) -> list[Table]:
    groups: dict[int, list[float]] = {}
    for item, one in judged.items():
        groups.setdefault(min(one.steps, _MANY_STEPS), []).append(values[item])
    if set(groups) == {0}:  # references without marked calculations
        return []
    rows: list[list[str | float]] = [
        [f"{_MANY_STEPS} or more" if steps == _MANY_STEPS else str(steps), len(group), sum(group) / len(group)]
        for steps, group in sorted(groups.items())
    ]
    return [Table("By number of steps in the reference solution", ["calculations", "problems", "accuracy (%)"], rows)]


def _curves(judged: Mapping[str, Judged], n: int, bootstrap: Bootstrap) -> list[Curve]:
    if n < 2:
        return []
    rights = {item: _right(one) for item, one in judged.items()}
    voted = {
        i: {item: 100 * majority_vote(one.sampled[:i], one.wanted) for item, one in judged.items()}
        for i in range(1, n + 1)
    }
    title, x_label = "Right with N responses (%)", "N, sampled responses per problem"
    return [
        mean_curve(title, x_label, "Pass@N", {i: _pass(rights, i) for i in range(1, n + 1)}, bootstrap),
        mean_curve(title, x_label, "majority of N", voted, bootstrap),
    ]
