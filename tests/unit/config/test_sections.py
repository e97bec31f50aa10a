from datetime import date
from typing import Any

import pytest

from larpo_lib.config import LarpoConfig, ModelConfig
from larpo_lib.config.load import check
from larpo_lib.errors import ConfigError
from larpo_lib.rewards.rerankers.classifier import ClassifierConfig

NEEDED: dict[str, Any] = {"policy": "models/base", "prepare": {"source": "prompts.jsonl"}}


def whole(**tree: Any) -> LarpoConfig:
    return check(LarpoConfig, {**NEEDED, **tree})


def refused(**tree: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        whole(**tree)
    return str(caught.value)


def test_seed_reaches_every_section_that_draws() -> None:
    config = whole(seed=7, demonstrations={"source": "d.jsonl"}, evaluation_prompts={"source": "e.jsonl"})
    seeds = {
        name: section.seed for name in LarpoConfig.model_fields if hasattr(section := getattr(config, name), "seed")
    }
    drawing = {"prepare", "demonstrations", "evaluation_prompts", "sft", "sample", "lists", "train", "evaluate"}
    drawing |= {"promote", "reward_model", "search_temperature", "gsm8k", "reward_eval", "retrieval"}
    assert drawing < seeds.keys()
    assert set(seeds.values()) == {7}


def test_policys_model_settings_are_not_the_reward_models() -> None:
    config = whole(model={"pad_token": "<unk>"}, rerank={"reranker": {"type": "classifier", "path": "models/reward"}})
    assert config.rerank.reranker == ClassifierConfig(path="models/reward")


def test_evaluation_takes_over_the_samplers_limits_and_the_reranker() -> None:
    reranker = {"type": "classifier", "path": "models/reward"}
    sample = {"max_new_tokens": 9, "max_prompt_tokens": 8, "sampler": {"type": "hf", "batch_size": 2}, "top_p": 0.5}
    config = whole(sample=sample, rerank={"reranker": reranker})
    taken = config.evaluate
    assert (taken.max_new_tokens, taken.max_prompt_tokens, taken.sampler.batch_size, taken.top_p) == (9, 8, 2, 1.0)
    assert taken.reranker == ClassifierConfig(path="models/reward")


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"sample": {"k": 1}}, "k = 1 makes lists of one response"),
        ({"sample": {"k": 0}}, "'sample.k'"),
        ({"sample": {"temperature": -0.1}}, "'sample.temperature"),
        ({"sample": {"temperature": []}}, "temperature is an empty list"),
        ({"sample": {"top_p": 1.5}}, "'sample.top_p'"),
        ({"train": {"micro_batch_tokens": 0}}, "'train.micro_batch_tokens'"),
        ({"train": {"micro_batch_size": 4}}, "unknown setting 'train.micro_batch_size'"),
        ({"train": {"launch": {"nproc": 2}}}, "nproc 2 needs a launcher; set launcher to torchrun or deepspeed"),
        ({"train": {"launch": {"launcher": "mpi"}}}, "'train.launch.launcher'"),
        ({"sft": {"launch": {"launcher": "torchrun", "offload": True}}}, "offload needs launcher = deepspeed"),
        ({"train": {"launch": {"launcher": "deepspeed", "zero_stage": 0, "offload": True}}}, "zero_stage 1, 2 or 3"),
        ({"train": {"lora": {"r": 0}}}, "'train.lora.r'"),
        ({"sft": {"max_prompt_tokens": 64, "max_tokens": 64}}, "max_prompt_tokens 64 leaves no room"),
        ({"train": {"learning_rate": 0}}, "'train.learning_rate'"),
        ({"lists": {"selection": {"type": "best"}}}, "has the unknown type 'best'"),
        ({"lists": {"negatives": {"kind": "warm"}}}, "'lists.negatives.kind'"),
        ({"evaluate": {"temperature": 0}}, "'evaluate.temperature'"),
        ({"promote": {"confidence": 0.5}}, "'promote.confidence'"),
        ({"model": {"dtype": "int8"}}, "dtype'"),
        ({"loop": {"iterations": 0}}, "'loop.iterations'"),
        ({"seed": 2**31}, "'seed'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(tree: dict[str, Any], message: str) -> None:
    assert message in refused(**tree)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    ("section", "name"),
    [("sample", "temperature"), ("train", "learning_rate"), ("promote", "margin"), ("train", "weight_decay")],
)
def test_settings_are_finite_numbers(section: str, name: str, value: float) -> None:
    assert f"'{section}.{name}" in refused(**{section: {name: value}})


