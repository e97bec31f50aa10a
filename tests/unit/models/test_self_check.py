"""Which models are refused because larpo does not score them as they do, and which get the same scores in training."""

import copy

import pytest
import torch
from small_models import FAMILIES, VOCABULARY, make_model, random_model
from transformers import (
    BioGptConfig,
    GPTBigCodeConfig,
    MixtralConfig,
    ModernBertDecoderConfig,
    OPTConfig,
    PersimmonConfig,
    PhimoeConfig,
    RecurrentGemmaConfig,
    SeedOssConfig,
)

from larpo_lib.errors import ModelError
from larpo_lib.models.scoring import attach_scorer, padded_rows

_OWN = {"vocab_size": VOCABULARY, "hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 3}
_SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_SIZES = {**_OWN, **_SPECIAL, "intermediate_size": 48, "num_key_value_heads": 4, "max_position_embeddings": 64}
NOISY = {
    "seed_oss": SeedOssConfig(**_SIZES, head_dim=8, residual_dropout=0.5),
    "opt": OPTConfig(**_OWN, **_SPECIAL, ffn_dim=48, word_embed_proj_dim=32, dropout=0.5, layerdrop=0.5),
    "gpt_bigcode": GPTBigCodeConfig(**_SPECIAL, vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, attn_pdrop=0.5),
    "persimmon": PersimmonConfig(**_SIZES, attention_dropout=0.5),
    "biogpt": BioGptConfig(**_SIZES, hidden_dropout_prob=0.5),
    "mixtral": MixtralConfig(**_SIZES, num_local_experts=4, router_jitter_noise=0.5),
}
PROMPTS, RESPONSES = [[5, 9], [7, 3, 11]], [[20, 4, 8, 31], [12, 6]]


def _own_logps(model):
    """By log_softmax of the model's own logits, in evaluation mode."""
    found = []
    for prompt, response in zip(PROMPTS, RESPONSES, strict=True):
        logits = model(input_ids=torch.tensor([prompt + response]), use_cache=False).logits[0]
        logps = logits.log_softmax(-1)[len(prompt) - 1 : -1]
        found.append(logps[torch.arange(len(response)), torch.tensor(response)].sum())
    return torch.stack(found)


@pytest.mark.parametrize("family", NOISY)
@torch.no_grad()
def test_scores_in_training_are_without_dropout_and_noise(family):
    model = random_model(NOISY[family])
    expected = _own_logps(model)
    before = torch.random.get_rng_state()
    scored = attach_scorer(model, 64)
    assert not scored.training
    assert torch.equal(torch.random.get_rng_state(), before)
    for _ in range(2):
        torch.testing.assert_close(scored.train()(**padded_rows(PROMPTS, RESPONSES, 0)), expected, atol=1e-4, rtol=0)


def test_a_family_that_draws_its_experts_in_training_is_refused():
    model = random_model(PhimoeConfig(**_SIZES, num_local_experts=4, router_jitter_noise=0.5))
    with pytest.raises(ModelError, match=r"'phimoe' are not supported: their scores in training mode are random"):
        attach_scorer(model, 64)


def test_a_family_with_a_layer_before_the_output_layer_is_refused():
    sizes = {name: value for name, value in _SIZES.items() if name != "num_key_value_heads"} | {
        "cls_token_id": 1,
        "sep_token_id": 2,
    }
    with pytest.raises(ModelError, match=r"'modernbert-decoder' are not supported: larpo's log-probability of"):
        attach_scorer(random_model(ModernBertDecoderConfig(**sizes)), 64)


def test_a_family_whose_forward_pass_fails_is_refused():
    model = make_model("llama")
    model.forward = lambda **inputs: len(inputs["nothing"])
    with pytest.raises(ModelError, match=r"'llama' are not supported: scoring a test input fails: KeyError: 'nothing'"):
        attach_scorer(model, 64)


@torch.no_grad()
def test_recurrent_gemmas_cap_is_applied():
    model = random_model(RecurrentGemmaConfig(**_SIZES, lru_width=32, attention_window_size=8, logits_soft_cap=1.5))
    expected, hidden_cap = _own_logps(model), copy.deepcopy(model)
    scored = attach_scorer(model, 64)(**padded_rows(PROMPTS, RESPONSES, 0))
    torch.testing.assert_close(scored, expected, atol=1e-4, rtol=0)
    hidden_cap.config.logits_soft_cap = 1e9
    assert (_own_logps(hidden_cap) - expected).abs().max() > 1e-2  # it shows


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_forgotten_cap_shows_however_small_the_logits(dtype):
    """At logits of 1 a cap of 30 takes off less than 0.0004 each, which bfloat16 does not even write down."""
    model = make_model("llama")
    with torch.no_grad():
        model.lm_head.weight.mul_(0.05)
    model.to(dtype)
    own_forward = model.forward

    def capped_forward(**inputs):
        output = own_forward(**inputs)
        output.logits = 30 * torch.tanh(output.logits / 30)
        return output

    assert own_forward(input_ids=torch.arange(9)[None]).logits.abs().max() < 1
    model.forward = capped_forward
    with pytest.raises(ModelError, match=r"'llama' are not supported: .* with large logits"):
        attach_scorer(model, 64)


@pytest.mark.parametrize("family", FAMILIES)
def test_no_family_is_refused_for_what_bfloat16_costs(family):
    attach_scorer(make_model(family).to(torch.bfloat16), 64)
