from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from larpo_lib.config import (
    EvaluateConfig,
    LarpoConfig,
    PromoteConfig,
    SampleConfig,
    Section,
    TrainConfig,
    section_class,
)
from larpo_lib.config.inheritance import Inherited, resolve


class Ink(Section):
    colour: Annotated[str, Inherited("ink.colour", creates=False)] = "black"


class Pen(Section):
    type: Literal["pen"] = "pen"
    ink: Ink = Ink()


class Brush(Section):
    type: Literal["brush"] = "brush"
    ink: Annotated[Ink, Inherited("ink.colour", into="colour")] = Ink()


Tool = Annotated[Pen | Brush, Field(discriminator="type")]


class Sheet(Section):
    size: Annotated[int, Inherited("size")] = 4
    tool: Annotated[Tool, Inherited("tool")] = Pen()


class Album(Section):
    size: int = 4
    ink: Ink = Ink()
    tool: Tool = Pen()
    margin: dict[str, int] = Field(default_factory=dict)
    sheet: Sheet = Sheet()
    cover: Sheet | None = None
    tools: tuple[Tool, ...] = ()
    frame: Annotated[dict[str, int], Inherited("margin", merge=True)] = Field(default_factory=dict)
    title: Annotated[str, Inherited(lambda lookup: f"of size {lookup('sheet.size')}")] = ""


RED = {"ink": {"colour": "red"}}
TITLE: dict[str, Any] = {"title": "of size 9", "sheet": {"size": 9}}


@pytest.mark.parametrize(
    ("tree", "filled"),
    [
        ({"size": 9}, TITLE),
        ({"size": 9, "sheet": {"size": 3}}, {"title": "of size 3", "sheet": {"size": 3}}),
        ({"size": 9, "title": "mine", "cover": None}, {**TITLE, "title": "mine"}),
        ({"size": 9, "cover": {}}, {**TITLE, "cover": {"size": 9}}),
        # A value that nothing can be taken over into is left to the check.
        ({"size": 9, "sheet": 5, "title": ""}, {}),
        ({"tool": {}, "title": ""}, {"sheet": {"tool": {}}}),
        ({"tool": {"type": "tong"}, "title": ""}, {"sheet": {"tool": {"type": "tong"}}}),
        ({"margin": {"top": 1, "left": 2}, "frame": {"top": 5}, "title": ""}, {"frame": {"top": 5, "left": 2}}),
        ({"margin": 3, "frame": {"top": 5}, "title": ""}, {}),
        # The colour makes no table but where it is said to.
        ({**RED, "tools": [{"type": "pen"}, {"type": "pen", "ink": {}}, {"type": "brush"}], "title": ""},
         {"tools": [{"type": "pen"}, {"type": "pen", **RED}, {"type": "brush", **RED}]}),
        ({**RED, "tool": {"type": "brush", "ink": {"colour": "blue"}}, "title": ""},
         {"sheet": {"tool": {"type": "brush", "ink": {"colour": "blue"}}}}),
        ({**RED, "tool": {"type": "brush"}, "title": ""},
         {"tool": {"type": "brush", **RED}, "sheet": {"tool": {"type": "brush", **RED}}}),
        ({"colour": 1, "title": ""}, {}),
    ],
)  # fmt: skip
def test_a_tree_is_filled_with_what_its_fields_take_over(tree: dict[str, Any], filled: dict[str, Any]) -> None:
    before = repr(tree)
    assert resolve(Album, tree) == {**tree, **filled}
    assert repr(tree) == before


CLASSIFIER = {"type": "classifier", "path": "reward"}
DAY = {"date": "2025-02-03"}
ON = {"model": DAY}


