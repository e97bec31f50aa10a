"""Presets, settings and parameters: which one holds."""

import json
from typing import Any

import pytest

from larpo_lib.errors import ConfigError
from larpo_lib.pipeline.form import FORMS, asked
from larpo_lib.pipeline.parameters import compose

BASE = {"policy": "models/base", "prompts_source": "s3://b/p.jsonl"}
HELDOUT: dict[str, Any] = {"prepare": {"heldout": 8}}


def composed(settings: dict[str, Any] | None = None, **given: Any) -> Any:
    return compose({**BASE, "settings": json.dumps({**HELDOUT, **(settings or {})}), **given})


def test_unset_parameters_leave_the_preset_as_it_is() -> None:
    defaults = {field.name: field.default for field in FORMS["larpo"]}
    for given in ({}, defaults):
        config = compose({**given, "preset": "mistral-7b-instruct-fsfairx"})
        assert (config.sample.k, config.sample.temperature, config.loop.iterations) == (10, 0.8, 3)
        assert config.prepare.heldout == 512


def test_a_parameter_wins_over_settings_and_settings_over_the_preset() -> None:
    settings = json.dumps({"sample": {"k": 4, "top_p": 0.9}})
    config = compose({"preset": "mistral-7b-instruct-fsfairx", "settings": settings, "k": 6, "rounds": 2})
    assert (config.sample.k, config.sample.top_p, config.loop.iterations) == (6, 0.9, 2)


def test_parameters_of_every_kind() -> None:
    launch = {"launcher": "deepspeed", "nodes": 2}
    config = composed(
        {"train": {"launch": launch}, "sft": {"launch": {"launcher": "deepspeed"}}},
        temperature="1.0,0.9", objective="dpo", train_gpus="8", k=3, model_name="mine", rounds=5,
        rewards="classifier:/cache/models/rm:v2",
    )  # fmt: skip
    assert config.sample.temperature == (1.0, 0.9)
    assert config.train.objective.type == "dpo"
    assert (config.train.launch.nproc, config.train.launch.nodes, config.sft.launch.nproc) == (8, 2, 8)
    assert (config.sample.k, config.promote.model_name, config.loop.iterations) == (3, "mine", 5)
    assert (config.rerank.reranker.type, config.rerank.reranker.path) == ("classifier", "/cache/models/rm:v2")
    assert composed(rewards="verifier").rerank.reranker.type == "verifier"
    assert composed(temperature="0.7").sample.temperature == 0.7


def test_a_type_as_a_parameter_leaves_the_settings_of_a_table_that_had_none() -> None:
    """The settings are written for the type that the form has beside them."""
    assert composed({"train": {"objective": {"beta": 0.2}}}, objective="dpo").train.objective.beta == 0.2
    of_another = {"train": {"objective": {"type": "lambdarank", "beta": 0.2}}}
    assert composed(of_another, objective="dpo").train.objective.beta == 0.1


def test_held_out_prompts_are_all_that_an_evaluation_needs() -> None:
    config = compose({"policy": "p", "prompts_source": "s3://b/h.jsonl", "settings": "{}"}, pipeline="evaluate")
    assert config.evaluation_prompts is not None
    assert (config.prepare.source, config.evaluation_prompts.source) == ("s3://b/h.jsonl", "s3://b/h.jsonl")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"preset": "gsm9k"}, "unknown preset 'gsm9k'"),
        ({"settings": "{"}, "settings is not valid JSON"),
        ({"settings": "[1]"}, "settings is not a JSON object"),
        ({"settings": '{"smaple": {}}'}, "unknown setting 'smaple'"),
        ({"temperature": "warm"}, "temperature is 'warm'"),
        ({"rewards": "oracle"}, "rerank.reranker"),
        ({"train_gpus": "4"}, "train_gpus is 4, but training uses one process"),
        ({"train_gpus": "4.0"}, "train_gpus is '4.0'. Set a whole number"),
    ],
)
def test_mistakes_are_told(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        compose({**BASE, "settings": json.dumps(HELDOUT), **given})


@pytest.mark.parametrize(("pipeline", "most"), [("larpo", 26), ("evaluate", 15), ("study", 23)])
def test_a_form_is_short_enough_for_a_person(pipeline: str, most: int) -> None:
    names = [field.name for field in FORMS[pipeline]]
    assert len(names) == len(set(names)) <= most
    assert names[:4] == ["root", "run_id", "preset", "settings"]
    assert set(names) - set(asked(pipeline)) == {"node_selector", "tolerations"}


def test_what_pods_are_given_is_text_and_everything_has_a_meaning() -> None:
    """Kubeflow's driver reads a number for a pod as nothing."""
    for form in FORMS.values():
        for field in form:
            assert field.meaning.endswith("."), field
            assert field.kind is str or not field.name.endswith(("_gpus", "_memory")), field
