import copy
import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from packed_lists import CASES, LONG, MANY, SIZES, WINDOWED, lists_of, logps_and_gradient, random_lists, rms
from small_models import FAMILIES, make_model

from larpo_lib.models import attention
from larpo_lib.models.layout import padded_layout
from larpo_lib.models.packing import PADDING, PROMPT, attention_masks, packed_rows, packed_tokens, visible_keys
from larpo_lib.models.scoring import attach_scorer


def _rows(lists, lists_a_row):
    return [lists[start : start + lists_a_row] for start in range(0, len(lists), lists_a_row)]


@pytest.fixture(params=["in parts", "at once"])
def _attending(request, monkeypatch):
    """sdpa goes through rows of any length part by part, or through none."""
    monkeypatch.setattr(attention, "_LONG", 0 if request.param == "in parts" else 10**6)


@pytest.mark.usefixtures("_attending")
@pytest.mark.parametrize("lists_a_row", [1, 2, 4])
@pytest.mark.parametrize(("family", "changes"), CASES)
def test_shared_prompts_give_the_log_probabilities_and_gradients_of_separate_rows(family, changes, lists_a_row):
    model = attach_scorer(make_model(family, **changes), 7)
    lists = random_lists(LONG if changes else SIZES)
    separate, gradient = logps_and_gradient(model, padded_layout(0)(lists))
    shared, shared_gradient = logps_and_gradient(model, packed_rows(_rows(lists, lists_a_row), 0))
    torch.testing.assert_close(shared, separate, atol=1e-5, rtol=1e-5)
    scale = gradient.abs().max()
    torch.testing.assert_close(shared_gradient / scale, gradient / scale, atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", WINDOWED)
def test_windows_cut_these_lists(family):
    """The guard of the test above: it would pass on windows that leave everything in sight."""
    lists = random_lists(LONG)
    windowed = attach_scorer(make_model(family, **WINDOWED[family]), 100)(**padded_layout(0)(lists))
    unlimited = attach_scorer(make_model(family, **WINDOWED[family] | {"sliding_window": 1000}), 100)(
        **padded_layout(0)(lists)
    )
    assert (windowed - unlimited).abs().min() > 1e-3


@pytest.mark.parametrize("lists_a_row", [1, 4])
@pytest.mark.parametrize(("family", "changes"), CASES)
def test_in_bfloat16_shared_prompts_err_no_more_than_separate_rows(family, changes, lists_a_row):
    """Both layouts round at the same places, so that errors of the same size are to be expected, if not the same ones.

    What is added up in another order makes up to 6 % of difference between them over these 64 responses.
    """
    model = attach_scorer(make_model(family, **changes), 64)
    lists = random_lists(MANY)
    exact, gradient = logps_and_gradient(model, padded_layout(0)(lists))
    separate, separate_gradient = logps_and_gradient(model, padded_layout(0)(lists), bf16=True)
    shared, shared_gradient = logps_and_gradient(model, packed_rows(_rows(lists, lists_a_row), 0), bf16=True)
    assert rms(separate - exact) > 1e-3  # it did round
    assert rms(shared - exact) < 1.15 * rms(separate - exact)
    assert rms(shared_gradient - gradient) < 1.15 * rms(separate_gradient - gradient)


def test_a_response_never_sees_another():
    model = attach_scorer(make_model("llama"), 64)
    lists = random_lists(SIZES)
    before = model(**packed_rows([lists], 0))
    changed = copy.deepcopy(lists)
    changed[0][1][0] = [3 for _ in changed[0][1][0]]
    after = model(**packed_rows([changed], 0))
    torch.testing.assert_close(after[1:], before[1:], atol=1e-6, rtol=0)
    assert abs(after[0] - before[0]) > 1e-3


def test_mask_of_a_small_list_by_hand():
    rows = packed_rows([[([11, 12], [[13, 14], [15, 16, 17]])]], 0)
    assert rows["input_ids"].tolist() == [[11, 12, 13, 15, 16]]  # last tokens predict nothing
    assert rows["position_ids"].tolist() == [[0, 1, 2, 2, 3]]
    assert rows["predictors"].tolist() == [1, 2, 1, 3, 4]
    assert rows["targets"].tolist() == [13, 14, 15, 16, 17]
    assert rows["owners"].tolist() == [0, 0, 1, 1, 1]
    seen = [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 0, 1, 0], [1, 1, 0, 1, 1]]
    assert visible_keys(rows)[0].int().tolist() == seen
    near = [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [0, 1, 1, 0, 0], [0, 1, 0, 1, 0], [0, 0, 0, 1, 1]]
    assert visible_keys(rows, window=2)[0].int().tolist() == near


