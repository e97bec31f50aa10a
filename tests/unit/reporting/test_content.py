import math

import pytest
import torch

from larpo_lib.objectives import ListBatch
from larpo_lib.reporting import content
from larpo_lib.training.metrics import batch_metrics


def test_every_count_of_a_drop_is_found_and_zeros_are_kept():
    parts = [
        ("prepare.prompts", 0, {"prompts": 9, "over_limit_dropped": 0}),
        ("sample", 1, {"prompts_too_long_dropped": 2, "distinct_share": 0.5}),
        ("build_lists", 1, {"duplicates_dropped": 12, "prompts_without_candidates": 0}),
        ("sample", 2, {"prompts_too_long_dropped": 0}),
        ("build_lists", 2, {"duplicates_dropped": 30, "prompts_without_candidates": 1}),
    ]
    assert content.drops(parts, 3) == [
        content.Drop("prepare.prompts", "over limit dropped", (0, None, None)),
        content.Drop("sample", "prompts too long dropped", (None, 2, 0)),
        content.Drop("build_lists", "duplicates dropped", (None, 12, 30)),
        content.Drop("build_lists", "prompts without candidates", (None, 0, 1)),
    ]


def test_settings_shared_by_all_iterations_stand_once():
    def train(rate):
        return {"step": "train", "config": {"learning_rate": rate, "model": {"dtype": "auto"}, "max_steps": None}}

    shared = content.settings([("iteration 1", train(0.1)), ("iteration 2", train(0.1))])
    assert shared == [
        content.Setting("train", (("learning_rate", "0.1"), ("model.dtype", "auto"), ("max_steps", "none")))
    ]
    differing = content.settings([("iteration 1", train(0.1)), ("iteration 2", train(0.2))])
    assert [setting.step for setting in differing] == ["train (iteration 1)", "train (iteration 2)"]


def test_settings_do_not_tell_where_files_lay():
    manifest = {"step": "prepare.prompts", "config": {"source": "/home/somebody/secret/problems.jsonl"}}
    assert content.settings([("start", manifest)])[0].values == (("source", "…/problems.jsonl"),)


def test_diversity_is_read_by_temperature_from_the_coldest():
    metrics = {
        "duplicate_share": 0.5,
        "duplicate_share_t10.0": None,
        "distinct_2_t10.0": 0.75,
        "duplicate_share_t0.9": 0.125,
        "distinct_2_t0.9": 0.25,
    }
    assert content.sample_diversity(3, metrics) == [
        content.SampleDiversity(3, "0.9", 0.125, 0.25),
        content.SampleDiversity(3, "10.0", None, 0.75),
    ]
    assert content.sample_diversity(1, {"candidates": 4}) == []


def test_responses_of_like_length_are_one_group():
    # 24 responses, so two a group; the 10 shortest are of one length and are not parted
    lengths = [5] * 10 + list(range(10, 24))
    curve = content.length_curve(2, [float(i) for i in range(24)], lengths)
    assert curve.iteration == 2
    assert curve.lengths[0] == 5.0
    assert curve.lengths[1:] == pytest.approx([10.5, 12.5, 14.5, 16.5, 18.5, 20.5, 22.5])
    assert curve.rewards == pytest.approx([4.5, 10.5, 12.5, 14.5, 16.5, 18.5, 20.5, 22.5])
    assert curve.errors[1] == pytest.approx(0.5 / math.sqrt(2))


def test_the_order_of_responses_changes_no_curve():
    lengths, rewards = [3, 1, 2, 3, 9], [0.5, 0.25, 1.0, 0.0, 2.0]
    one = content.length_curve(1, rewards, lengths)
    assert one == content.length_curve(1, rewards[::-1], lengths[::-1])
    assert one.lengths == [1.0, 2.0, 3.0, 9.0]
    assert one.rewards == [0.25, 1.0, 0.25, 2.0]


def test_what_a_reranker_cut_is_listed_with_the_drops():
    [drop] = content.drops([("rerank", 1, {"responses_cut_for_scoring": 3, "ranked": 9})], 2)
    assert drop == content.Drop("rerank", "responses cut for scoring", (None, 3))


def test_drawn_series_are_the_ones_that_training_logs():
    ones = torch.ones(1, 2)
    logged = batch_metrics(ListBatch(ones, ones, ones, ones, torch.ones(1, 2, dtype=torch.bool)))
    assert set(content.HISTORY_SERIES) - {"loss", "grad_norm"} <= logged.keys()


def test_a_series_that_was_not_logged_is_empty_values():
    found = content.history([{"loss": 1.0}, {"loss": 0.5, "kl": 0.1}])
    assert found["loss"] == [1.0, 0.5]
    assert found["kl"] == [None, 0.1]
    assert found["margin"] == [None, None]
