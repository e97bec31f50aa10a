import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from packed_lists import CASES, SIZES, lists_of, logps_and_gradient, random_lists
from small_models import make_model
from transformers.integrations import sdpa_attention

from larpo_lib.models import attention
from larpo_lib.models.attention import SDPA_IN_PARTS, Part, long_enough_for_parts, parts_of, use_sdpa_in_parts
from larpo_lib.models.layout import padded_layout
from larpo_lib.models.packing import packed_rows, visible_keys
from larpo_lib.models.scoring import attach_scorer

LIST = ([5] * 3, [[6] * 3, [6] * 2])


def test_parts_of_two_lists_and_padding_by_hand():
    rows = packed_rows([[LIST, ([7], [[8] * 4])], [([7], [[8]])]], 0)
    first, second = parts_of(rows)
    assert first == [
        Part(slice(0, 3), None),
        Part(slice(3, 5), 0),
        Part(slice(5, 6), 0),
        Part(slice(6, 7), None),
        Part(slice(7, 10), 3),
    ]
    assert second == [Part(slice(0, 1), None), Part(slice(1, 10), None)]  # a prompt and padding


@given(lists_of(9), st.integers(1, 3), st.none() | st.integers(1, 12))
@settings(max_examples=60)
def test_parts_see_all_that_the_mask_shows(lists, lists_a_row, window):
    rows = packed_rows([lists[i : i + lists_a_row] for i in range(0, len(lists), lists_a_row)], 0, 4)
    for parts, mask in zip(parts_of(rows), visible_keys(rows, window), strict=True):
        covered = torch.zeros_like(mask)
        for part in parts:
            covered[part.own, part.own] = True
            if part.prompt is not None:
                covered[part.own, parts[part.prompt].own] = True
        assert not (mask & ~covered).any()
        assert [part.own.start for part in parts[1:]] == [part.own.stop for part in parts[:-1]]
        assert (parts[0].own.start, parts[-1].own.stop) == (0, len(mask))


@pytest.mark.parametrize("lists_a_row", [1, 4])
@pytest.mark.parametrize(("family", "changes"), [case for case in CASES if case[0] != "gemma2"])
def test_part_by_part_gives_what_the_dense_mask_gives(family, changes, lists_a_row, monkeypatch):
    lists = random_lists(SIZES)
    rows = packed_rows([lists[i : i + lists_a_row] for i in range(0, len(lists), lists_a_row)], 0)
    in_parts = attach_scorer(make_model(family, **changes), 7)
    assert in_parts.config._attn_implementation == SDPA_IN_PARTS
    monkeypatch.setattr(attention, "_LONG", 0)
    found, gradient = logps_and_gradient(in_parts, rows)
    dense = attach_scorer(make_model(family, **changes), 7)
    dense.set_attn_implementation("sdpa")
    expected, expected_gradient = logps_and_gradient(dense, rows)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(gradient, expected_gradient, atol=1e-5 * float(expected_gradient.abs().max()), rtol=0)


def test_hidden_pairs_are_never_multiplied(monkeypatch):
    """What it is for: the pairs of query and key that attention works on."""
    pairs = []

    def counting(_module, query, key, *rest, **options):
        pairs.append(query.shape[0] * query.shape[2] * key.shape[2])
        return sdpa_attention.sdpa_attention_forward(_module, query, key, *rest, **options)

    monkeypatch.setattr(attention, "sdpa_attention_forward", counting)
    monkeypatch.setattr(attention, "_LONG", 0)
    model = attach_scorer(make_model("llama"), 7)
    pairs.clear()  # of the probe
    model(**packed_rows([[LIST]], 0))
    assert sum(pairs) == model.config.num_hidden_layers * (3 * 3 + 2 * 5 + 1 * 4)
    pairs.clear()
    model(**padded_layout(0)([LIST]))
    assert sum(pairs) == model.config.num_hidden_layers * 2 * 5 * 5


def test_short_rows_go_through_attention_at_once():
    assert not long_enough_for_parts(packed_rows([[LIST]], 0))
    assert long_enough_for_parts(packed_rows([[LIST]], 0, 256))


def test_other_attention_stays_as_it_is():
    model = make_model("gemma2")
    use_sdpa_in_parts(model)
    assert model.config._attn_implementation == "eager"
