"""The cells of the paper's scale against the settings that the paper states, written down here by hand."""

from __future__ import annotations

import pytest
from small_study import PRESETS

from larpo_lib.config import LarpoConfig
from larpo_lib.studies.study import cells, load_study

CHAT = ["table2", "table3", "table4", "table5", "fig3b", "fig3c", "fig4"]
ONE_PASS = {"rrhf", "slic_hf", "dpo", "ipo", "cpo", "kto", "r_dpo", "simpo", "lipo_lambda"}


def _runs(study: str) -> dict[tuple[str, ...], LarpoConfig]:
    loaded = load_study(PRESETS / "studies" / f"{study}.toml")
    return {cell.labels: cell.config() for cell in cells(loaded, "paper", PRESETS)}


@pytest.mark.parametrize("study", [*CHAT, "fig3a"])
def test_what_all_runs_share(study):
    for labels, config in _runs(study).items():
        train = config.train
        assert train.learning_rate == (2e-7 if study == "fig3a" else 5e-7)
        assert (train.schedule, train.batch_size, train.warmup_ratio) == ("cosine", 128, 0.1)
        assert (train.max_tokens, train.max_prompt_tokens) == (2048, 1000)
        assert (config.sample.top_p, config.prepare.heldout) == (1.0, 0 if study == "fig3a" else 512)
        one_pass = study == "table2" and train.objective.type in ONE_PASS and "iterative" not in labels[-1]
        assert (config.loop.iterations, train.epochs) == ((1, 1) if one_pass else (3, 2))
        if hasattr(train.objective, "beta"):
            assert train.objective.beta == (2.0 if train.objective.type == "simpo" else 0.1)


@pytest.mark.parametrize(
    ("study", "k"), [("table2", {10}), ("table3", {4}), ("table5", {4}), ("table4", {2}), ("fig3c", {4, 6, 8, 10})]
)
def test_responses_a_prompt(study, k):
    assert {config.sample.k for config in _runs(study).values()} == k


@pytest.mark.parametrize("study", ["table2", "table3", "table5"])
def test_temperatures_of_the_models(study):
    found = {(labels[0], config.sample.temperature) for labels, config in _runs(study).items()}
    assert found == {("Mistral-7B base + SFT", 1.0), ("Mistral-7B-Instruct-v0.2", 0.8)}


def test_a_diverse_temperature_draws_two_at_1_and_two_at_a_half():
    sample = _runs("table4")["diverse temperature",].sample
    assert (sample.k, sample.temperature) == (2, 1.0)
    assert [(draw.count, draw.temperature) for draw in sample.extra_draws] == [(2, 0.5)]


def test_the_grid_of_temperatures():
    for study in ("fig3b", "fig4"):
        assert [config.sample.temperature for config in _runs(study).values()] == [0.8, 0.9, 1.0, 1.1, 1.2]


def test_memory():
    found = {labels[0]: config.lists.memory for labels, config in _runs("table4").items()}
    assert found["current + previous"] == "previous"
    assert found["current + all previous"] == "all"
    assert found["current"] == "current"


@pytest.mark.parametrize("study", ["table3", "table5", "table2"])
def test_selections(study):
    expected = {
        "dpo": ("best_worst", None),
        "contrastive": ("top_bottom", (1, 3)) if study == "table2" else ("one_vs_rest", None),
        "lambdarank": ("top_bottom", (2, 2)),
        "listmle": ("top_bottom", (2, 2)),
    }
    for config in _runs(study).values():
        selection = config.lists.selection
        sizes = (selection.top, selection.bottom) if selection.type == "top_bottom" else None
        if config.train.objective.type in expected:
            assert (selection.type, sizes) == expected[config.train.objective.type]


def test_hard_negatives_come_from_responses_at_1_and_at_0_7():
    for labels, config in _runs("fig3a").items():
        negatives = config.lists.negatives
        assert negatives is not None
        assert negatives.kind == labels[0]
        assert config.sample.temperature == 1.0
        assert [draw.temperature for draw in config.sample.extra_draws] == [0.7]
        assert config.train.objective.type == "dpo"


def test_reward_models():
    found = {(labels[1], config.rerank.reranker.type) for labels, config in _runs("table2").items()}
    assert found == {("PairRM", "pairrm"), ("FsfairX", "classifier")}
