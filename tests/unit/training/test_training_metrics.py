import math
from dataclasses import replace
from statistics import fmean

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import ndcg_score
from torch.utils._python_dispatch import TorchDispatchMode

from larpo_lib.objectives import ListBatch
from larpo_lib.statistics.ranking import kendall_tau, ndcg
from larpo_lib.training.metrics import batch_metrics, list_metrics, reference_free_metrics

JUNK = 1e6

_responses = st.tuples(st.integers(-8, 0), st.integers(-8, 0), st.integers(1, 9), st.integers(-2, 2))
_lists = st.lists(_responses, min_size=1, max_size=7).map(lambda responses: sorted(responses, key=lambda r: -r[3]))


def _batch(logps, references, rewards, mask, lengths=None):
    mask = torch.tensor(mask)
    return ListBatch(
        policy_logps=torch.tensor(logps),
        reference_logps=torch.tensor(references),
        lengths=torch.ones(mask.shape) if lengths is None else torch.tensor(lengths),
        rewards=torch.tensor(rewards),
        mask=mask,
    )


def _padded(lists):
    """Lists of (log-prob, reference log-prob, length, reward), best first, as one batch with junk behind short ones."""
    width = max(map(len, lists))
    rows = [[*responses, *[(JUNK, -JUNK, 0, JUNK)] * (width - len(responses))] for responses in lists]
    logps, references, lengths, rewards = torch.tensor(rows, dtype=torch.float32).unbind(-1)
    mask = torch.tensor([[i < len(responses) for i in range(width)] for responses in lists])
    return ListBatch(logps, references, lengths, rewards, mask)


def _gains(rewards):
    return [reward - min(rewards) for reward in rewards]


def test_sums_over_two_lists_by_hand():
    batch = _batch(
        [[-1.0, -5.0, -4.0], [-2.0, -3.0, JUNK]],  # log-ratios 1, -1, 2 and 0.5, 1.5
        [[-2.0, -4.0, -6.0], [-2.5, -4.5, 0.0]],
        [[3.0, 2.0, -1.0], [1.0, 0.0, JUNK]],
        [[True, True, True], [True, True, False]],
    )
    second, third = 1 / math.log2(3), 1 / 2  # discounts of these places; gains are 4, 3, 0 and 1, 0
    assert batch_metrics(batch) == pytest.approx(
        {
            "margin": (1 - 2) + (0.5 - 1.5),
            "ranking_accuracy": 1 / 3 + 0 / 1,  # of (1,2), (1,3), (2,3) only the first is in order
            "kl": -(1 - 1 + 2) / 3 - (0.5 + 1.5) / 2,
            "chosen_logp_drift": 1 + 0.5,
            "kendall_tau": (1 - 2) / 3 + (0 - 1) / 1,
            "ndcg": (4 * second + 3 * third) / (4 + 3 * second) + second,  # sorted: 3rd, 1st, 2nd and 2nd, 1st
        }
    )


def test_ties_are_no_pairs_and_equal_log_ratios_are_not_in_order():
    batch = _batch(
        [[-1.0, -2.0, -3.0]], [[-1.0, -2.0, -2.0]], [[1.0, 1.0, 0.0]], [[True, True, True]]
    )  # log-ratios 0, 0, -1: both pairs across the tie are in order
    assert batch_metrics(batch)["ranking_accuracy"] == 1


def test_a_policy_that_is_still_the_reference_knows_no_order():
    start = batch_metrics(_batch([[-1.0, -2.0]], [[-1.0, -2.0]], [[1.0, 0.0]], [[True, True]]))
    assert start["ranking_accuracy"] == start["kendall_tau"] == 0
    assert start["ndcg"] == pytest.approx((1 + 1 / math.log2(3)) / 2)  # the mean of both orders


@pytest.mark.parametrize("rewards", [[1.0], [1.0, 1.0]])
def test_a_list_without_two_rewards_has_no_order_to_count(rewards):
    logps = [[-1.0, -3.0][: len(rewards)]]
    found = batch_metrics(_batch(logps, [[-2.0] * len(rewards)], [rewards], [[True] * len(rewards)]))
    assert (found["ranking_accuracy"], found["kendall_tau"], found["ndcg"]) == (0, 0, 0)


@given(_lists.filter(lambda responses: len(responses) > 1))
def test_kendall_tau_of_a_list_is_scipys_and_the_librarys(responses):
    ratios = [policy - reference for policy, reference, _, _ in responses]
    rewards = [reward for *_, reward in responses]
    found = batch_metrics(_padded([responses]))["kendall_tau"]
    expected = float(stats.kendalltau(ratios, rewards).statistic)
    assert found == pytest.approx(0 if math.isnan(expected) else expected, abs=1e-6)
    assert found == pytest.approx(kendall_tau(ratios, rewards) or 0, abs=1e-6)


@given(_lists.filter(lambda responses: len({response[3] for response in responses}) > 1))
def test_ndcg_of_a_list_is_sklearns_with_ties_among_scores(responses):
    ratios = [policy - reference for policy, reference, _, _ in responses]
    gains = _gains([reward for *_, reward in responses])
    found = batch_metrics(_padded([responses]))["ndcg"]
    assert found == pytest.approx(ndcg_score([gains], [ratios]), abs=1e-6)


