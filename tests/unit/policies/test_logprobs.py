from __future__ import annotations

import torch
from small_models import make_model

from larpo_lib.policies.logprobs import logit_transform, token_logps


def test_no_more_logits_exist_at_a_time_than_a_chunk_has():
    widths = []

    class Watched(torch.nn.Linear):
        def forward(self, states):
            widths.append(len(states))
            return super().forward(states)

    layer = Watched(8, 30)
    hidden = torch.randn(10, 8, requires_grad=True)
    token_logps(hidden, layer, torch.arange(10), lambda logits: logits, 4).sum().backward()
    assert widths == [4, 4, 2, 2, 4, 4]  # forward, then again from the end for the backward pass


def test_no_tokens_give_no_values_in_float32():
    layer = torch.nn.Linear(8, 3, dtype=torch.bfloat16)
    logps = token_logps(torch.zeros(0, 8, dtype=torch.bfloat16), layer, torch.arange(0), _same, 4)
    assert logps.shape == (0,)
    assert logps.dtype == torch.float32


def test_low_precision_logits_are_normalised_in_float32():
    layer = torch.nn.Linear(8, 30, dtype=torch.bfloat16)
    hidden = torch.randn(5, 8, dtype=torch.bfloat16)
    targets = torch.arange(5)
    logps = token_logps(hidden, layer, targets, _same, 2)
    expected = layer(hidden).double().log_softmax(-1)[torch.arange(5), targets]
    assert logps.dtype == torch.float32
    torch.testing.assert_close(logps.double(), expected, atol=1e-6, rtol=0)


def test_soft_capping_keeps_logits_within_the_cap():
    transform = logit_transform(make_model("gemma2"))
    capped = transform(torch.tensor([-1000.0, 0.0, 0.01, 1000.0]))
    torch.testing.assert_close(capped, torch.tensor([-1.5, 0.0, 0.01, 1.5]), atol=1e-5, rtol=0)


def _same(logits):
    return logits