def test_one_response_is_enough_where_others_are_drawn_beside_it() -> None:
    config = whole(sample={"k": 1, "extra_draws": [{"count": 1, "temperature": 0.5}]})
    assert config.sample.k + config.sample.extra_draws[0].count == 2


def test_a_retriever_is_for_related_prompts_only() -> None:
    retriever = {"type": "embedding", "path": "models/minilm"}
    negatives = whole(lists={"negatives": {"kind": "related", "retriever": retriever}}).lists.negatives
    assert negatives is not None
    assert negatives.retriever.type == "embedding"
    told = refused(lists={"negatives": {"kind": "random", "retriever": retriever}})
    assert "the retriever is only used with kind 'related', but kind is 'random'" in told


def test_one_day_holds_for_every_chat_template_of_a_run() -> None:
    """Else a run that lasts over midnight, or a reward model, would be told another one."""
    member = {"reranker": {"type": "classifier", "path": "models/reward", "model": {"device": "cpu"}}}
    config = whole(
        model={"date": date(2025, 3, 1)},  # as TOML has it
        train={"model": {"device": "cpu"}},
        rerank={"reranker": {"type": "classifier", "path": "models/reward"}},
        evaluate={
            "reranker": {"type": "ensemble", "members": [member, member]},
            "sampler": {"type": "hf", "model": {}},
        },
    )
    told = [
        config.sft.model,
        config.train.model,
        config.sample.sampler.model,
        config.evaluate.sampler.model,
        config.rerank.reranker.model,
        config.evaluate.reranker.members[0].reranker.model,
        config.gsm8k.answers.sampler.model,
    ]
    assert {model.date for model in told} == {"2025-03-01"}
    assert config.train.model.device == "cpu"


@pytest.mark.parametrize("day", ["yesterday", "2025-02-30", 20250301, "01.03.2025"])
def test_a_day_that_is_none_is_refused(day: Any) -> None:
    assert "model.date" in refused(model={"date": day})


@pytest.mark.parametrize(
    "changed",
    [{"date": "2025-03-01"}, {"stop_tokens": ["<x>"]}, {"special_text": "control"}, {"chat_template": "{{}}"}],
)
def test_what_decides_how_prompts_are_read_is_part_of_the_identity(changed: dict[str, Any]) -> None:
    """And what is left at its default is not, so that what was made before there was the setting is found again."""
    assert {**ModelConfig(**changed).identity(), **changed} == ModelConfig(**changed).identity()
    assert ModelConfig().identity().keys() == {"dtype", "device", "attention", "pad_token", "trust_remote_code"}


@pytest.mark.parametrize("name", ["rank", "Rank", "ranks", "ranking", "PLACE", "human_rank"])
def test_ranks_are_no_rewards_for_their_best_is_the_lowest(name: str) -> None:
    message = refused(prepare={"source": "nectar.jsonl", "columns": {"rewards": name}})
    assert message.startswith("setting 'prepare.columns.rewards': Input should be a column in which higher is better")
    assert f'row["reward"] = -row["{name}"]' in message


@pytest.mark.parametrize("name", ["reward", "ranked_score", "frank", "prank_score", "marketplace", "replaced"])
def test_other_names_may_be_rewards(name: str) -> None:
    columns = whole(prepare={"source": "a.jsonl", "columns": {"rewards": name}}).prepare.columns
    assert columns.rewards == name
