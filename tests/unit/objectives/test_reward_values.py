"""The scales of rewards, against values by hand and scipy, and the losses that read them."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from list_batches import Response, batch_of, fixture, loss_and_gradient, loss_of, ranked_lists
from our_objectives import OURS
from scipy import stats

from larpo_lib.config import ObjectiveConfig
from larpo_lib.config.load import check
from larpo_lib.errors import ConfigError, LarpoError
from larpo_lib.objectives.reward_values import Scale, reward_values
from larpo_lib.testing.lists import with_garbage

SPREAD = math.sqrt(8.1875)
BY_HAND: dict[Scale, tuple[float, ...]] = {
    "raw": (9, 6, 5, 1),
    "minmax": (1, 5 / 8, 4 / 8, 0),
    "zscore": (3.75 / SPREAD, 0.75 / SPREAD, -0.25 / SPREAD, -4.25 / SPREAD),
    "rank": (1, 2 / 3, 1 / 3, 0),
    "win_rate": (1, 2 / 3, 1 / 3, 0),
}
"""Of 9, 6, 5, 1, whose mean is 5.25 and whose variance 32.75 / 4."""

READ_VALUES = [name for name, made in OURS.items() if "rewards" in made.model_fields and "rewards" not in made.optional]
GAINS = [name for name in READ_VALUES if OURS[name].exponential_gains]
SCALED: list[tuple[str, Scale]] = [
    (name, scale)
    for name in READ_VALUES
    for scale in ("minmax", "zscore", "rank")
    if not (scale == "zscore" and name in GAINS)
]


@pytest.mark.parametrize("scale", BY_HAND)
def test_scales_by_hand_beside_a_short_list(scale: Scale) -> None:
    batch = batch_of([[(-1.0, -1.0, 1, float(r)) for r in rewards] for rewards in ((9, 6, 5, 1), (7,))])
    found = reward_values(with_garbage(batch, torch.nan), scale)
    assert found.dtype == torch.float64
    assert found[0].tolist() == pytest.approx(BY_HAND[scale], abs=1e-12)
    assert found[1].tolist() == [7.0 if scale == "raw" else 0.0, 0, 0, 0]


def test_z_scores_of_the_fixture() -> None:
    found = reward_values(fixture(1, 2, 3, 4), "zscore")[0].tolist()
    assert found == pytest.approx((1.283901, 0.473016, -0.337869, -1.419048), abs=6e-7)


@settings(max_examples=50, deadline=None)
@given(ranked_lists(min_size=2))
def test_scales_with_ties_are_scipys(responses: list[Response]) -> None:
    rewards = [reward for *_, reward in responses]
    batch = batch_of([responses])
    places = (stats.rankdata(rewards, "average") - 1) / (len(rewards) - 1)
    assert reward_values(batch, "rank")[0].tolist() == pytest.approx(places, abs=1e-12)
    if len(set(rewards)) > 1:
        assert reward_values(batch, "zscore")[0].tolist() == pytest.approx(stats.zscore(rewards), abs=1e-9)


@pytest.mark.parametrize(("scale", "value"), [("raw", 0.1), ("minmax", 0.0), ("zscore", 0.0), ("rank", 0.5)])
def test_equal_rewards_stay_equal(scale: Scale, value: float) -> None:
    found = reward_values(fixture(1, 2, 3, rewards=(0.1,) * 3), scale)[0].tolist()
    assert found == [found[0]] * 3
    assert found[0] == pytest.approx(value, abs=1e-15)


def test_those_that_read_values_are_known() -> None:
    assert sorted(READ_VALUES) == sorted([*GAINS, "target", "nca", "gvpo", "group_contrast"])
    assert sorted(GAINS) == ["approx_ndcg", "lambdaloss", "lipo_lambda", "neural_ndcg"]


@pytest.mark.parametrize(("name", "scale"), SCALED)
def test_a_loss_on_a_scale_is_the_loss_of_rewards_scaled_by_hand(name: str, scale: Scale) -> None:
    by_hand = loss_and_gradient(name, fixture(1, 2, 3, 4, rewards=BY_HAND[scale]))
    torch.testing.assert_close(
        loss_and_gradient(name, fixture(1, 2, 3, 4, rewards=(9, 6, 5, 1)), rewards=scale), by_hand
    )


@pytest.mark.parametrize(("name", "scale"), SCALED)
def test_ten_times_the_rewards_change_nothing_on_a_scale(name: str, scale: Scale) -> None:
    low, high = (fixture(1, 2, 3, 4, rewards=rewards) for rewards in ((9, 6, 5, 1), (90, 60, 50, 10)))
    expected = loss_and_gradient(name, low, rewards=scale)
    torch.testing.assert_close(loss_and_gradient(name, high, rewards=scale), expected)
    assert expected[1].abs().max().item() > 1e-3


@pytest.mark.parametrize("name", READ_VALUES)
def test_raw_rewards_have_a_scale(name: str) -> None:
    low, high = (fixture(1, 2, 3, 4, rewards=rewards) for rewards in ((0.5, 0.35, 0.2, 0), (1, 0.7, 0.4, 0)))
    # Normalised gains of ndcg have one, if a small one: 2^psi is nearly linear.
    assert (loss_and_gradient(name, low)[1] - loss_and_gradient(name, high)[1]).abs().max().item() > 1e-5


@pytest.mark.parametrize("name", GAINS)
def test_a_loss_of_gains_refuses_raw_rewards_beyond_0_to_1(name: str) -> None:
    fits = [(-1.0, -2.0, 3, 1.0), (-2.0, -2.0, 3, 0.0)]
    for beyond in ((12.0, 0.5), (0.5, -0.25)):
        batch = batch_of([fits, [(-1.0, -2.0, 3, reward) for reward in beyond]])
        told = f"list 1 of a batch has a response with the reward {12 if beyond[0] > 1 else -0.25:g}, .* minmax or rank"
        with pytest.raises(LarpoError, match=told):
            loss_of(name, batch)
        assert loss_of(name, batch, rewards="minmax").isfinite().all()
    padded = with_garbage(batch_of([fits, fits[:1]]), 1e30)
    assert loss_of(name, padded).isfinite().all()


@pytest.mark.parametrize("scale", ["minmax", "rank"])
def test_no_list_owns_the_batch_by_the_scale_of_its_rewards(scale: Scale) -> None:
    """Raw, weights of the list with a reward of 12 would be about 2^12 = 4096 times those of the other."""
    large, small = (
        loss_and_gradient("lipo_lambda", fixture(1, 2, 3, 4, rewards=rewards), rewards=scale)[1].abs().sum().item()
        for rewards in ((12, 6, 5, 1), (1, 0.7, 0.4, 0))
    )
    assert 0.5 < large / small < 2


@pytest.mark.parametrize("name", [name for name in OURS if name not in READ_VALUES])
def test_others_use_only_the_order_and_refuse_a_scale(name: str) -> None:
    batch = fixture(1, 2, 3, 4, rewards=(1, 0.7, 0.7, 0))
    others = replace(batch, rewards=torch.tensor([[90.0, 7.0, 7.0, -1e4]], dtype=torch.float64))
    assert loss_and_gradient(name, batch)[1].equal(loss_and_gradient(name, others)[1])
    with pytest.raises(ConfigError, match=f"{name} uses only the order of the rewards, which no scale changes"):
        check(OURS[name], {"rewards": "minmax"})


@pytest.mark.parametrize("name", GAINS)
def test_a_loss_of_gains_refuses_z_scores(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} uses 2\\^reward .* z-scores are around 0; set rewards to minmax or"):
        check(OURS[name], {"rewards": "zscore"})


@pytest.mark.parametrize(("name", "before"), [("gvpo", {"beta": 0.1}), ("group_contrast", {"beta": 0.1, "alpha": 1.0})])
def test_what_was_trained_before_there_were_scales_is_found_again(name: str, before: dict[str, Any]) -> None:
    made: type[ObjectiveConfig] = OURS[name]
    assert made().identity() == {"type": name, **before}
    assert made(rewards="rank").identity() == {"type": name, **before, "rewards": "rank"}
