"""What a check of a judge says beside the scores that the judge has given; see the benchmark `judge_check`."""

import json
from pathlib import Path
from typing import Any

from larpo_lib.errors import ArtifactError, ConfigError
from larpo_lib.judging.pairs import IN_BOTH_ORDERS
from larpo_lib.reporting.benchmark import REPORT
from larpo_lib.reporting.table import count, interval
from larpo_lib.statistics.estimates import Estimate

_CHECK = "judge_check"
_TOLD = ("kappa", "prefers_longer_beyond", "changed_by_order")


def check_told(check: Path | None, judge: str, model: str = "") -> str:
    """What a check found about a judge, as one line; empty without one.

    Args:
        check: artifact of `judge_check`.
        judge: what gives the scores, as reports name it.
        model: a check of this model counts too if it was asked in another way, which the line then tells; empty: none.

    Raises:
        ArtifactError: `check` cannot be read.
        ConfigError: it is no check, or one of another judge.
    """
    if check is None:
        return ""
    report = _report(check)
    own, checked = judge.removesuffix(IN_BOTH_ORDERS), str(report["policy"])
    otherwise = bool(model) and checked.startswith(f"{model} by ")
    if checked != own and not otherwise:
        raise ConfigError(
            f"{check} is a check of {checked}, but the judge here is {judge}",
            remedy="Check this judge with `larpo judge-check`, or leave the check out",
        )
    scores = {one["name"]: one for one in report["scores"]}
    in_both = "agreement_one_order" in scores
    agreement = "agreement_one_order" if in_both else "agreement"
    if judge.endswith(IN_BOTH_ORDERS):
        agreement = "agreement_both_orders"
    if agreement not in scores:
        raise ConfigError(
            f"{check} has no {agreement}, because the judge was not asked in both orders",
            remedy="Make the check again with judge_check.both_orders = true",
        )
    first, *others = (_told(scores[name]) for name in (agreement, *_TOLD) if name in scores)
    link = ", and by both orders " if agreement == "agreement_one_order" else ", "
    numbers = link.join([first, ", ".join(others)] if others else [first])
    asked = "" if checked == own else f"asked {checked.removeprefix(model).strip()}, "
    return f"{asked}on {count(report['counts']['pairs'])} pairs that {report['judged_by']} annotated: {numbers}"


def _told(score: dict[str, Any]) -> str:
    return f"{score['label']} {interval(Estimate(score['value'], score['low'], score['high']))}"


def _report(check: Path) -> dict[str, Any]:
    try:
        report: dict[str, Any] = json.loads((check / REPORT).read_text("utf-8"))
        benchmark = report["benchmark"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ArtifactError(
            f"{check / REPORT}: cannot be read: {error}", remedy="Use an artifact of `larpo judge-check`"
        ) from None
    if benchmark != _CHECK:
        raise ConfigError(
            f"{check} was made by {benchmark}, and is no check of a judge",
            remedy="Use an artifact of `larpo judge-check`",
        )
    return report
