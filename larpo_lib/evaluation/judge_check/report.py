"""What the check of a judge reports."""

from collections.abc import Mapping

from larpo_lib.evaluation.judge_check import BENCHMARK
from larpo_lib.evaluation.judge_check.measures import Measures
from larpo_lib.evaluation.judge_check.reading import Compared
from larpo_lib.evaluation.judge_check.settings import JudgeCheckConfig
from larpo_lib.judging.pairs import Pair
from larpo_lib.reporting.evaluation import EvaluationReport, Table
from larpo_lib.schemas import prompt_id
from larpo_lib.statistics.estimates import Bootstrap

_FEW_MODELS = 5
HEADLINE = ("agreement", "kappa", "prefers_longer_beyond", "changed_by_order")


def make_report(
    config: JudgeCheckConfig,
    pairs: Mapping[Pair, Compared],
    names: tuple[str, str],
    version: str,
    counts: Mapping[str, int],
) -> EvaluationReport:
    """The report.

    Args:
        config: how intervals are made.
        pairs: on which both have a preference, one at least.
        names: of the judge and of the reference.
        version: which annotations the reference is.
        counts: what was dropped on the way.
    """
    measures, bootstrap = Measures([*pairs.values()]), Bootstrap.of(config)
    agree = (measures.judge == measures.reference).tolist()
    return EvaluationReport(
        benchmark=BENCHMARK.name,
        title=BENCHMARK.title,
        policy=names[0],
        judged_by=names[1],
        scores=[BENCHMARK.score(name, estimate) for name, estimate in measures.estimates(bootstrap).items()],
        counts={
            "pairs": len(pairs),
            "models": len(measures.win_rates()),
            "draws_of_judge": int((measures.judge == 0).sum()),
            "draws_of_reference": int((measures.reference == 0).sum()),
            **counts,
        },
        values={"agreement": {_item(pair): float(same) for pair, same in zip(pairs, agree, strict=True)}},
        version=version,
        tables=_models(measures),
        caveats=_caveats(measures, names),
        confidence=config.confidence,
        headline=HEADLINE,
    )


def _models(measures: Measures) -> list[Table]:
    rows = [(model, pairs, 100 * judge, 100 * wanted) for model, pairs, judge, wanted in measures.win_rates()]
    columns = ("Model", "Pairs", "Win rate by the judge, %", "Win rate by the reference, %")
    return [Table("Win rates of the models", columns, rows)] if rows else []


def _caveats(measures: Measures, names: tuple[str, str]) -> list[str]:
    judge, reference = names
    found = [
        f"This says how {judge} agrees with {reference}, not how good either of them is. People agree with each other "
        "on about two of three such pairs (65.7 % in AlpacaEval's own table of annotators)."
    ]
    if 1 < len(measures.win_rates()) < _FEW_MODELS:
        found.append(f"Only {len(measures.win_rates())} models: their order says little.")
    return found


def _item(pair: Pair) -> str:
    return prompt_id([{"role": "user", "content": part} for part in (pair.instruction, pair.reference, pair.model)])
