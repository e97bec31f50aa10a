from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_models import make_model
from transformers import Gemma3nConfig, Gemma4Config, RecurrentGemmaConfig, xLSTMConfig

from larpo_lib.models import logprobs
from larpo_lib.models.chunk_size import default_chunk_tokens
from larpo_lib.models.logprobs import LogitTransform, logit_transform, token_logps

PLAIN = LogitTransform()
TRANSFORMS = [PLAIN, LogitTransform(scale=0.25), LogitTransform(cap=1.5), LogitTransform(scale=3.0, cap=2.0)]


def _by_autograd(hidden, layer, targets, transform):
    """The whole matrix at once, by torch's own functions."""
    logits = layer(hidden) * transform.scale
    if transform.cap is not None:
        logits = transform.cap * torch.tanh(logits / transform.cap)
    return logits.log_softmax(-1)[torch.arange(len(targets)), targets]


def _example(tokens, bias, dtype=torch.float64):
    torch.manual_seed(tokens)
    layer = torch.nn.Linear(8, 30, bias=bias, dtype=dtype)
    hidden = (2 * torch.randn(tokens, 8, dtype=dtype)).requires_grad_()
    return hidden, layer, torch.randint(30, (tokens,))


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("bias", [True, False])
@given(tokens=st.integers(1, 9), chunk_tokens=st.integers(1, 10))
def test_values_and_gradients_are_those_of_the_whole_matrix(transform, bias, tokens, chunk_tokens):
    hidden, layer, targets = _example(tokens, bias)
    inputs = [hidden, *layer.parameters()]
    weights = torch.linspace(-1, 2, tokens, dtype=torch.float64)
    found = token_logps(hidden, layer, targets, transform, chunk_tokens)
    expected = _by_autograd(hidden, layer, targets, transform)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-10)
    torch.testing.assert_close(
        torch.autograd.grad((found * weights).sum(), inputs),
        torch.autograd.grad((expected * weights).sum(), inputs),
        atol=1e-12,
        rtol=1e-10,
    )


@pytest.mark.parametrize("chunk_tokens", [2, 9])
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_gradients_are_those_of_finite_differences(transform, chunk_tokens):
    hidden, layer, targets = _example(5, bias=True)

    def logps(states, weight, bias):
        layer_of = torch.nn.Linear(8, 30)
        layer_of.weight, layer_of.bias = torch.nn.Parameter(weight), torch.nn.Parameter(bias)
        return logprobs._TokenLogps.apply(states, weight, bias, targets, transform, chunk_tokens)

    torch.autograd.gradcheck(logps, (hidden, layer.weight, layer.bias))


def test_a_frozen_output_layer_takes_no_gradient():
    hidden, layer, targets = _example(5, bias=True)
    layer.requires_grad_(False)
    token_logps(hidden, layer, targets, PLAIN, 2).sum().backward()
    assert layer.weight.grad is None
    assert hidden.grad.abs().sum() > 0


def test_the_backward_pass_may_be_made_twice():
    """What is kept for it must not be changed by it."""
    hidden, layer, targets = _example(5, bias=False)
    total = token_logps(hidden, layer, targets, PLAIN, 9).sum()
    (first,) = torch.autograd.grad(total, hidden, retain_graph=True)
    (second,) = torch.autograd.grad(total, hidden)
    assert torch.equal(first, second)


def test_no_more_logits_exist_at_a_time_than_a_chunk_has(monkeypatch):
    widths = []

    def watched(states, *matrix):
        widths.append(len(states))
        return torch.nn.functional.linear(states, *matrix)

    monkeypatch.setattr(logprobs, "linear", watched)
    hidden, layer, targets = _example(10, bias=True)
    token_logps(hidden, layer, targets, PLAIN, 4).sum().backward()
    assert widths == [4, 4, 2, 4, 4, 2]  # forward, then again for the backward pass
    widths.clear()
    token_logps(hidden, layer, targets, PLAIN, 10).sum().backward()
    assert widths == [10]  # one chunk's softmax is kept


def test_the_default_chunk_has_128_mib_of_logits_and_on_a_gpu_512():
    assert default_chunk_tokens(2**15, "cpu") == 1024
    assert default_chunk_tokens(2**18, "cpu") == 128
    assert default_chunk_tokens(2**40, "cpu") == 1
    assert default_chunk_tokens(2**18, "cuda") == 512