def _sequences(lists):
    """The places of each prompt with one of its responses: what would be a row of its own."""
    places = itertools.count()
    for prompt, responses in lists:
        shared = [next(places) for _ in prompt]
        for response in responses:
            yield shared + [next(places) for _ in response[:-1]]


@given(lists_of(9), st.integers(1, 3), st.sampled_from([1, 16]), st.none() | st.integers(1, 12))
@settings(max_examples=60)
def test_a_token_sees_what_it_would_see_in_a_row_of_its_own(lists, lists_a_row, multiple_of, window):
    grouped = _rows(lists, lists_a_row)
    rows = packed_rows(grouped, 0, multiple_of)
    for row, seen, padding in zip(grouped, visible_keys(rows, window), rows["groups"] == PADDING, strict=True):
        expected = torch.zeros_like(seen)
        for places in _sequences(row):
            for i, query in enumerate(places):
                expected[query, places[: i + 1][-(window or len(places)) :]] = True
        assert padding.sum() == len(padding) - sum(packed_tokens(item) for item in row)
        assert torch.equal(seen[~padding], expected[~padding])
        assert not seen[padding][:, ~padding].any()
        assert seen[padding].any(-1).all()  # not even padding has an empty softmax


@given(lists_of(6), st.integers(1, 3), st.sampled_from([1, 16]))
@settings(max_examples=60)
def test_every_response_is_laid_out_once_in_its_row(lists, lists_a_row, multiple_of):
    grouped = _rows(lists, lists_a_row)
    rows = packed_rows(grouped, 0, multiple_of)
    flat = [response for _, found in lists for response in found]
    assert rows["targets"].tolist() == [token for response in flat for token in response]
    assert rows["owners"].bincount(minlength=len(flat)).tolist() == [len(response) for response in flat]
    assert rows["num_responses"] == len(flat)
    used = (rows["segments"] >= PROMPT).sum(-1)
    assert used.tolist() == [sum(packed_tokens(item) for item in row) for row in grouped]
    length = rows["input_ids"].shape[1]
    assert length % multiple_of == 0
    assert 0 <= length - used.max() < multiple_of


@pytest.mark.parametrize("family", FAMILIES)
def test_a_response_of_no_tokens_scores_zero_beside_others(family):
    model = attach_scorer(make_model(family), 100)
    with_empty = model(**packed_rows([[([5, 6], [[7, 8], [], [9]]), ([4], [[3]])]], 0))
    assert with_empty[1] == 0
    without = model(**packed_rows([[([5, 6], [[7, 8], [9]]), ([4], [[3]])]], 0))
    torch.testing.assert_close(with_empty[[0, 2, 3]], without)


def test_dense_masks_are_floats_so_that_eager_attention_can_add_them():
    model = make_model("gemma2")
    rows = packed_rows([random_lists(SIZES)], 0)
    masks = attention_masks(model.config, rows, torch.float32)
    assert masks.keys() == {"full_attention", "sliding_attention"}
    for name, window in (("full_attention", None), ("sliding_attention", model.config.sliding_window)):
        assert masks[name].dtype == torch.float32
        assert torch.equal(masks[name][:, 0] == 0, visible_keys(rows, window))
