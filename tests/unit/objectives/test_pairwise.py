"""Pairwise objectives against the values of the published fixture."""

from typing import Any

import pytest
import torch
from list_batches import fixture, loss_and_gradient, loss_of

PAIRWISE = ["dpo", "ipo", "slic_hf", "cpo", "r_dpo", "simpo"]


@pytest.mark.parametrize(
    ("name", "settings", "pair", "expected"),
    [
        ("dpo", {"beta": 0.1}, (1, 4), 0.220),
        ("dpo", {"beta": 0.1, "label_smoothing": 0.1}, (1, 4), 0.360),
        ("ipo", {"tau": 0.1}, (1, 4), 81.0),
        ("ipo", {"tau": 0.1, "length_normalized": True}, (1, 4), 16.81),
        ("slic_hf", {"delta": 1.0, "sft_weight": 0.1}, (2, 3), 3.600),
        ("cpo", {"beta": 0.1, "sft_weight": 1.0, "nll": "token"}, (1, 4), 1.127),
        ("cpo", {"beta": 0.1, "sft_weight": 1.0, "nll": "sum"}, (1, 4), 10.127),
        ("r_dpo", {"beta": 0.1, "alpha": 0.05}, (1, 4), 0.341),
        ("r_dpo", {"beta": 0.1, "alpha": 0.01}, (1, 4), 0.241),
        ("simpo", {"beta": 2.0, "gamma": 1.6}, (1, 4), 1.037),
        ("simpo", {"beta": 2.5, "gamma": 0.3}, (1, 4), 0.327),
    ],
)
def test_fixture_values(name: str, settings: dict[str, Any], pair: tuple[int, int], expected: float) -> None:
    assert loss_of(name, fixture(*pair), **settings).item() == pytest.approx(expected, abs=5e-4)


@pytest.mark.parametrize("name", PAIRWISE)
def test_only_the_best_and_the_worst_response_count(name: str) -> None:
    pair, pair_gradient = loss_and_gradient(name, fixture(1, 4))
    loss, gradient = loss_and_gradient(name, fixture(1, 2, 3, 4))
    torch.testing.assert_close(loss, pair)
    torch.testing.assert_close(gradient[:, [0, 3]], pair_gradient)
    assert gradient[:, 1:3].tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("name", PAIRWISE)
def test_a_tie_inside_the_list_does_not_matter_but_one_of_best_and_worst_does(name: str) -> None:
    tied_inside = loss_and_gradient(name, fixture(1, 2, 3, 4, rewards=(1, 0.5, 0.5, 0)))
    torch.testing.assert_close(tied_inside, loss_and_gradient(name, fixture(1, 2, 3, 4)))
    loss, gradient = loss_and_gradient(name, fixture(1, 2, 3, 4, rewards=(1, 1, 1, 1)))
    assert loss.item() == 0
    assert gradient.abs().sum().item() == 0