def test_no_tokens_give_no_values_in_float32():
    layer = torch.nn.Linear(8, 3, dtype=torch.bfloat16)
    logps = token_logps(torch.zeros(0, 8, dtype=torch.bfloat16), layer, torch.arange(0), PLAIN, 4)
    assert logps.shape == (0,)
    assert logps.dtype == torch.float32


@pytest.mark.parametrize("chunk_tokens", [2, 9])
def test_low_precision_logits_are_normalised_in_float32(chunk_tokens):
    hidden, layer, targets = _example(5, bias=True, dtype=torch.bfloat16)
    logps = token_logps(hidden, layer, targets, PLAIN, chunk_tokens)
    expected = layer(hidden).double().log_softmax(-1)[torch.arange(5), targets]
    assert logps.dtype == torch.float32
    torch.testing.assert_close(logps.double(), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("chunk_tokens", [2, 9])
def test_autocast_rounds_what_it_rounds_elsewhere(chunk_tokens):
    """Weights stay float32 and so do their gradients; the products are bfloat16's."""
    hidden, layer, targets = _example(5, bias=True, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = token_logps(hidden, layer, targets, PLAIN, chunk_tokens)
        logits = layer(hidden)
    assert logits.dtype == torch.bfloat16
    expected = logits.float().log_softmax(-1)[torch.arange(5), targets]
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    (gradient,) = torch.autograd.grad(found.sum(), layer.weight)
    assert gradient.dtype == torch.float32
    (exact,) = torch.autograd.grad(_by_autograd(hidden, layer, targets, PLAIN).sum(), layer.weight)
    torch.testing.assert_close(gradient, exact, atol=0.1, rtol=0.02)


def _distance(found, right):
    return float((found.double() - right).norm() / right.norm())


def test_bfloat16_gradients_of_many_chunks_are_as_good_as_those_of_one_product():
    """The sum over chunks is not rounded with every chunk. Autograd rounds the gradients of the whole matrix once."""
    torch.manual_seed(0)
    hidden, layer = torch.randn(2_048, 32), torch.nn.Linear(32, 300)
    hidden, layer = hidden.bfloat16().requires_grad_(), layer.bfloat16()
    targets, inputs = torch.randint(300, (2_048,)), [hidden, *layer.parameters()]
    exact = torch.nn.Linear(32, 300, dtype=torch.float64)
    exact.load_state_dict(layer.state_dict())
    right = torch.autograd.grad(
        _by_autograd(hidden.double(), exact, targets, PLAIN).sum(), [hidden, *exact.parameters()]
    )
    logps = torch.nn.functional.linear(hidden, layer.weight, layer.bias).float().log_softmax(-1)
    whole = torch.autograd.grad(logps[torch.arange(2_048), targets].sum(), inputs)
    chunked = torch.autograd.grad(token_logps(hidden, layer, targets, PLAIN, 16).sum(), inputs)
    for found, once, expected in zip(chunked, whole, right, strict=True):
        assert found.dtype == torch.bfloat16
        assert _distance(found, expected) < 1.5 * max(_distance(once, expected), 2**-9)


def test_a_models_settings_say_what_it_does_to_its_logits():
    assert logit_transform(make_model("gemma2")) == LogitTransform(cap=1.5)
    assert logit_transform(make_model("cohere")) == LogitTransform(scale=0.25)
    assert logit_transform(make_model("granite")) == LogitTransform(scale=pytest.approx(1 / 3))
    assert logit_transform(make_model("llama")) == PLAIN


@pytest.mark.parametrize(
    ("config", "cap"),
    [
        (Gemma3nConfig(), 30.0),
        (Gemma4Config(text_config={"final_logit_softcapping": 7.0}), 7.0),
        (RecurrentGemmaConfig(), 30.0),
        (xLSTMConfig(), 30.0),
    ],
)
def test_a_cap_is_found_under_every_name_and_among_the_settings_of_the_text(config, cap):
    assert logit_transform(SimpleNamespace(config=config)) == LogitTransform(cap=cap)
