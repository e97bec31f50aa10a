"""List-wise objectives against the published fixture, plain-Python formulas and the Plackett-Luce model."""

import math
from dataclasses import replace
from functools import partial
from itertools import permutations
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from list_batches import REWARDS, Response, batch_of, distinct_lists, fixture, loss_and_gradient, loss_of, ranked_lists
from our_objectives import OURS

BETA = 0.1


@pytest.mark.parametrize(
    ("name", "options", "responses", "expected"),
    [
        ("contrastive", {}, (1, 2, 3, 4), 0.931),
        ("contrastive", {}, (1, 3, 4), 0.585),
        ("lambdarank", {}, (1, 2, 3, 4), 2.425),
        ("lambdarank", {"reduction": "mean"}, (1, 2, 3, 4), 2.425 / 6),
        ("lambdarank", {"top": 2}, (1, 2, 3, 4), 1.500),
        ("lambdarank", {"top": 2, "reduction": "mean"}, (1, 2, 3, 4), 1.500 / 4),
        ("listmle", {}, (1, 2, 3, 4), 2.031),
        ("listmle", {"reduction": "mean"}, (1, 2, 3, 4), 2.031 / 3),
        ("lipo_lambda", {}, (1, 2, 3, 4), 0.602),
        ("lipo_lambda", {"reduction": "mean"}, (1, 2, 3, 4), 0.602 / 6),
        ("rrhf", {"sft_weight": 0.0}, (1, 2, 3, 4), 2.000),
        ("rrhf", {"sft_weight": 1.0}, (1, 2, 3, 4), 12.000),
        ("rrhf", {"sft_weight": 0.1}, (2, 4), 2.100),
    ],
)
def test_fixture_values(name: str, options: dict[str, Any], responses: tuple[int, ...], expected: float) -> None:
    assert loss_of(name, fixture(*responses), **options).item() == pytest.approx(expected, abs=5e-4)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("contrastive", (-0.606, 0.292, 0.216, 0.097)),
        ("lambdarank", (-0.978, -0.250, 0.470, 0.758)),
        ("listmle", (-0.606, -0.226, 0.264, 0.568)),
    ],
)
def test_fixture_gradients(name: str, expected: tuple[float, ...]) -> None:
    _, gradient = loss_and_gradient(name, fixture(1, 2, 3, 4), beta=BETA)
    assert (gradient[0] / BETA).tolist() == pytest.approx(expected, abs=5.5e-4)


def _softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def _scores(responses: list[Response]) -> list[tuple[float, float]]:
    return [(BETA * (a - b), reward) for a, b, _, reward in responses]


def _selection_terms(responses: list[Response]) -> list[float | None]:
    """-log of the share of each response among itself and the worse ones; None where there is no worse one."""
    scores = _scores(responses)
    terms: list[float | None] = []
    for g, reward in scores:
        worse = [other for other, other_reward in scores if other_reward < reward]
        terms.append(math.log(1 + sum(math.exp(other - g) for other in worse)) if worse else None)
    return terms


def _pairs(responses: list[Response]) -> list[tuple[int, int]]:
    rewards = [response[3] for response in responses]
    return [(i, j) for i, better in enumerate(rewards) for j, worse in enumerate(rewards) if better > worse]


