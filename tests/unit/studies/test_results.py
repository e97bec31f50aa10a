from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from small_study import STUDY, write_study

from larpo_lib.studies.output import Provenance, write
from larpo_lib.studies.results import Outcome, nested_bootstrap, summarize
from larpo_lib.studies.study import load_study

values = st.lists(st.floats(-10, 10), min_size=1, max_size=20)


@given(st.lists(values, min_size=1, max_size=4))
@settings(max_examples=50)
def test_the_mean_is_that_of_the_groups_means_and_lies_in_reach_of_the_values(groups):
    mean, low, high = nested_bootstrap(groups, resamples=200)
    assert mean == pytest.approx(np.mean([np.mean(group) for group in groups]))
    smallest, largest = min(map(min, groups)), max(map(max, groups))
    assert smallest - 1e-9 <= low <= high <= largest + 1e-9


def test_one_group_has_the_interval_of_the_ordinary_bootstrap():
    data = np.random.default_rng(0).normal(size=400)
    _, low, high = nested_bootstrap([data.tolist()], resamples=4000)
    expected = stats.bootstrap((data,), np.mean, method="percentile", n_resamples=4000, rng=1).confidence_interval
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=0.01)


def test_seeds_that_differ_widen_the_interval():
    alike = nested_bootstrap([[0.0, 1.0] * 50] * 3)
    apart = nested_bootstrap([[0.0] * 100, [0.5] * 100, [1.0] * 100])
    assert alike.mean == apart.mean == 0.5
    assert apart.high - apart.low > 2 * (alike.high - alike.low)


def _outcome(label, seed, accuracy, start=0.0):
    prompts = [f"p{i}" for i in range(len(accuracy))]
    after = dict(zip(prompts, accuracy, strict=True))
    return Outcome((label,), seed, {"accuracy": after}, {"accuracy": dict.fromkeys(prompts, start)})


@pytest.mark.parametrize(
    ("accuracy", "verdict"),
    [([0.9, 0.8, 0.9, 0.8], "holds"), ([0.0, 0.1, 0.0, 0.1], "reversed"), ([0.6, 0.4, 0.4, 0.6], "within noise")],
)
def test_an_ordering_holds_if_the_paired_difference_is_above_zero(tmp_path, accuracy, verdict):
    study = load_study(write_study(tmp_path))
    outcomes = [_outcome("pairwise", seed, [0.5] * 4) for seed in (0, 1)]
    outcomes += [_outcome("ListMLE", seed, accuracy) for seed in (0, 1)]
    results = summarize(study, ["accuracy"], outcomes)
    assert [(one.better, one.worse, one.verdict) for one in results.found] == [("ListMLE", "pairwise", verdict)]
    pairwise, listmle = results.rows
    assert not pairwise.differences
    assert listmle.differences["accuracy"].mean == pytest.approx(np.mean(accuracy) - 0.5)
    assert listmle.by_seed["accuracy"] == {0: pytest.approx(np.mean(accuracy)), 1: pytest.approx(np.mean(accuracy))}
    assert listmle.published == {"win_rate": 1.5} or not study.published
    assert results.start["accuracy"].mean == 0.0


def test_cells_that_begin_with_another_policy_have_a_start_of_their_own(tmp_path):
    published = '[[published]]\ncell = ["{model}", "start"]\nvalues = {{ win_rate = {rate} }}\n'
    text = STUDY.replace('cell = ["ListMLE"]', 'cell = ["A", "ListMLE"]')
    text = text.replace(
        "[tiny]", "".join(published.format(model=m, rate=r) for m, r in (("A", 7.0), ("B", 8.0))) + "[tiny]", 1
    )
    study = load_study(write_study(tmp_path, text))
    outcomes = []
    for model, start in (("A", 0.25), ("B", 0.5)):
        for label in ("pairwise", "ListMLE"):
            one = _outcome(label, 0, [1.0, 0.0], start)
            outcomes.append(replace(one, labels=(model, label)))
    results = summarize(study, ["accuracy"], outcomes)
    found = [(row.labels, row.estimates["accuracy"].mean, dict(row.published)) for row in results.starts]
    assert found == [(("A", "start"), 0.25, {"win_rate": 7.0}), (("B", "start"), 0.5, {"win_rate": 8.0})]
    write(study, results, Provenance("c", "paper", 1, {}, None), tmp_path / "results")
    head, *rows = (tmp_path / "results" / "table.txt").read_text().splitlines()
    assert head.split("  ")[0] == "model"
    assert [row.split()[:2] for row in rows] == [
        ["A", "start"], ["A", "pairwise"], ["A", "ListMLE"], ["B", "start"], ["B", "pairwise"], ["B", "ListMLE"],
    ]  # fmt: skip
    assert [row.split()[-1] for row in rows] == ["7.000", "\N{EN DASH}", "1.500", "8.000", "\N{EN DASH}", "\N{EN DASH}"]
