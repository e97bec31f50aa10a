"""The check of a judge beside what pandas, scipy and scikit-learn say of published and of drawn annotations."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from annotation_rows import annotated
from scipy.stats import kendalltau, spearmanr
from sklearn.metrics import accuracy_score, cohen_kappa_score

from larpo_lib.artifacts import Metrics, read_metrics
from larpo_lib.evaluation.judge_check import step
from larpo_lib.evaluation.judge_check.settings import JudgeCheckConfig

QUICK = JudgeCheckConfig(resamples=40)
GPT4, WITH_REASONS = "alpaca_eval_gpt4_turbo_fn", "alpaca_eval_cot_gpt4_turbo_fn"


def independent(reference: pd.DataFrame, judged: pd.DataFrame) -> dict[str, float]:
    """The numbers of two tables of preferences by other libraries."""
    both = reference.merge(judged, on=["model", "row"], suffixes=("", "_judge")).dropna()
    wins = both.groupby("model")[["preference", "preference_judge"]].mean()
    one, other = (np.sign(both[name] - 1.5) for name in ("preference_judge", "preference"))
    longer = np.sign(both.len_model - both.len_ref)
    told = both[(one != 0) & (other != 0) & (longer != 0)].index
    return {
        "pairs": len(both),
        "agreement": accuracy_score(other, one),
        "kappa": cohen_kappa_score(other, one),
        "spearman": spearmanr(wins.preference, wins.preference_judge).statistic,
        "kendall": kendalltau(wins.preference, wins.preference_judge).statistic,
        "prefers_longer": (one == longer)[told].mean(),
        "prefers_longer_beyond": (one == longer)[told].mean() - (other == longer)[told].mean(),
    }


def clustered_error(values: pd.Series, instructions: pd.Series) -> float:
    """Of a mean, over instructions (Liang and Zeger 1986)."""
    residuals = (values - values.mean()).groupby(instructions).sum()
    return float(np.sqrt((residuals**2).sum()) / len(values))


def test_gpt4_and_the_longest_answer_as_pandas_and_scikit_learn_have_it(
    shared_data: Callable[[str], Path], tmp_path: Path
) -> None:
    """AlpacaEval's annotator `longest` prefers the longer answer; six models, and what GPT-4 said of them."""
    published = shared_data("alpaca_eval/preferences_6_models.csv.gz")
    reference = pd.read_csv(published)
    longest = reference.assign(preference=1.5 + 0.5 * np.sign(reference.len_model - reference.len_ref))
    longest.to_csv(tmp_path / "longest.csv", index=False)
    config = JudgeCheckConfig(resamples=200)
    step.run(config, reference=[published], judged=[tmp_path / "longest.csv"], evaluation=tmp_path / "check")
    found, expected = read_metrics(tmp_path / "check"), independent(reference, longest)
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert found["prefers_longer"] == 1.0
    same = (np.sign(longest.preference - 1.5) == np.sign(reference.preference - 1.5))[reference.preference.notna()]
    error = clustered_error(same.astype(float), reference.row[same.index])
    assert (found["agreement_high"] - found["agreement_low"]) / 2 == pytest.approx(1.96 * error, rel=0.15)
    report = json.loads((tmp_path / "check" / "report.json").read_text())
    rates = {model: (judge, wanted) for model, _, judge, wanted in report["tables"][0]["rows"]}
    assert rates["gemma-7b-it"][1] == pytest.approx(6.937294, abs=1e-6)  # the published win rate
    assert (report["policy"], report["judged_by"]) == ("longest", "preferences_6_models")


def test_two_published_judges_as_pandas_and_scikit_learn_have_it(
    shared_data: Callable[[str], Path], tmp_path: Path
) -> None:
    files = [shared_data(f"alpaca_eval/preferences.{name}.csv.gz") for name in (WITH_REASONS, GPT4)]
    step.run(QUICK, reference=files[:1], judged=files[1:], evaluation=tmp_path / "check")
    found = read_metrics(tmp_path / "check")
    expected = independent(*(pd.read_csv(file) for file in files))
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert 0.8 < found["agreement"] < 1.0


def test_both_orders_count_as_their_mean_as_pandas_has_it(check: Callable[..., Metrics]) -> None:
    """Forty pairs of four models in both orders, a fifth of them by several annotations and some half unread."""
    draw = np.random.default_rng(3)
    tables = []
    for _ in range(2):
        table = pd.DataFrame(
            [(f"{i}", model) for i in range(10) for model in "klmn"] + [(f"{i}", "k") for i in range(8)],
            columns=["instruction", "model"],
        )
        table[["first", "other"]] = draw.choice([1.0, 1.2, 1.5, 1.7, 2.0], (len(table), 2))
        table.loc[draw.random(len(table)) < 0.1, "other"] = np.nan
        tables.append(table)
    rows = [
        [annotated(one.instruction, one.model, (one.first, None if np.isnan(one.other) else one.other), None, False)
         for one in table.itertuples()] for table in tables
    ]  # fmt: skip
    found = check(*rows)
    keys = ["instruction", "model"]
    means = [table.groupby(keys)[["first", "other"]].mean().dropna().mean(axis=1).rename("mean") for table in tables]
    firsts = [table.groupby(keys)["first"].mean() for table in tables]
    both = pd.concat(means, axis=1, keys=["reference", "judge"]).dropna()
    wanted, judge = (np.sign(both[name].round(9) - 1.5) for name in both)
    one_order = [np.sign(first[both.index].round(9) - 1.5) for first in firsts]
    wins = both.groupby("model").mean()
    assert (found["pairs"], found["models"]) == (len(both), 4)
    assert found["undecided_dropped"] == 40 - len(both) > 0
    assert found["agreement"] == found["agreement_both_orders"] == accuracy_score(wanted, judge)
    assert found["agreement_one_order"] == accuracy_score(*one_order)
    assert found["kappa"] == pytest.approx(cohen_kappa_score(wanted, judge))
    assert found["spearman"] == pytest.approx(spearmanr(wins.reference, wins.judge).statistic)
    assert found["kendall"] == pytest.approx(kendalltau(wins.reference, wins.judge).statistic)
