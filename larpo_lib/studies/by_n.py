"""Measures at several N, such as `pass_at_8`, against N: one curve for each policy and retriever."""

import re
from collections.abc import Mapping

from larpo_lib.evaluation.retrieval.ranking import TITLE, X_LABEL
from larpo_lib.reporting.evaluation import Curve
from larpo_lib.reporting.table import UNDEFINED, interval
from larpo_lib.statistics.estimates import Estimate
from larpo_lib.studies.results import Results

_OF_POLICY = {"pass_at_": (TITLE, "Pass@N"), "recall_at_": ("Right among the N likeliest", "")}
_OF_RETRIEVERS = {"bm25_recall_at_": "BM25, Recall@N", "embedding_recall_at_": "embedding, Recall@N"}


def curves(results: Results) -> list[Curve]:
    """Those of the policy before training and of each cell; a retriever has one, for it finds the same for all."""
    policies = {"before": results.start, **{" ".join(row.labels): row.estimates for row in results.rows}}
    found = [
        _curve(title, f"{policy}, {measure}".removesuffix(", "), _at(estimates, prefix))
        for prefix, (title, measure) in _OF_POLICY.items()
        for policy, estimates in policies.items()
        if _at(estimates, prefix)
    ]
    found += [
        _curve(TITLE, name, _at(results.start, prefix))
        for prefix, name in _OF_RETRIEVERS.items()
        if _at(results.start, prefix)
    ]
    return sorted(found, key=lambda curve: curve.title != TITLE)


def rows(drawn: list[Curve]) -> list[list[str]]:
    """A row for each N under a head that names the curves."""
    numbers = sorted({n for curve in drawn for n in curve.x})
    head = ["N", *(curve.name if curve.title == TITLE else f"{curve.name}, {curve.title}" for curve in drawn)]
    return [head, *([f"{n:g}", *(_cell(curve, n) for curve in drawn)] for n in numbers)]


def _at(estimates: Mapping[str, Estimate], prefix: str) -> dict[int, Estimate]:
    found = ((re.fullmatch(rf"{prefix}(\d+)", name), value) for name, value in estimates.items())
    return dict(sorted((int(match[1]), value) for match, value in found if match))


def _curve(title: str, name: str, by_n: Mapping[int, Estimate]) -> Curve:
    return Curve(title, X_LABEL, name, [*by_n], [*by_n.values()])


def _cell(curve: Curve, n: float) -> str:
    return interval(curve.y[list(curve.x).index(n)]) if n in curve.x else UNDEFINED
