from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import FAMILIES, VOCABULARY, make_model

from larpo_lib.policies.layout import SHARING_FAMILIES, choose, packed, padded, sharing_ratio
from larpo_lib.policies.packing import PROMPT, packed_rows, packed_tokens, visible
from larpo_lib.policies.scoring import attach_scorer

SIZES = ((9, (6, 1, 8)), (1, (3,)), (7, (5, 5, 2, 11)), (4, (1, 1)))
"""Length of each list's prompt, and of its responses; long enough for the families' sliding windows to cut."""


def _lists(seed=1):
    generator = torch.Generator().manual_seed(seed)

    def draw(length):
        return torch.randint(3, VOCABULARY, (length,), generator=generator).tolist()

    return [(draw(prompt), [draw(length) for length in lengths]) for prompt, lengths in SIZES]


def _logps_and_gradient(model, rows):
    model.zero_grad()
    logps = model(**rows)
    (logps * torch.linspace(-1.0, 2.0, len(logps))).sum().backward()
    return logps.detach(), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("row_tokens", [0, 40, 1000])
@pytest.mark.parametrize("family", FAMILIES)
def test_shared_prompts_give_the_log_probabilities_and_gradients_of_separate_rows(family, row_tokens):
    model = attach_scorer(make_model(family), 7)
    separate, gradient = _logps_and_gradient(model, padded(0)(_lists()))
    shared, shared_gradient = _logps_and_gradient(model, packed_rows(_lists(), row_tokens, 0))
    torch.testing.assert_close(shared, separate, atol=1e-5, rtol=1e-5)
    scale = gradient.abs().max()
    torch.testing.assert_close(shared_gradient / scale, gradient / scale, atol=1e-5, rtol=0)


def test_a_response_never_sees_another():
    model = attach_scorer(make_model("llama"), 64)
    lists = _lists()
    before = model(**packed_rows(lists, 1000, 0))
    changed = copy.deepcopy(lists)
    changed[0][1][0] = [3 for _ in changed[0][1][0]]
    after = model(**packed_rows(changed, 1000, 0))
    torch.testing.assert_close(after[1:], before[1:], atol=1e-6, rtol=0)
    assert abs(after[0] - before[0]) > 1e-3


def test_mask_of_a_small_list_by_hand():
    rows = packed_rows([([11, 12], [[13, 14], [15, 16, 17]])], 0, 0)
    assert rows["input_ids"].tolist() == [[11, 12, 13, 15, 16]]  # last tokens predict nothing
    assert rows["position_ids"].tolist() == [[0, 1, 2, 2, 3]]
    assert rows["predictors"].tolist() == [1, 2, 1, 3, 4]
    assert rows["targets"].tolist() == [13, 14, 15, 16, 17]
    assert rows["owners"].tolist() == [0, 0, 1, 1, 1]
    seen = [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 0, 1, 0], [1, 1, 0, 1, 1]]
    assert visible(rows)[0].int().tolist() == seen
    near = [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [0, 1, 1, 0, 0], [0, 1, 0, 1, 0], [0, 0, 0, 1, 1]]
    assert visible(rows, window=2)[0].int().tolist() == near


tokens = st.integers(3, VOCABULARY - 1)
responses = st.lists(st.lists(tokens, min_size=1, max_size=6), min_size=1, max_size=4)
list_of_lists = st.lists(st.tuples(st.lists(tokens, min_size=1, max_size=6), responses), min_size=1, max_size=5)


@given(list_of_lists, st.integers(0, 60))
@settings(max_examples=60)
def test_every_response_is_laid_out_once_and_no_row_overflows(lists, row_tokens):
    rows = packed_rows(lists, row_tokens, 0)
    flat = [response for _, found in lists for response in found]
    assert rows["targets"].tolist() == [token for response in flat for token in response]
    assert rows["owners"].bincount(minlength=len(flat)).tolist() == [len(response) for response in flat]
    used = (rows["segments"] >= PROMPT).sum(-1)
    assert used.sum() == sum(packed_tokens(item) for item in lists)
    longest = max(packed_tokens(item) for item in lists)
    assert used.max() <= max(row_tokens, longest)
    assert visible(rows).any(-1).all()  # not even padding has an empty softmax


def test_layout_is_chosen_by_what_it_saves_and_what_the_model_can_do():
    long_prompts = [([5] * 20, [[6] * 4] * 4)]
    short_prompts = [([5], [[6] * 20] * 2)]
    assert sharing_ratio(long_prompts) == pytest.approx(4 * 24 / (20 + 4 * 3))
    llama = make_model("llama")
    assert "groups" in choose(llama, long_prompts, 0)(long_prompts)
    assert "groups" not in choose(llama, short_prompts, 0)(short_prompts)
    assert "granite" not in SHARING_FAMILIES
    assert "groups" not in choose(make_model("granite"), long_prompts, 0)(long_prompts)
    llama.config._attn_implementation = "flash_attention_2"
    assert "groups" not in choose(llama, long_prompts, 0)(long_prompts)


def test_one_list_a_row():
    assert packed(0)(_lists())["input_ids"].shape[0] == len(SIZES)
