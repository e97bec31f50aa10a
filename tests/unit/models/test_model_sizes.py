"""Ids and positions that a model does not have are refused before its weights are read."""

import json
import shutil

import pytest
import torch
from small_models import make_classifier
from transformers import AutoConfig, AutoModelForCausalLM, Gemma3nTextConfig, GPT2Config, RobertaConfig, RobertaModel

from larpo_lib.config import ModelConfig, TrainConfig
from larpo_lib.errors import ConfigError, ModelError
from larpo_lib.models.context import check_sizes
from larpo_lib.models.model_dir import ModelDir
from larpo_lib.rewards.rerankers import make_reranker
from larpo_lib.rewards.rerankers.classifier import ClassifierConfig
from larpo_lib.samplers import SamplingLimits, make_sampler
from larpo_lib.samplers.hf import HfSamplerConfig
from larpo_lib.training.trainable import check_trainable

PLAIN = ModelConfig(device="cpu")


@pytest.fixture
def policy(tiny_policy, tmp_path):
    return shutil.copytree(tiny_policy, tmp_path / "policy")


def _set(directory, **changes):
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_token_without_an_embedding_is_refused(policy):
    tokenizer = ModelDir(policy, PLAIN).tokenizer
    tokenizer.add_special_tokens({"additional_special_tokens": ["<late>"]})
    tokenizer.save_pretrained(policy)
    beyond = tokenizer.convert_tokens_to_ids("<late>")
    with pytest.raises(IndexError):  # what a user would see without the check
        ModelDir(policy, PLAIN).load_policy()(input_ids=torch.tensor([[beyond]]))
    with pytest.raises(ModelError, match=rf"'<late>' is {beyond}, but the model has embeddings for ids below {beyond}"):
        _ = ModelDir(policy, PLAIN).tokenizer


def test_a_tokenizer_smaller_than_the_embedding_is_taken(policy):
    tokenizer = ModelDir(policy, PLAIN).tokenizer
    _set(policy, vocab_size=len(tokenizer) + 64)  # as many models pad theirs
    assert len(ModelDir(policy, PLAIN).tokenizer) == len(tokenizer)


def test_absolute_positions_end_where_the_models_own_end(tmp_path):
    config = GPT2Config(vocab_size=8, n_positions=16, n_embd=8, n_layer=1, n_head=2)
    config.save_pretrained(tmp_path)
    model = AutoModelForCausalLM.from_config(config).eval()
    assert ModelDir(tmp_path, PLAIN).context_length == 16
    model(input_ids=torch.zeros((1, 16), dtype=torch.long))
    with pytest.raises(IndexError):
        model(input_ids=torch.zeros((1, 17), dtype=torch.long))
    ModelDir(tmp_path, PLAIN).check_context(16, "max_tokens = 16")
    with pytest.raises(ConfigError, match=r"max_tokens = 17: sequences of up to 17 tokens, but .* supports at most 16"):
        ModelDir(tmp_path, PLAIN).check_context(17, "max_tokens = 17")


def test_a_size_may_be_a_list_with_one_for_each_layer():
    """As transformers makes it for Gemma 3n, whatever its config.json has."""
    config = Gemma3nTextConfig(num_hidden_layers=4, intermediate_size=48)
    assert config.intermediate_size == [48] * 4
    check_sizes(config)
    config.intermediate_size = [48, 48, 0, 48]
    with pytest.raises(ValueError, match=r"intermediate_size is \[48, 48, 0, 48\]"):
        check_sizes(config)


def test_positions_that_begin_behind_the_padding_id_are_not_counted(tmp_path):
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    config = RobertaConfig(vocab_size=8, max_position_embeddings=18, pad_token_id=1, **sizes)
    config.save_pretrained(tmp_path)
    model = RobertaModel(config).eval()
    longest = ModelDir(tmp_path, PLAIN).context_length
    model(input_ids=torch.full((1, longest), 5))
    with pytest.raises((IndexError, RuntimeError)):
        model(input_ids=torch.full((1, longest + 1), 5))


def test_whoever_reads_sequences_refuses_those_beyond_the_positions(policy, tmp_path):
    _set(policy, max_position_embeddings=32)
    make_classifier(tmp_path / "reward-model", policy)
    assert AutoConfig.from_pretrained(tmp_path / "reward-model").max_position_embeddings == 32
    beyond = {
        "sampling": lambda: make_sampler(HfSamplerConfig(model=PLAIN), policy, SamplingLimits(24, 9, 1.0)),
        "scoring": lambda: make_reranker(
            ClassifierConfig(path=str(tmp_path / "reward-model"), model=PLAIN, max_tokens=33)
        ),
        "training": lambda: check_trainable(
            ModelDir(policy, PLAIN), TrainConfig(model=PLAIN, max_prompt_tokens=16, max_tokens=33)
        ),
    }
    for refused in beyond.values():
        with pytest.raises(ConfigError, match=r"sequences of up to 33 tokens, but .* supports at most 32"):
            refused()
    make_sampler(HfSamplerConfig(model=PLAIN), policy, SamplingLimits(24, 8, 1.0)).close()
    check_trainable(ModelDir(policy, PLAIN), TrainConfig(model=PLAIN, max_prompt_tokens=16, max_tokens=32))
