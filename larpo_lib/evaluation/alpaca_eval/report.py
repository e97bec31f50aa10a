"""What AlpacaEval 2 says of one model, as every benchmark reports it."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean

from larpo_lib.evaluation.alpaca_eval import BENCHMARK
from larpo_lib.evaluation.alpaca_eval.scoring import REFERENCE, SIZE, Comparison, Scores, item_id
from larpo_lib.evaluation.alpaca_eval.settings import AlpacaEvalConfig
from larpo_lib.evaluation.published import alpaca_eval_rows
from larpo_lib.judging.pairs import judge_name
from larpo_lib.reporting.evaluation import EvaluationReport, Score, Table
from larpo_lib.statistics.estimates import Estimate


def make_report(
    config: AlpacaEvalConfig,
    policy: str,
    reference: str,
    compared: Mapping[str, Comparison],
    scores: Scores,
    counts: Mapping[str, int],
    datasets: Mapping[str, str],
    judge_check: str,
) -> EvaluationReport:
    """The report of one model.

    Args:
        config: who judged, and how.
        policy: its name.
        reference: the generator of the answers it was compared with.
        compared: by instruction.
        scores: of these comparisons, in their order.
        counts: what was dropped or not judged on the way.
        datasets: where instructions come from, as far as it is known.
        judge_check: what is known of how good the judge is.
    """
    decided = {
        item_id(instruction): 100 * (c.preference - 1)
        for instruction, c in compared.items()
        if c.preference is not None
    }
    values = {"win_rate": decided}
    if scores.lc_values is not None:
        values["lc_win_rate"] = dict(zip(map(item_id, compared), scores.lc_values, strict=True))
    return EvaluationReport(
        benchmark=BENCHMARK.name,
        title=BENCHMARK.title,
        policy=policy,
        judged_by=judged_by(config),
        scores=_scores(scores),
        counts={
            "instructions": scores.instructions,
            "undecided": scores.undecided,
            "draws": scores.draws,
            **counts,
        },
        values=values,
        version=f"against {reference}",
        published=alpaca_eval_rows(),
        tables=_by_dataset(compared, datasets),
        caveats=_caveats(config, reference, scores),
        distributions=("win_rate",),  # a value of lc_win_rate is the instruction's part in the fit
        judge_check=judge_check,
        made_by={"values": {"lc_win_rate": "rate and influence"}} if "lc_win_rate" in values else {},
    )


def judged_by(config: AlpacaEvalConfig) -> str:
    """The judge, as reports name it."""
    return judge_name(config.judge.model, config.protocol, both_orders=config.both_orders)


def _scores(scores: Scores) -> list[Score]:
    found = {
        "lc_win_rate": Estimate(scores.lc_win_rate, standard_error=scores.lc_win_rate_standard_error),
        "win_rate": Estimate(scores.win_rate, standard_error=scores.win_rate_standard_error),
        "average_length": Estimate(scores.average_length),
    }
    return [BENCHMARK.score(name, estimate) for name, estimate in found.items() if estimate.value is not None]


def _by_dataset(compared: Mapping[str, Comparison], datasets: Mapping[str, str]) -> list[Table]:
    groups: defaultdict[str, list[Comparison]] = defaultdict(list)
    for instruction, comparison in compared.items():
        if instruction in datasets:
            groups[datasets[instruction]].append(comparison)
    if not groups:
        return []
    rows = [(name, len(group), _win_rate(group), fmean(c.len_model for c in group)) for name, group in groups.items()]
    columns = ("Source", "Instructions", "Win rate, %", "Average length, characters")
    return [Table("Win rate by source of the instructions", columns, sorted(rows))]


def _win_rate(group: Sequence[Comparison]) -> float | None:
    decided = [100 * (c.preference - 1) for c in group if c.preference is not None]
    return fmean(decided) if decided else None


def _caveats(config: AlpacaEvalConfig, reference: str, scores: Scores) -> list[str]:
    found = [
        f"Judged by {config.judge.model} with the protocol {config.protocol}. Scores of other judges and "
        "protocols are not comparable: the same SFT model has different scores in table 2 and table 3 of the paper."
    ]
    if config.both_orders:
        found.append(
            "Each preference is the mean of both orders of the two answers. Published scores are of one order, so they "
            "are not comparable with these."
        )
    if scores.instructions != SIZE:
        found.append(
            f"Only {scores.instructions} instructions instead of AlpacaEval's {SIZE}: this score is not "
            "comparable with published ones."
        )
    if reference != REFERENCE:
        found.append(f"Compared with the answers of {reference}, not of {REFERENCE}.")
    if scores.undecided:
        found.append(
            f"On {scores.undecided} instructions the judge gave no readable answer; they are excluded from the "
            "win rate, as in the official client."
        )
    if scores.lc_win_rate is None:
        found.append(
            "Without the gamed rows there is no length-controlled win rate, so long answers have an advantage."
        )
    return found
