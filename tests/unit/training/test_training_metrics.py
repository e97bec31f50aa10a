from __future__ import annotations

import pytest
import torch

from larpo_lib.objectives import ListBatch
from larpo_lib.training.metrics import batch_metrics

JUNK = 1e6


def _batch(logps, references, rewards, mask):
    mask = torch.tensor(mask)
    return ListBatch(
        policy_logps=torch.tensor(logps),
        reference_logps=torch.tensor(references),
        lengths=torch.ones(mask.shape),
        rewards=torch.tensor(rewards),
        mask=mask,
    )


def test_sums_over_two_lists_by_hand():
    batch = _batch(
        [[-1.0, -5.0, -4.0], [-2.0, -3.0, JUNK]],  # log-ratios 1, -1, 2 and 0.5, 1.5
        [[-2.0, -4.0, -6.0], [-2.5, -4.5, 0.0]],
        [[3.0, 2.0, 1.0], [1.0, 0.0, JUNK]],
        [[True, True, True], [True, True, False]],
    )
    assert batch_metrics(batch) == pytest.approx(
        {
            "margin": (1 - 2) + (0.5 - 1.5),
            "ranking_accuracy": 1 / 3 + 0 / 1,  # of (1,2), (1,3), (2,3) only the first is in order
            "kl": -(1 - 1 + 2) / 3 - (0.5 + 1.5) / 2,
            "chosen_logp_drift": 1 + 0.5,
        }
    )


def test_ties_are_no_pairs_and_equal_log_ratios_are_not_in_order():
    batch = _batch(
        [[-1.0, -2.0, -3.0]], [[-1.0, -2.0, -2.0]], [[1.0, 1.0, 0.0]], [[True, True, True]]
    )  # log-ratios 0, 0, -1: both pairs across the tie are in order
    assert batch_metrics(batch)["ranking_accuracy"] == 1
    start = _batch([[-1.0, -2.0]], [[-1.0, -2.0]], [[1.0, 0.0]], [[True, True]])
    assert batch_metrics(start)["ranking_accuracy"] == 0


def test_a_list_without_pairs_has_no_accuracy_to_count():
    assert batch_metrics(_batch([[-1.0]], [[-2.0]], [[1.0]], [[True]]))["ranking_accuracy"] == 0
