"""The table `[model]` says how the policy is loaded, wherever it is loaded."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from larpo_lib.config import LarpoConfig, load_config
from larpo_lib.config.inheritance import resolve

REFERENCE = Path(__file__).parents[3] / "docs" / "configuration.md"
MODEL = {"dtype": "float32", "chat_template": "{{ messages[0].content }}", "stop_tokens": ["###"], "date": "2025-03-01"}
OTHER_MODELS = re.compile("reranker|templates|reward_models")


def policy_places() -> list[str]:
    """As the reference lists them: all tables of a model, but for those of reward models and of other policies."""
    (also,) = re.findall(r"^## `model`\n\nAlso (.*)$", REFERENCE.read_text("utf-8"), re.MULTILINE)
    return [place for place in re.findall("`(.*?)`", also) if not OTHER_MODELS.search(place)]


def table(place: Sequence[str], value: Any) -> dict[str, Any]:
    for name in reversed(place):
        value = {name: value}
    return dict(value)


def taken(tree: dict[str, Any], place: Sequence[str]) -> Any:
    found: Any = resolve(LarpoConfig, {"model": MODEL, **tree})
    for name in place:
        found = found[name]
    return found


def test_the_reference_lists_all_that_load_the_policy() -> None:
    trained = {"sft.model", "train.model", "reward_model.model"}
    asked = {f"{name}.sampler.model" for name in ("sample", "evaluate", "search_temperature", "lm_eval")}
    answering = ("alpaca_eval", "arena_hard", "gsm8k", "mixeval", "reward_eval")
    asked |= {f"{name}.answers.sampler.model" for name in answering}
    assert {*policy_places()} == trained | asked | {"divergence.model", "retrieval.model"}


@pytest.mark.parametrize("place", policy_places())
def test_a_table_that_is_stated_takes_over_what_it_does_not_state(place: str) -> None:
    names = place.split(".")
    assert taken(table(names, {"dtype": "float16"}), names) == {**MODEL, "dtype": "float16"}
    *sampler, _ = names
    if "sampler" in names:
        assert taken(table(sampler, {"type": "vllm"}), names) == MODEL
        assert taken(table(sampler, {"batch_size": 2}), names) == MODEL


@pytest.mark.parametrize("place", [place for place in policy_places() if "sampler" in place and "sample." not in place])
def test_a_sampler_of_its_own_has_nothing_of_that_of_the_section_sample(place: str) -> None:
    names = place.split(".")
    tree = {"sample": {"sampler": {"type": "openai", "model": {"dtype": "float16"}}}}
    assert taken(tree | table(names[:1], {"seed": 1}), names) == {**MODEL, "dtype": "float16"}
    assert taken(tree | table(names[:-1], {"type": "hf"}), names) == MODEL


def test_policies_are_evaluated_as_they_are_trained_where_a_server_samples() -> None:
    server = "sample.sampler={type = 'openai', base_url = 'http://h/v1', served_model = 'm'}"
    model = ["model.chat_template={{ messages[0].content }}", "model.dtype=float32", 'model.stop_tokens=["###"]']
    needed = ["policy=p", "prepare.source=s"]
    config = load_config(None, [*needed, *model, server, "evaluate.sampler.type=hf", "train.model.device=cpu"])
    assert config.model == config.sample.sampler.model == config.evaluate.sampler.model == config.sft.model
    assert config.evaluate.sampler.model.stop_tokens == ("###",)
    assert config.train.model == config.model.model_copy(update={"device": "cpu"})
    assert [(one.served, one.model) for one in config.prepare.templates] == [
        (False, config.model),
        (False, config.train.model),
        (True, config.model),
    ]
