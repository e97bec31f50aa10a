import logging

import pytest
import torch
from hypothesis import given
from packed_lists import SIZES, lists_of, random_lists
from small_models import make_model

from larpo_lib.models.layout import (
    PROMPT_SHARING_FAMILIES,
    choose_layout,
    flex_layout,
    packed_layout,
    padded_layout,
    prompt_sharing_ratio,
)

LAYOUTS = [padded_layout(0), packed_layout(0), flex_layout(0)]
LONG_PROMPTS = [([5] * 20, [[6] * 4] * 4)]
SHORT_PROMPTS = [([5], [[6] * 20] * 2)]


def test_costs_by_hand():
    lists = [([5] * 10, [[6] * 3, [6] * 5]), ([5] * 2, [[6] * 9])]
    assert padded_layout(0).cost(lists) == 3 * 14  # rows of 12, 14 and 10 tokens, since last tokens predict nothing
    assert packed_layout(0).cost(lists) == 2 * 16  # rows of 10 + 2 + 4 and 2 + 8 tokens
    assert flex_layout(0).cost(lists) == 128  # a row of 16 + 10 tokens
    assert flex_layout(0).cost([([5] * 128, [[6]])]) == 128
    assert flex_layout(0).cost([([5] * 128, [[6] * 2])]) == 256


@given(lists_of(90))
def test_the_cost_is_the_number_of_tokens_laid_out_and_no_list_lowers_it(lists):
    for layout in LAYOUTS:
        costs = [layout.cost(lists[:count]) for count in range(len(lists) + 1)]
        assert costs == sorted(costs)
        assert costs[0] == 0
        assert costs[-1] == layout(lists)["input_ids"].numel()


@given(lists_of(9))
def test_every_layout_keeps_the_order_of_the_responses(lists):
    separate, *others = [layout(lists) for layout in LAYOUTS]
    for rows in others:
        for name in ("targets", "owners", "num_responses"):
            assert torch.equal(rows[name], separate[name])
        for ids in ("input_ids", "position_ids"):
            assert torch.equal(rows[ids].flatten()[rows["predictors"]], separate[ids].flatten()[separate["predictors"]])


def test_rows_hold_a_response_a_list_or_all():
    lists = random_lists(SIZES)
    assert [len(layout(lists)["input_ids"]) for layout in LAYOUTS] == [10, 4, 1]


def test_the_sharing_ratio_counts_what_rows_hold():
    assert prompt_sharing_ratio(LONG_PROMPTS) == pytest.approx(4 * 23 / (20 + 4 * 3))
    assert prompt_sharing_ratio([([5] * 9, [[6] * 4])]) == 1
    assert prompt_sharing_ratio([([5] * 9, [[6] * 4, [6] * 8])]) == pytest.approx(
        2 * 16 / (9 + 3 + 7)
    )  # 4 of 16 are padding


@pytest.mark.parametrize(
    ("family", "attention", "lists", "chosen", "said"),
    [
        ("llama", "sdpa", LONG_PROMPTS, "packed", []),
        ("gemma2", "eager", LONG_PROMPTS, "packed", []),
        ("llama", "sdpa", SHORT_PROMPTS, "padded", [("INFO", "only 1.03 times as many tokens")]),
        ("llama", "flex_attention", LONG_PROMPTS, "flex", []),
        ("llama", "flex_attention", SHORT_PROMPTS, "flex", []),
        ("granite", "sdpa", LONG_PROMPTS, "padded", [("WARNING", "models of type granite are not tested")]),
        ("granite", "flex_attention", LONG_PROMPTS, "padded", [("WARNING", "models of type granite are not tested")]),
        (
            "llama",
            "flash_attention_2",
            LONG_PROMPTS,
            "padded",
            [("WARNING", "flash_attention_2, does not support the mask")],
        ),
    ],
)
def test_layout_is_chosen_by_what_the_model_can_do_and_what_it_saves(family, attention, lists, chosen, said, caplog):
    model = make_model(family)
    model.config._attn_implementation = attention
    with caplog.at_level(logging.INFO):
        layout = choose_layout(model, lists, 0)
    assert layout.name == chosen
    assert [record.levelname for record in caplog.records] == [level for level, _ in said]
    assert all(text in record.getMessage() for record, (_, text) in zip(caplog.records, said, strict=True))
    assert ("groups" in layout(lists)) == (chosen != "padded")


def test_families_outside_the_tested_ones_do_not_share():
    assert {"granite", "cohere"}.isdisjoint(PROMPT_SHARING_FAMILIES)
