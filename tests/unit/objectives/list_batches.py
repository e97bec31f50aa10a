"""Batches of lists that the tests of the objectives share."""

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st
from our_objectives import OURS
from torch import Tensor

from larpo_lib.objectives import ListBatch
from larpo_lib.testing import lists
from larpo_lib.testing.lists import Response, batch_of

A = (-10.0, -16.0, -15.0, -30.0)
B = (-14.0, -17.0, -13.0, -20.0)
N = (10, 8, 5, 20)
REWARDS = (1.0, 0.7, 0.4, 0.0)

# Every objective with its defaults, and every setting that selects another formula.
CASES: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in OURS),
    ("dpo", {"label_smoothing": 0.1}),
    *((name, {"clip_reference": True}) for name in ("dpo", "lambdarank")),
    ("lambdarank", {"top": 1}),
    ("lambdarank", {"top": 2, "reduction": "mean"}),
    ("listmle", {"reduction": "mean"}),
    ("lipo_lambda", {"reduction": "mean"}),
    ("lipo_lambda", {"rewards": "minmax"}),
    ("lipo_lambda", {"rewards": "win_rate"}),
    ("listmle", {"top": 2}),
    ("listmle", {"top": 1, "top_at_end": "all"}),
    ("listmle", {"top": 1, "reduction": "mean"}),
    *(("lambdaloss", {"weights": weights}) for weights in ("lambdarank", "ndcg1", "ndcg2pp", "label_diff")),
    ("lambdaloss", {"top": 3}),
    ("lambdaloss", {"rewards": "win_rate", "weights": "ndcg2pp"}),
    ("approx_ndcg", {"alpha": 4.0, "rewards": "minmax"}),
    ("neural_ndcg", {"tau": 0.5, "rewards": "win_rate"}),
    ("group_contrast", {"alpha": 0.0}),
    ("target", {"direction": "reverse", "tau": 0.5}),
    ("target", {"rewards": "zscore"}),
    ("nca", {"rewards": "zscore", "tau": 0.1}),
    *((name, {"rewards": "rank"}) for name in ("lipo_lambda", "target", "group_contrast")),
    *((name, {"rewards": "minmax"}) for name in ("target", "nca", "gvpo")),
    *((name, {"rewards": "zscore"}) for name in ("gvpo", "group_contrast")),
    ("ipo", {"length_normalized": True}),
    ("cpo", {"nll": "sum"}),
    ("kto", {"desirable_weight": 1.5, "undesirable_weight": 0.5}),
]
CASE_IDS = ["-".join([name, *(f"{key}={value}" for key, value in settings.items())]) for name, settings in CASES]

# Binary fractions, so that sums are exact.
_logps = st.integers(-400, 0).map(lambda eighths: eighths / 8)
_responses = st.tuples(_logps, _logps, st.integers(1, 40), st.integers(0, 4).map(lambda fourths: fourths / 4))


def loss_of(name: str, batch: ListBatch, **settings: Any) -> Tensor:
    """The (B,) loss of an objective with some settings."""
    return OURS[name](**settings).loss(batch)


def ranked_lists(min_size: int = 1, max_size: int = 6) -> st.SearchStrategy[list[Response]]:
    """Lists of responses, best first, with ties. Rewards are from 0 to 1, as the NDCG losses need them."""
    found = st.lists(_responses, min_size=min_size, max_size=max_size)
    return found.map(lambda responses: sorted(responses, key=lambda response: -response[3]))


def distinct_lists(min_size: int = 2, max_size: int = 6) -> st.SearchStrategy[list[Response]]:
    """Lists of responses without ties, best first."""
    found = st.lists(_responses, min_size=min_size, max_size=max_size)
    return found.map(lambda responses: [(a, b, n, -float(i)) for i, (a, b, n, _) in enumerate(responses)])


def fixture(*which: int, rewards: Sequence[float] = REWARDS) -> ListBatch:
    """One list of the fixture's responses `which`, counted from 1."""
    return batch_of([[(A[i - 1], B[i - 1], N[i - 1], rewards[i - 1]) for i in which]])


def loss_and_gradient(name: str, batch: ListBatch, **settings: Any) -> tuple[Tensor, Tensor]:
    """(B,) losses, and their (B, L) gradient with respect to the policy's log-probabilities."""
    return lists.loss_and_gradient(OURS[name](**settings).loss, batch)
