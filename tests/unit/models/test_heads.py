"""Scores in float32 on a body in bfloat16 are those that numpy computes in float64 from the body's own states."""

import copy
import math

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    DebertaV2Config,
    DistilBertConfig,
    GemmaConfig,
    LlamaConfig,
    ModernBertConfig,
    RobertaConfig,
)

from larpo_lib.models.heads import train_in_float32, use_float32_heads

SIZES = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
DISTIL = {"vocab_size": 40, "dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 32}
CONFIGS = {
    "llama": lambda: LlamaConfig(**SIZES),
    "gemma": lambda: GemmaConfig(**SIZES, head_dim=8, num_key_value_heads=1),
    "bert": lambda: BertConfig(**SIZES),
    "roberta": lambda: RobertaConfig(**SIZES, pad_token_id=0),
    "deberta-v2": lambda: DebertaV2Config(**SIZES),
    "distilbert": lambda: DistilBertConfig(**DISTIL),
    "modernbert": lambda: ModernBertConfig(**SIZES, pad_token_id=0, cls_token_id=1, sep_token_id=2),
}
IDS = torch.tensor([[1, *range(start, start + 9)] for start in range(3, 30)])


def gelu(x):
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def relu(x):
    return np.maximum(x, 0)


def normed(x):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)


def by_hand(family, weights, states):
    """The scores (B,) of states (B, L, H), as the family's paper or code defines its head."""

    def layer(name, x):
        return x @ weights[f"{name}.weight"].T + weights.get(f"{name}.bias", 0.0)

    first, last = states[:, 0], states[:, -1]
    heads = {
        "llama": lambda: layer("score", last),
        "gemma": lambda: layer("score", last),
        "bert": lambda: layer("classifier", np.tanh(layer("bert.pooler.dense", first))),
        "roberta": lambda: layer("classifier.out_proj", np.tanh(layer("classifier.dense", first))),
        "deberta-v2": lambda: layer("classifier", gelu(layer("pooler.dense", first))),
        "distilbert": lambda: layer("classifier", relu(layer("pre_classifier", first))),
        "modernbert": lambda: layer(
            "classifier", normed(gelu(layer("head.dense", first))) * weights["head.norm.weight"]
        ),
    }
    return heads[family]()[:, 0]


def classifier(family, dtype=torch.bfloat16):
    config = CONFIGS[family]()
    config.num_labels = 1
    config.pad_token_id = 0
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.1, 0.5)
    return model.to(dtype).eval()


def scored(model):
    """The scores of `IDS`, and the states that they are of."""
    states = []
    handle = model.base_model.register_forward_hook(lambda _body, _inputs, output: states.append(output[0]))
    with torch.inference_mode():
        scores = model(input_ids=IDS, attention_mask=torch.ones_like(IDS)).logits[:, 0]
    handle.remove()
    return scores, states[0]


@pytest.mark.parametrize("family", CONFIGS)
def test_scores_are_those_of_a_head_in_float64(family):
    model = classifier(family)
    weights = {name: value.double().numpy() for name, value in model.state_dict().items()}
    rounded, before = scored(copy.deepcopy(model))
    scores, states = scored(use_float32_heads(model))
    assert torch.equal(states, before)
    assert states.dtype is torch.bfloat16
    assert scores.dtype is torch.float32
    expected = by_hand(family, weights, states.double().numpy())
    assert scores.numpy() == pytest.approx(expected, rel=1e-5, abs=1e-5)
    assert np.abs(rounded.float().numpy() - expected).max() > 1e-3  # as it was


@pytest.mark.parametrize("family", CONFIGS)
def test_models_in_float32_keep_their_scores(family):
    model = classifier(family, torch.float32)
    before, _ = scored(model)
    assert torch.equal(scored(use_float32_heads(model))[0], before)


def test_a_models_own_code_and_a_quantized_head_are_left_alone():
    own = classifier("llama")
    own.__class__ = type("Own", (type(own),), {"__module__": "transformers_modules.own.modeling_own"})
    assert use_float32_heads(own).score.weight.dtype is torch.bfloat16
    quantized = classifier("llama")
    quantized.score.weight = torch.nn.Parameter(torch.ones(1, 16, dtype=torch.int8), requires_grad=False)
    assert use_float32_heads(quantized).score.weight.dtype is torch.int8


@pytest.mark.parametrize(("dtype", "autocast"), [(torch.float32, True), (torch.bfloat16, False)])
def test_a_head_in_training_multiplies_in_float32(dtype, autocast):
    """Under autocast, and with the copies in bfloat16 that DeepSpeed makes of weights."""
    torch.manual_seed(0)
    head = torch.nn.Linear(64, 1, bias=False).to(dtype)
    train_in_float32(head)
    states = torch.randn(30, 64).bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        scores = head(states)[:, 0]
    expected = states.detach().double() @ head.weight.detach().double()[0]
    assert scores.dtype is torch.float32
    torch.testing.assert_close(scores.double(), expected, rtol=1e-5, atol=1e-6)
    scores.sum().backward()
    assert head.weight.grad.dtype is dtype
    torch.testing.assert_close(head.weight.grad[0].double(), states.detach().double().sum(0), rtol=1e-2, atol=1e-2)
