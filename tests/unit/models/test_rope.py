"""Rotary embeddings of a pass that depend on its longest sequence, as transformers computes them."""

import json
import shutil

import pytest
import torch
from families4 import SIZES
from small_models import make_classifier
from transformers import AutoModelForCausalLM, Gemma3TextConfig, LlamaConfig, Phi3Config

from larpo_lib.config import ModelConfig, RewardModelConfig, SftConfig, TrainConfig
from larpo_lib.errors import ConfigError
from larpo_lib.models.layout import padded_layout
from larpo_lib.models.model_dir import ModelDir
from larpo_lib.models.rope import batched_length, check_scorable
from larpo_lib.models.scoring import attach_scorer
from larpo_lib.rewards.rerankers import make_reranker
from larpo_lib.rewards.rerankers.classifier import ClassifierConfig
from larpo_lib.training.trainable import check_trainable

PLAIN = ModelConfig(device="cpu")
LONGROPE = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 4, "long_factor": [4.0] * 4}
DYNAMIC = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0}
_SIZES = {**SIZES, "num_hidden_layers": 1}


@pytest.mark.parametrize(
    ("config", "length"),
    [
        (Phi3Config(**_SIZES, original_max_position_embeddings=40, rope_parameters=LONGROPE), 40),
        (LlamaConfig(**{**_SIZES, "max_position_embeddings": 30}, rope_parameters=DYNAMIC), 30),
    ],
    ids=["longrope", "dynamic"],
)
def test_up_to_this_length_a_sequence_changes_no_other_in_its_pass(config, length):
    assert batched_length(config) == length
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    attach_scorer(model, None)
    short = ([5, 6, 7], [[8, 9, 10, 11, 12, 13]])

    @torch.no_grad()
    def beside(tokens):
        return model(**padded_layout(0)([short, ([4], [[5] * (tokens - 1)])]))[0].item()

    alone = model(**padded_layout(0)([short])).item()
    assert beside(length) == pytest.approx(alone, abs=1e-4)
    assert abs(beside(length + 2) - alone) > 1e-3  # a last token has no position


def test_kinds_of_layers_are_looked_at_by_themselves_and_other_kinds_have_no_such_length():
    by_layers = {"full_attention": DYNAMIC, "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}}
    config = Gemma3TextConfig(**{**_SIZES, "max_position_embeddings": 30}, head_dim=8, rope_parameters=by_layers)
    assert batched_length(config) == 30
    assert batched_length(LlamaConfig(rope_parameters={**DYNAMIC, "rope_type": "linear"})) is None
    assert batched_length(LlamaConfig()) is None


def test_whoever_scores_in_batches_refuses_longer_sequences_before_the_weights_are_read(tiny_policy, tmp_path):
    policy = shutil.copytree(tiny_policy, tmp_path / "policy")
    settings = json.loads((policy / "config.json").read_text("utf-8"))
    changed = {**settings, "max_position_embeddings": 32, "rope_parameters": DYNAMIC}
    (policy / "config.json").write_text(json.dumps(changed), "utf-8")
    make_classifier(tmp_path / "reward-model", policy)
    source, lengths = ModelDir(policy, PLAIN), {"model": PLAIN, "max_prompt_tokens": 16}
    asked = {
        "train": lambda tokens: check_trainable(source, TrainConfig(**lengths, max_tokens=tokens)),
        "sft": lambda tokens: check_trainable(source, SftConfig(**lengths, max_tokens=tokens)),
        "reward_model": lambda tokens: check_trainable(source, RewardModelConfig(**lengths, max_tokens=tokens)),
        "rerank": lambda tokens: make_reranker(
            ClassifierConfig(path=str(tmp_path / "reward-model"), model=PLAIN, max_tokens=tokens)
        ),
    }
    for ask in asked.values():
        ask(32)
        with pytest.raises(ConfigError, match=r"max_tokens = 33: .* beyond 32 tokens .* at most 32 tokens together"):
            ask(33)


def test_the_default_fits_phi3(tmp_path):
    """As microsoft/Phi-3.5-mini-instruct and Phi-4-mini-instruct state it."""
    Phi3Config(
        max_position_embeddings=131072,
        original_max_position_embeddings=4096,
        rope_parameters=LONGROPE | {"short_factor": [1.0] * 48, "long_factor": [4.0] * 48},
    ).save_pretrained(tmp_path)
    check_scorable(ModelDir(tmp_path, PLAIN), TrainConfig().max_tokens, "max_tokens")
    with pytest.raises(ConfigError, match="beyond 4096 tokens"):
        check_scorable(ModelDir(tmp_path, PLAIN), 4097, "max_tokens")
