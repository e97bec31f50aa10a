"""Presets, settings and parameters: which one holds."""

from __future__ import annotations

import json

import pytest

from larpo_lib.errors import ConfigError
from larpo_lib.pipeline.parameters import compose

BASE = {"policy": "models/base", "prompts_source": "s3://b/p.jsonl", "prompts_heldout": 8}


def test_unset_parameters_leave_the_preset_as_it_is():
    config = compose({"preset": "mistral-7b-instruct-fsfairx"})
    assert (config.sample.k, config.sample.temperature, config.loop.iterations) == (10, 0.8, 3)
    assert config.prepare.heldout == 512


def test_a_parameter_wins_over_settings_and_settings_over_the_preset():
    settings = json.dumps({"sample": {"k": 4, "top_p": 0.9}})
    config = compose({"preset": "mistral-7b-instruct-fsfairx", "settings": settings, "sample_k": 6, "rounds": 2})
    assert (config.sample.k, config.sample.top_p, config.loop.iterations) == (6, 0.9, 2)


def test_parameters_of_every_kind():
    config = compose(
        {
            **BASE, "seed": 7, "sample_temperature": "1.0,0.9", "early_stop_metric": "mean_reward",
            "early_stop_patience": 2, "early_stop_min_delta": 0.5, "train_objective": "dpo", "train_beta": 0.3,
            "train_learning_rate": 1e-6, "train_launcher": "deepspeed", "train_gpus": 8, "train_nodes": 2,
            "evaluate_when": "every_round", "promote_when": "every_round", "lists_selection": "best_worst",
            "demonstrations_source": "d.jsonl",
        }
    )  # fmt: skip
    assert config.sample.temperature == (1.0, 0.9)
    assert (config.sample.seed, config.train.seed, config.prepare.seed) == (7, 7, 7)
    assert config.loop.early_stop is not None
    assert (config.loop.early_stop.patience, config.loop.early_stop.min_delta) == (2, 0.5)
    assert config.train.objective.model_dump() == {"type": "dpo", "beta": 0.3, "label_smoothing": 0.0}
    assert (config.train.launch.nproc, config.train.launch.nodes, config.sft.launch.nproc) == (8, 2, 8)
    assert config.sft.launch.nodes == 1
    assert config.loop.promote == "every_iteration"
    assert config.lists.selection.type == "best_worst"


def test_a_seed_of_nought_and_no_early_stop_can_be_asked_for():
    settings = json.dumps({"seed": 3, "loop": {"early_stop": {"patience": 2}}})
    config = compose({**BASE, "settings": settings, "seed": 0, "early_stop_metric": "off"})
    assert config.sample.seed == 0
    assert config.loop.early_stop is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"preset": "gsm9k"}, "no preset 'gsm9k'"),
        ({"settings": "{"}, "settings is no JSON"),
        ({"settings": "[1]"}, "settings is no JSON object"),
        ({"settings": '{"smaple": {}}'}, "unknown setting 'smaple'"),
        ({"sample_temperature": "warm"}, "sample_temperature is 'warm'"),
        ({"evaluate_when": "never"}, "evaluate_when is 'never'"),
        ({"train_objective": "simpo", "train_beta": -1.0}, "train.objective.beta"),
        ({"train_gpus": 4}, "train_gpus is 4, but one process trains"),
        ({"evaluate_when": "last_round", "early_stop_metric": "accuracy"}, "early_stop needs the metrics"),
    ],
)
def test_mistakes_are_told(given, message):
    with pytest.raises(ConfigError, match=message):
        compose({**BASE, **given})