def test_rewards_of_zero_and_one_are_their_own_gains_and_rewards_may_be_shifted_and_scaled():
    ratios, right = [0.5, 2.0, 1.0], [1.0, 1.0, 0.0]
    found = batch_metrics(_padded([[(ratio, 0, 1, reward) for ratio, reward in zip(ratios, right, strict=True)]]))
    assert found["ndcg"] == pytest.approx(ndcg([3, 2, 1], [1, 0, 1]))
    moved = _padded([[(ratio, 0, 1, 3 * reward - 7) for ratio, reward in zip(ratios, right, strict=True)]])
    assert batch_metrics(moved) == pytest.approx(found)


@given(st.lists(_lists, min_size=1, max_size=5))
def test_a_batch_sums_what_its_lists_give_alone(lists):
    for measure in (batch_metrics, reference_free_metrics):
        together = measure(_padded(lists))
        alone = [measure(_padded([responses])) for responses in lists]
        assert together == pytest.approx({name: sum(one[name] for one in alone) for name in together}, abs=1e-5)


def test_reference_free_metrics_are_of_log_probabilities_per_token():
    responses = [(-10.0, JUNK, 10, 1.0), (-16.0, JUNK, 8, 0.7), (-15.0, JUNK, 5, 0.4), (-30.0, JUNK, 20, 0.0)]
    per_token = [-1.0, -2.0, -3.0, -1.5]
    assert reference_free_metrics(_padded([responses])) == pytest.approx(
        {
            "margin": -1.0 + 1.5,
            "ranking_accuracy": 4 / 6,  # out of order: the last response above the second and the third
            "kendall_tau": stats.kendalltau(per_token, [4, 3, 2, 1]).statistic,
            "ndcg": ndcg_score([[1.0, 0.7, 0.4, 0.0]], [per_token]),
        }
    )


def test_what_there_is_to_learn_from_lists_by_hand():
    saturated, still = math.log(99) + 0.001, math.log(99) - 0.001
    batch = _padded(
        [
            [(0, -4.0, 2, 3.0), (0, -9.0, 3, 1.0), (0, -6.0, 3, 1.0)],  # under the reference -2, -3 and -2 per token
            [(0, -8.0, 1, 0.5), (0, -9.0, 3, -1.0)],  # -8 and -3: the worse response is more likely
        ]
    )
    exponents = torch.tensor([[saturated, 0.0, 0.002], [-saturated, 0.0, JUNK]])
    assert list_metrics(batch, exponents, has_reference=True) == pytest.approx(
        {
            "reward_gap": 2.0 + 1.5,
            "hard_pair_share": 1 / 2 + 1 / 1,  # two equally good responses are no pair
            "saturated_pair_share": 1 / 2 + 0,  # apart by ln 99 and more, by less, and in the wrong order
        }
    )
    assert 1 / (1 + math.exp(saturated)) < 0.01 < 1 / (1 + math.exp(still))
    absent = replace(batch, reference_logps=torch.full_like(batch.reference_logps, float("nan")))
    assert list_metrics(absent, None, has_reference=False) == {"reward_gap": 3.5}


def test_reference_free_metrics_read_no_reference():
    batch = _padded([[(-1, -2, 1, 1), (-4, -2, 3, 0)], [(-1, -2, 1, 1)]])
    absent = replace(batch, reference_logps=torch.full_like(batch.reference_logps, float("nan")))
    assert reference_free_metrics(absent) == reference_free_metrics(batch)


@pytest.mark.parametrize("broken", [float("nan"), float("inf"), -float("inf")])
def test_a_policy_that_has_broken_down_is_left_to_the_trainer_to_report(broken):
    batch = _padded([[(broken, -2, 1, 1), (-4, -2, 3, 0)], [(-1, -2, 1, 2), (-1, -1, 2, 0), (broken, -1, 1, 0)]])
    assert not math.isfinite(batch_metrics(batch)["margin"])
    assert not math.isfinite(reference_free_metrics(batch)["margin"])


def test_bfloat16_log_probabilities_are_subtracted_and_summed_in_full_precision():
    lists = [[(-200, -190, 7, 1), (-37, -41, 9, 0)]] * 300
    batch = _padded(lists)
    half = replace(batch, policy_logps=batch.policy_logps.bfloat16())  # these numbers have 8 bits
    assert batch_metrics(half) == batch_metrics(batch)
    assert batch_metrics(half)["margin"] == 300 * (-10 - 4)
    assert batch_metrics(half)["kl"] == 300 * fmean([10, -4])


class _Operations(TorchDispatchMode):
    """Notes which operations run."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen.add(func)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("measure", [batch_metrics, reference_free_metrics])
def test_no_metric_is_fetched_from_the_device_by_itself(measure):
    batch = _padded([[(-1, -2, 1, 1), (-4, -2, 3, 0)], [(-1, -2, 1, 1)]])
    with _Operations() as operations:
        measure(batch)
    waiting = {torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default}  # .item(), boolean indexing
    assert operations.seen
    assert not operations.seen & waiting
