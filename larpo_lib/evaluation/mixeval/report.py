"""What MixEval reports of a policy."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from larpo_lib.evaluation.mixeval import BENCHMARK
from larpo_lib.evaluation.mixeval.questions import FREE_FORM, MULTIPLE_CHOICE, Question
from larpo_lib.evaluation.mixeval.scoring import (
    Judgement,
    MixEvalScores,
    counts,
    question_values,
    score,
    standard_error,
)
from larpo_lib.evaluation.mixeval.settings import MixEvalConfig
from larpo_lib.evaluation.published import mixeval_rows
from larpo_lib.reporting.evaluation import EvaluationReport, Score, Table
from larpo_lib.statistics.estimates import Estimate

OFFICIAL_JUDGE = "gpt-3.5-turbo-0125"
OFFICIAL_ITEMS = {"mixeval": 2000, "mixeval-hard": 500}
"""Questions of each kind."""
TITLES = {"mixeval": "MixEval", "mixeval-hard": "MixEval-Hard"}

NAMES = {FREE_FORM: "free_form", MULTIPLE_CHOICE: "multiple_choice"}
"""Of the score of each kind."""


def make_report(
    config: MixEvalConfig,
    questions: Sequence[Question],
    judgements: Sequence[Judgement],
    policy: str,
    further_counts: Mapping[str, int],
) -> EvaluationReport:
    """The report.

    Args:
        config: of the benchmark.
        questions: all of them.
        judgements: of the questions, in their order.
        policy: its identity or name.
        further_counts: what was dropped or asked again on the way.
    """
    scores, groups = score(judgements), _groups(questions, judgements)
    rule = "" if config.multiple_choice == "judge" else "; multiple choice by rule"
    return EvaluationReport(
        benchmark=BENCHMARK.name,
        title=f"{TITLES[config.benchmark]} {config.version}",
        policy=policy,
        judged_by=f"{config.judge.model} with MixEval's prompts{rule}",
        scores=_scores(scores, groups),
        counts={**counts(scores), **further_counts},
        values=_values(groups),
        version=f"{config.benchmark} {config.version}",
        published=mixeval_rows(hard=config.benchmark == "mixeval-hard") if config.version == "2024-06-01" else [],
        tables=[_table(scores)],
        caveats=_caveats(config, scores, further_counts),
        distributions=(),  # a question's value is its part in a weighted mean
    )


def _scores(scores: MixEvalScores, groups: Mapping[str, Mapping[str, Sequence[float]]]) -> list[Score]:
    def estimate(value: float | None, *kinds: str) -> Estimate:
        return Estimate(value, standard_error=standard_error({kind: groups[kind] for kind in kinds}))

    return [
        BENCHMARK.score("overall", estimate(scores.overall, *groups)),
        *(BENCHMARK.score(name, estimate(scores.kinds[kind].score, kind)) for kind, name in NAMES.items()),
    ]


def _groups(questions: Sequence[Question], judgements: Sequence[Judgement]) -> dict[str, dict[str, list[float]]]:
    """Kind, then the digest of a question, to the scores of its copies."""
    groups: dict[str, dict[str, list[float]]] = {FREE_FORM: defaultdict(list), MULTIPLE_CHOICE: defaultdict(list)}
    for question, judgement in zip(questions, judgements, strict=True):
        if judgement.score is not None:
            groups[question.kind][question.digest].append(judgement.score)
    return groups


def _values(groups: Mapping[str, Mapping[str, Sequence[float]]]) -> dict[str, dict[str, float]]:
    kinds = {name: groups[kind] for kind, name in NAMES.items()}
    every = {question: scores for questions in groups.values() for question, scores in questions.items()}
    return {name: question_values(questions) for name, questions in {"overall": every, **kinds}.items()}


def _table(scores: MixEvalScores) -> Table:
    kinds = {FREE_FORM: "free form", MULTIPLE_CHOICE: "multiple choice"}
    rows = [
        (benchmark, kinds[kind], part.score, part.items, part.unparsed)
        for (kind, benchmark), part in scores.benchmarks.items()
    ]
    total = [("all", kinds[kind], part.score, part.items, part.unparsed) for kind, part in scores.kinds.items()]
    return Table("Scores by benchmark", ("benchmark", "kind", "score", "questions", "not parsed"), [*rows, *total])


def _caveats(config: MixEvalConfig, scores: MixEvalScores, further_counts: Mapping[str, int]) -> list[str]:
    items = OFFICIAL_ITEMS[config.benchmark]
    asked = {kind: part.items + part.left_out for kind, part in scores.kinds.items()}
    unparsed = sum(part.unparsed for part in scores.kinds.values())
    done = {
        "wrong": "count as wrong",
        "leave_out": "are excluded",
        "official": f"got a random score or option (seed {config.seed}), as officially",
        "fail": "",
    }
    found = []
    if any(count != items for count in asked.values()):
        found.append(
            f"Only {asked[FREE_FORM]} free-form and {asked[MULTIPLE_CHOICE]} multiple-choice questions were "
            f"asked instead of {items} each: this score is not comparable with published ones."
        )
    if config.judge.model != OFFICIAL_JUDGE:
        found.append(f"Published scores were judged by {OFFICIAL_JUDGE}, these scores by {config.judge.model}.")
    if config.multiple_choice == "rule":
        found.append("Options were read by rule, which misreads up to a tenth of the answers that a judge can read.")
    if unparsed:
        found.append(f"{unparsed} judgements could not be read; they {done[config.unparsed]}.")
    if further_counts.get("prompts_too_long_dropped"):
        found.append(
            f"{further_counts['prompts_too_long_dropped']} questions were too long to be asked; they count as wrong."
        )
    return found
