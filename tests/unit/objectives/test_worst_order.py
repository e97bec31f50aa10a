"""The order that `rho` weighs is the one of all orders with the highest loss; where it is not, `rho` is refused."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from list_batches import CASES, Response, batch_of, loss_of
from our_objectives import OURS

from larpo_lib.config.load import check
from larpo_lib.errors import ConfigError

SEVERAL: list[dict[str, Any]] = [
    {},
    {"margin": 0.5},
    {"margin": 5.0},
    {"reference_free": True},
    {"length_normalized": True},
]


def _takes_rho(name: str, options: dict[str, Any]) -> bool:
    try:
        check(OURS[name], {**options, "rho": 0.2})
    except ConfigError:
        return False
    return "rho" in OURS[name].optional and "label_smoothing" not in options  # which has weights of its own


WITH_RHO = [
    (name, {**options, **more})
    for name, options in [*CASES, ("approx_ndcg", {"alpha": 25.0}), ("neural_ndcg", {"tau": 0.05})]
    for more in SEVERAL
    if _takes_rho(name, {**options, **more})
]


@st.composite
def lists(draw: st.DrawFn) -> list[Response]:
    """Lists of 2 to 4 responses, best first, with ties, whose log-probabilities may be close together."""
    size, spread = draw(st.integers(2, 4)), draw(st.sampled_from([1, 16, 400]))
    rewards = sorted(draw(st.lists(st.integers(0, 4), min_size=size, max_size=size)), reverse=True)
    logps = st.integers(-spread, 0).map(lambda eighths: eighths / 8)
    return [(draw(logps), draw(logps), draw(st.integers(1, 40)), reward / 4) for reward in rewards]


def orders(listed: list[Response]) -> list[list[Response]]:
    """A list's rewards at its responses in all orders; the given one first."""
    rewards = [reward for *_, reward in listed]
    return [
        [(*each[:3], reward) for each, reward in zip(order, rewards, strict=True)] for order in permutations(listed)
    ]


@pytest.mark.parametrize(("name", "options"), WITH_RHO)
@settings(max_examples=25, deadline=None)
@given(listed=lists())
def test_the_worst_order_has_the_highest_loss_of_all(
    name: str, options: dict[str, Any], listed: list[Response]
) -> None:
    batch = replace(batch_of(orders(listed)), progress=0.5)
    losses = loss_of(name, batch, **options)
    robust = loss_of(name, batch, rho=0.2, **options)[0].item()
    assert robust == pytest.approx(0.8 * losses[0].item() + 0.2 * losses.max().item(), rel=1e-9, abs=1e-9)


def test_few_objectives_are_without_it() -> None:
    assert {name for name, _ in WITH_RHO} == {
        *("listmle", "contrastive", "lambdarank", "lambdaloss", "dpo", "ipo"),
        *("target", "nca", "gvpo", "approx_ndcg", "neural_ndcg"),
    }


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("r_dpo", {}, "rho means nothing for r_dpo: alpha adds the lengths to the scores"),
    ("lipo_lambda", {}, "rho means nothing for lipo_lambda: its weights depend on the ranks by score"),
    ("lambdaloss", {}, "only with weights = label_diff; change weights, or remove rho"),
    ("lambdaloss", {"weights": "label_diff", "top": 2}, "only without top; change top, or remove rho"),
    *((name, {"clip_reference": True}, "only without clip_reference") for name in ("dpo", "lambdarank")),
    *(
        (name, {"margin": 0.5}, "only without margin; change margin, or remove rho")
        for name in ("approx_ndcg", "neural_ndcg")
    ),
]


@pytest.mark.parametrize(("name", "options", "told"), REFUSED)
def test_where_another_order_may_be_worse_it_is_refused(name: str, options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        check(OURS[name], {**options, "rho": 0.1})
    check(OURS[name], options)
    if "rho" in OURS[name].optional:
        check(OURS[name], {**options, "rho": 0.0})


def test_lengths_change_which_order_is_the_worst_of_r_dpo() -> None:
    """The least likely response first, of 300 tokens, and the likeliest last, of 10: -.1 * 14 + .05 * 290 = 13.1."""
    listed = [(-10.0, -14.0, 10, 1.0), (-16.0, -17.0, 200, 0.7), (-15.0, -13.0, 5, 0.4), (-30.0, -20.0, 300, 0.0)]
    rising = orders(listed)[-1]
    assert [response[2] for response in rising] == [300, 5, 200, 10]
    losses = loss_of("r_dpo", batch_of(orders(listed)))
    assert losses[-1].item() == pytest.approx(math.log1p(math.exp(-13.1)))
    assert losses.max().item() == pytest.approx(math.log1p(math.exp(0.1 * 8 + 0.05 * 295 - 0.1 * 16)))


def test_weights_by_rank_change_which_order_is_the_worst_of_lipo_lambda() -> None:
    """By hand for one good response: ln 2 times the differences of 1 / ln(1 + rank) to the three others."""
    listed: list[Response] = [(-i * 1e-6, 0.0, 5, float(i == 0)) for i in range(4)]
    shares = [1 / math.log(1 + rank) for rank in range(1, 5)]
    for order, rank in ((listed, 0), (orders(listed)[-1], 3)):
        expected = math.log(2) * sum(abs(share - shares[rank]) for share in shares)
        assert loss_of("lipo_lambda", batch_of([order])).item() == pytest.approx(expected, abs=1e-6)
    assert sum(shares[0] - share for share in shares) > sum(share - shares[3] for share in shares)
