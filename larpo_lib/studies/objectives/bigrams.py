"""A policy that trains within a second: each token's probabilities depend on the token before it alone."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor

from larpo_lib.config.kinds import ObjectiveConfig
from larpo_lib.objectives.batch import ListBatch


@dataclass(frozen=True)
class Response:
    """A response as such a policy reads it.

    Attributes:
        pairs: of a token and the one before it that are in it, as places in a table of V * V.
        counts: how often each is.
        tokens: of the response, its end included; the prompt is not read.
    """

    pairs: Sequence[int]
    counts: Sequence[int]
    tokens: int

    @classmethod
    def of(cls, ids: Sequence[int], begin: int, vocabulary: int) -> "Response":
        """Of the tokens of a response, behind a token that begins it."""
        found = Counter(before * vocabulary + token for before, token in zip([begin, *ids], ids, strict=False))
        return cls([*found], [*found.values()], len(ids))


@dataclass(frozen=True)
class TrainingList:
    """Responses to one prompt, best first, with their rewards."""

    responses: Sequence[Response]
    rewards: Sequence[float]


def fitted(responses: Sequence[Response], vocabulary: int, smoothing: float) -> Tensor:
    """(V, V) log-probabilities of the likeliest policy, with `smoothing` added to each count."""
    counts = torch.full((vocabulary * vocabulary,), smoothing, dtype=torch.float64)
    for one in responses:
        counts.index_add_(0, torch.tensor(one.pairs), torch.tensor(one.counts, dtype=torch.float64))
    return counts.view(vocabulary, vocabulary).log().log_softmax(dim=1)


def log_probabilities(logits: Tensor, responses: Sequence[Response]) -> Tensor:
    """(R,) the sum over each response's tokens, in nats, of a (V, V) table of logits."""
    places = torch.tensor([place for one in responses for place in one.pairs])
    counts = torch.tensor([count for one in responses for count in one.counts], dtype=logits.dtype)
    sizes = torch.tensor([0, *(len(one.pairs) for one in responses)]).cumsum(0)[:-1]
    table = logits.log_softmax(dim=1).reshape(-1, 1)
    return torch.nn.functional.embedding_bag(places, table, sizes, mode="sum", per_sample_weights=counts).squeeze(1)


def train(
    objective: ObjectiveConfig,
    reference: Tensor,
    lists: Sequence[TrainingList],
    *,
    learning_rate: float,
    batch_size: int,
    seed: int,
) -> Tensor | None:
    """Train one epoch with Adam from the reference, in an order drawn by `seed`; None where the loss was no number.

    Args:
        objective: whose mean over a batch is minimised.
        reference: (V, V) log-probabilities.
        lists: to train on.
        learning_rate: of all steps.
        batch_size: lists a step.
        seed: of the order.
    """
    loss = objective.make()
    logits = reference.clone().requires_grad_()
    adam = torch.optim.Adam([logits], lr=learning_rate)
    order = [*lists]
    Random(seed).shuffle(order)  # noqa: S311 - no secret
    batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    for step, batch in enumerate(batches):
        found = loss(_batch(logits, reference, batch, step / len(batches))).mean()
        if not found.isfinite():
            return None
        adam.zero_grad()
        found.backward()
        adam.step()
    trained = logits.detach()
    return trained if bool(trained.isfinite().all()) else None


def _batch(logits: Tensor, reference: Tensor, lists: Sequence[TrainingList], progress: float) -> ListBatch:
    longest = max(len(one.responses) for one in lists)
    mask = torch.tensor([[place < len(one.responses) for place in range(longest)] for one in lists])
    responses = [response for one in lists for response in one.responses]

    def at_places(values: Tensor) -> Tensor:
        return torch.zeros(mask.shape, dtype=values.dtype).masked_scatter(mask, values)

    policy = log_probabilities(logits, responses)
    with torch.no_grad():
        known = log_probabilities(reference, responses)
    return ListBatch(
        policy_logps=at_places(policy),
        reference_logps=at_places(known),
        lengths=at_places(torch.tensor([one.tokens for one in responses])),
        rewards=at_places(torch.tensor([value for one in lists for value in one.rewards], dtype=torch.float64)),
        mask=mask,
        # The prompt is not read, so a response to another prompt has the log-ratio that it has anyway.
        kl_baseline=(policy.detach() - known).mean().clamp(min=0.0),
        progress=progress,
    )