@pytest.mark.parametrize(
    ("tree", "place", "value"),
    [
        ({"launch": {"launcher": "deepspeed"}, "train": {"launch": {"nproc": 2}}}, "train.launch",
         {"launcher": "deepspeed", "nproc": 2}),
        ({"launch": {"launcher": "deepspeed"}}, "reward_model.launch", {"launcher": "deepspeed"}),
        ({"model": DAY, "sample": {"sampler": {"type": "vllm"}}}, "gsm8k.answers.sampler", {"type": "vllm", **ON}),
        ({"model": DAY, "sample": {"sampler": {"batch_size": 2}}}, "evaluate.sampler",
         {"batch_size": 2, **ON}),
        ({"model": DAY, "evaluate": {"sampler": {"batch_size": 2}}}, "evaluate.sampler",
         {"batch_size": 2, **ON}),
        ({"model": DAY, "evaluate": {"sampler": {"model": {"device": "cpu"}}}}, "evaluate.sampler.model",
         {"device": "cpu", **DAY}),
        ({"seed": 5, "reward_eval": {"answers": {"seed": 6}}}, "reward_eval", {"seed": 5, "answers": {"seed": 6}}),
        ({"seed": 5}, "reward_eval.answers", {"seed": 5}),
        ({"seed": 5, "alpaca_eval": {"partial": True}}, "alpaca_eval", {"partial": True, "answers": {"seed": 5}}),
        ({"rerank": {"reranker": CLASSIFIER}}, "score_reward_model.reranker", CLASSIFIER),
        ({"model": DAY, "rerank": {"reranker": CLASSIFIER}}, "search_temperature.reranker", {**CLASSIFIER, **ON}),
        ({"model": DAY, "rerank": {"reranker": {"type": "pairrm", "path": "p"}}}, "rerank.reranker",
         {"type": "pairrm", "path": "p"}),
        ({"model": DAY, "rerank": {"reranker": {"type": "ensemble", "members": [{"reranker": CLASSIFIER}]}}},
         "rerank.reranker.members", [{"reranker": {**CLASSIFIER, **ON}}]),
        ({"policy": "base", "prepare": {}}, "prepare.templates", [{"path": "base"}]),
        ({"policy": "base", "prepare": {}, "model": DAY, "train": {"model": {"device": "cpu"}},
          "evaluate": {"sampler": {"type": "openai"}}}, "prepare.templates",
         [{"path": "base", **ON}, {"path": "base", "model": {"device": "cpu", **DAY}},
          {"path": "base", "served": True, **ON}]),
        ({"prepare": {}, "rerank": {"reranker": CLASSIFIER}, "evaluate": {"reranker":
          {"type": "ensemble", "members": [{"reranker": CLASSIFIER}, {"reranker": {**CLASSIFIER, "path": "b"}}]}}},
         "prepare.reward_models", [CLASSIFIER, {**CLASSIFIER, "path": "b"}]),
    ],
)  # fmt: skip
def test_sections_of_a_run_take_over(tree: dict[str, Any], place: str, value: Any) -> None:
    found: Any = resolve(LarpoConfig, tree)
    for name in place.split("."):
        found = found[name]
    assert found == value


def test_nothing_is_made_of_sections_that_nothing_is_said_about() -> None:
    assert resolve(LarpoConfig, {}) == {}
    assert resolve(LarpoConfig, {"seed": 1}).keys().isdisjoint(["prepare", "demonstrations", "alpaca_eval", "rerank"])


def test_settings_stand_in_the_order_of_the_files() -> None:
    """A run's config.toml has them in this order, and its bytes are kept."""
    limits = "top_p max_new_tokens max_prompt_tokens"
    intervals = "part_prompts processes resamples confidence seed"
    orders = {
        SampleConfig: f"sampler k temperature extra_draws {limits} prompts_per_iteration max_duplicate_share"
        " part_prompts processes seed",
        EvaluateConfig: f"sampler n temperature {limits} limit reranker judge watch {intervals}",
        PromoteConfig: "model_name metric margin confidence must_improve must_not_lose resamples seed",
        section_class("reward_eval"): f"answers reranker limit {intervals}",
        section_class("retrieval"): f"model rank_by batch_tokens retrievers depths {intervals}",
    }
    for kind, order in orders.items():
        assert [*kind.model_fields] == order.split()
        assert [*kind.model_json_schema()["properties"]] == order.split()
    assert [*TrainConfig.model_fields][-4:] == ["launch", "seed", "objective", "unknown_end"]
    assert [*EvaluateConfig().model_dump()] == orders[EvaluateConfig].split()


def test_a_section_has_the_execution_settings_of_all_that_it_extends() -> None:
    class Both(SampleConfig, TrainConfig):
        execution = frozenset({"k"})

    assert Both.execution == {"k"} | SampleConfig.execution | TrainConfig.execution
    assert SampleConfig.execution == {"processes", "max_duplicate_share"}