@settings(max_examples=60, deadline=None)
@given(ranked_lists())
def test_contrastive_and_listmle_are_the_plain_formula_with_ties(responses: list[Response]) -> None:
    batch = batch_of([responses])
    terms = _selection_terms(responses)
    counted = [term for term in terms if term is not None]
    assert loss_of("contrastive", batch, beta=BETA).item() == pytest.approx(terms[0] or 0.0, abs=1e-12)
    total = loss_of("listmle", batch, beta=BETA).item()
    assert total == pytest.approx(sum(counted), abs=1e-12)
    mean = loss_of("listmle", batch, beta=BETA, reduction="mean").item()
    assert mean == pytest.approx(sum(counted) / max(len(counted), 1), abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(ranked_lists())
def test_lambdarank_is_the_plain_formula_with_ties(responses: list[Response]) -> None:
    batch = batch_of([responses])
    scores = _scores(responses)
    pairs = {(i, j): _softplus(scores[j][0] - scores[i][0]) for i, j in _pairs(responses)}
    loss = partial(loss_of, "lambdarank")
    assert loss(batch, beta=BETA).item() == pytest.approx(sum(pairs.values()), abs=1e-11)
    for top in (1, 2, 3):
        across = [term for (i, j), term in pairs.items() if i < top <= j]
        assert loss(batch, beta=BETA, top=top).item() == pytest.approx(sum(across), abs=1e-11)
        mean = loss(batch, beta=BETA, top=top, reduction="mean").item()
        assert mean == pytest.approx(sum(across) / max(len(across), 1), abs=1e-11)


@settings(max_examples=60, deadline=None)
@given(ranked_lists())
def test_lipo_lambda_is_the_plain_formula_with_ties(responses: list[Response]) -> None:
    scores = _scores(responses)
    order = sorted(scores, key=lambda pair: (-pair[0], -pair[1]))
    rank = [1 + order.index(pair) for pair in scores]
    expected = sum(
        (2 ** scores[i][1] - 2 ** scores[j][1])
        * abs(1 / math.log(1 + rank[i]) - 1 / math.log(1 + rank[j]))
        * _softplus(scores[j][0] - scores[i][0])
        for i, j in _pairs(responses)
    )
    loss = loss_of("lipo_lambda", batch_of([responses]), beta=BETA)
    assert loss.item() == pytest.approx(expected, abs=1e-10)


RAW, WIN_RATES, MINMAX = (3.0, -1.0, -2.0, -6.0), (1.0, 2 / 3, 1 / 3, 0.0), (1.0, 5 / 9, 4 / 9, 0.0)


@pytest.mark.parametrize(("rewards", "psi"), [("minmax", MINMAX), ("rank", WIN_RATES), ("win_rate", WIN_RATES)])
def test_lipo_lambda_weighs_by_places_between_0_and_1(rewards: str, psi: tuple[float, ...]) -> None:
    """Scores of reward models have no bounds; by hand, 3, -1, -2, -6 lie at 1, 5/9, 4/9, 0, and beat 3, 2, 1, 0."""
    batch = fixture(1, 2, 3, 4)
    raw, by_hand = (replace(batch, rewards=torch.tensor([values], dtype=torch.float64)) for values in (RAW, psi))
    loss = partial(loss_of, "lipo_lambda")
    torch.testing.assert_close(loss(raw, rewards=rewards), loss(by_hand))


def test_lipo_lambdas_win_rates_count_equal_rewards_half() -> None:
    """Of 5, 5, 1 the first two beat one of two others and are even with one: 3/4; padding is no response."""
    responses = [(-4.0, -2.0, 1, 5.0), (-3.0, -2.0, 1, 5.0), (-2.0, -2.0, 1, 1.0)]
    by_hand = [(a, b, n, psi) for (a, b, n, _), psi in zip(responses, (0.75, 0.75, 0.0), strict=True)]
    batch = batch_of([responses, [(0.0, 0.0, 1, 0.0)] * 5])
    loss = partial(loss_of, "lipo_lambda")
    torch.testing.assert_close(loss(batch, rewards="win_rate")[:1], loss(batch_of([by_hand])))


def test_lipo_lambda_can_leave_the_reference() -> None:
    """All g are equal before the first step; the weights must not vanish there."""
    batch = fixture(1, 2, 3, 4)
    _, gradient = loss_and_gradient("lipo_lambda", replace(batch, reference_logps=batch.policy_logps))
    assert gradient[0, 0].item() < 0 < gradient[0, 3].item()


def test_lipo_lambda_passes_no_gradient_through_its_weights() -> None:
    """With two responses the weight is a constant, |2 - 1| * |1 / ln 2 - 1 / ln 3|, and the rest is DPO."""
    weight = 1 / math.log(2) - 1 / math.log(3)
    dpo_loss, dpo_gradient = loss_and_gradient("dpo", fixture(1, 4))
    loss, gradient = loss_and_gradient("lipo_lambda", fixture(1, 4))
    torch.testing.assert_close(loss, weight * dpo_loss)
    torch.testing.assert_close(gradient, weight * dpo_gradient)


@settings(max_examples=15, deadline=None)
@given(distinct_lists(min_size=2, max_size=4))
def test_exp_of_minus_the_loss_is_a_probability(responses: list[Response]) -> None:
    """ListMLE over the orders of a list, and contrastive over the choice of its best, sum to one (Plackett-Luce)."""
    orders = [
        [(a, b, n, reward) for (a, b, n, _), reward in zip(order, REWARDS, strict=False)]
        for order in permutations(responses)
    ]
    probabilities = torch.exp(-loss_of("listmle", batch_of(orders), beta=BETA))
    assert probabilities.sum().item() == pytest.approx(1)
    chosen_best = torch.exp(-loss_of("contrastive", batch_of(orders), beta=BETA))
    assert chosen_best.sum().item() == pytest.approx(math.factorial(len(responses) - 1))


@pytest.mark.parametrize(
    ("name", "options", "loss", "gradient"),
    [
        ("listmle", {"top": 1}, 0.930677, (-0.605713, 0.292095, 0.216389, 0.097230)),
        ("listmle", {"top": 2}, 1.660007, (-0.605713, -0.225673, 0.573636, 0.257751)),
        ("listmle", {"top": 3}, 2.031107, None),
        ("listmle", {"top": 9}, 2.031107, None),
        ("listmle", {"top": 2, "reduction": "mean"}, 1.660007 / 2, None),
        ("robust_listmle", {"rho": 0.0}, 2.031107, None),
        ("robust_listmle", {"rho": 0.05}, 2.160223, None),
        ("robust_listmle", {"rho": 0.1}, 2.289339, (-0.404594, -0.198985, 0.182857, 0.420722)),
    ],
)
def test_top_and_robust_listmle_on_the_fixture(
    name: str, options: dict[str, Any], loss: float, gradient: tuple[float, ...] | None
) -> None:
    found, slopes = loss_and_gradient(name, fixture(1, 2, 3, 4), **options)
    assert found.item() == pytest.approx(loss, abs=6e-7)
    if gradient is not None:
        assert (slopes[0] / BETA).tolist() == pytest.approx(gradient, abs=6e-7)


def _tops(steps: int, size: int, **options: Any) -> list[int]:
    """How many responses of a list are picked in each step of a training, by the losses of every number."""
    batch = batch_of([[(-float(i), 0.0, 5, -float(i)) for i in range(size)], [(0.0, 0.0, 1, 0.0)] * (size + 3)])
    by_top = {round(loss_of("listmle", batch, top=top)[0].item(), 9): top for top in range(1, size)}
    at = [replace(batch, progress=step / steps) for step in range(steps)]
    return [by_top[round(loss_of("listmle", each, **options)[0].item(), 9)] for each in at]


def test_top_is_scheduled_over_a_training_in_equal_parts() -> None:
    assert _tops(6, 4, top=1, top_at_end="all") == [1, 1, 2, 2, 3, 3]
    assert _tops(6, 4, top_at_end=1) == [3, 3, 2, 2, 1, 1]
    assert _tops(4, 9, top=2, top_at_end=5) == [2, 3, 4, 5]
    assert _tops(2, 9, top=5, top_at_end=2) == [5, 3]
    assert _tops(8, 3, top=1, top_at_end=4) == [1, 1, 2, 2, 2, 2, 2, 2]  # no more than the list has
    assert _tops(3, 5, top=2, top_at_end=2) == [2, 2, 2]
    assert _tops(1, 4, top=1, top_at_end="all") == [1]


def test_a_schedule_at_the_end_and_without_a_training() -> None:
    """Held-out lists are measured when all steps are done."""
    batch = replace(fixture(1, 2, 3, 4), progress=1.0)
    assert loss_of("listmle", batch, top=1, top_at_end=2).item() == pytest.approx(1.660007, abs=6e-7)
    with pytest.raises(AssertionError, match="needs to know how far the training is"):
        loss_of("listmle", replace(batch, progress=None), top=1, top_at_end=2)
    assert OURS["listmle"]().identity() == {"type": "listmle", "beta": 0.1, "top": None, "reduction": "sum"}
    assert OURS["listmle"](top_at_end="all").identity()["top_at_end"] == "all"


def test_robust_listmle_of_two_responses_of_the_fixture() -> None:
    assert loss_of("robust_listmle", fixture(1, 4), rho=0.1).item() == pytest.approx(0.360417, abs=6e-7)


@settings(max_examples=30, deadline=None)
@given(distinct_lists(max_size=4))
def test_the_worst_order_of_robust_listmle_is_the_worst_of_all(responses: list[Response]) -> None:
    orders = [
        [(a, b, n, -float(place)) for place, (a, b, n, _) in enumerate(order)] for order in permutations(responses)
    ]
    worst = loss_of("listmle", batch_of(orders)).max().item()
    given_order = loss_of("listmle", batch_of([responses])).item()
    loss = loss_of("robust_listmle", batch_of([responses]), rho=0.25).item()
    assert loss == pytest.approx(0.75 * given_order + 0.25 * worst, abs=1e-10)


def test_rrhf_does_not_train_on_a_list_without_a_preference() -> None:
    loss, gradient = loss_and_gradient("rrhf", fixture(1, 2, rewards=(1, 1, 0, 0)))
    assert loss.item() == 0
    assert gradient.tolist() == [[0.0, 0.0]]
