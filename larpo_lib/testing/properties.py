"""What holds for objectives, one function for each property. Each raises AssertionError where it does not hold."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from larpo_lib.config.kinds import ObjectiveConfig
from larpo_lib.testing.lists import Loss, Response, batch_of, loss_and_gradient, with_garbage

LIST: list[Response] = [
    (-10.0, -14.0, 10, 1.0),
    (-16.0, -17.0, 8, 0.7),
    (-15.0, -13.0, 5, 0.4),
    (-30.0, -20.0, 20, 0.0),
]
"""Four responses without ties."""

WRONG = [
    [(-14.0, -13.0, 8, 1.0), (-11.0, -12.0, 8, 0.0)],
    [(-20.0, -15.0, 10, 0.75), (-6.0, -7.0, 5, 0.25)],
    [(-9.0, -8.0, 4, 1.0), (-12.0, -14.0, 8, 0.5)],
]
"""Pairs of which the policy prefers the worse response, in sum, per token and against the reference."""

MIDDLE = [(-16.0, -17.0, 8), (-15.0, -13.0, 5), (-12.0, -13.0, 5), (-20.0, -10.0, 9)]
"""Responses that are neither best nor worst in `ties_between`."""


def one_loss_a_list(settings: ObjectiveConfig) -> None:
    """It gives a tensor with one loss for each list, and with a gradient."""
    batch = batch_of([LIST, LIST])
    given: object = settings.loss(replace(batch, policy_logps=batch.policy_logps.clone().requires_grad_()))
    assert isinstance(given, Tensor), f"it gave {type(given).__name__}, not a tensor with one loss for each list"
    shape = tuple(given.shape)
    assert shape == (2,), f"it gave a tensor of shape {shape} for 2 lists, not one loss for each: (2,)"
    assert given.requires_grad, "it gave a loss without a gradient"


def declares_what_it_reads(settings: ObjectiveConfig) -> None:
    """It reads `reference_logps` and `kl_baseline` if it declares to need them, and otherwise not."""
    batch = batch_of([LIST])
    no_reference = replace(batch, reference_logps=torch.full_like(batch.reference_logps, torch.nan))
    no_kl = replace(batch, kl_baseline=torch.tensor(torch.nan))
    for name, without in (("needs_reference", no_reference), ("needs_kl", no_kl)):
        reads, declared = bool(settings.loss(without).isnan().any()), getattr(settings, name)
        assert reads == declared, f"{name} is {declared}, but the loss {'reads' if reads else 'does not read'} it"


def padding_and_neighbours(loss: Loss, lists: Sequence[Sequence[Response]], garbage: float) -> None:
    """A list has the same loss and gradient alone and beside others, whatever stands at masked places."""
    batch = with_garbage(batch_of([*lists, [(0.0, 0.0, 1, 0.0)] * 7]), garbage)
    losses, gradients = loss_and_gradient(loss, batch)
    assert gradients[~batch.mask].eq(0).all(), f"the gradient is not 0 at masked places, which hold {garbage}"
    for row, responses in enumerate(lists):
        alone, gradient = loss_and_gradient(loss, batch_of([responses]))
        _close(losses[row : row + 1], alone, 1e-12, "the loss changes beside other lists")
        _close(gradients[row, : len(responses)], gradient[0], 1e-12, "the gradient changes beside other lists")


def empty_list(loss: Loss, garbage: float) -> None:
    """A list without responses has loss 0, and changes no gradient."""
    losses, gradient = loss_and_gradient(loss, with_garbage(batch_of([[], [(-1.0, -2.0, 3, 0.0)]]), garbage))
    assert losses[0].item() == 0, f"the loss of a list without responses is {losses[0].item()}"
    assert gradient[0].tolist() == [0.0], "a list without responses has a gradient"


def no_preference(loss: Loss, size: int) -> None:
    """A list of equally good responses has loss 0 and gradient 0."""
    losses, gradient = loss_and_gradient(loss, batch_of([[(a, b, n, 0.5) for a, b, n, _ in LIST[:size]]]))
    assert losses.item() == 0, f"the loss of {size} equally good responses is {losses.item()}"
    assert gradient.eq(0).all(), f"{size} equally good responses have a gradient"


def direction(loss: Loss, responses: Sequence[Response]) -> None:
    """A step down the gradient raises the better of two responses, which the policy prefers less, against the worse."""
    _, gradient = loss_and_gradient(loss, batch_of([responses]))
    better, worse = (-gradient[0]).tolist()
    assert better > worse, f"the step is {better} for the better one, {worse} for the worse one"


def shift(loss: Loss, responses: Sequence[Response], by: float) -> None:
    """A constant added to all log-probabilities of the policy changes nothing, and the gradient sums to 0."""
    losses, gradient = loss_and_gradient(loss, batch_of([responses]))
    shifted = batch_of([[(a + by, b, n, reward) for a, b, n, reward in responses]])
    other, other_gradient = loss_and_gradient(loss, shifted)
    _close(other, losses, 1e-9, f"{by} added to all log-probabilities changes the loss", 1e-11)
    _close(other_gradient, gradient, 1e-9, f"{by} added to all log-probabilities changes the gradient", 1e-11)
    assert abs(gradient.sum().item()) <= 1e-12, f"the gradient sums to {gradient.sum().item()}"


def ties_between(loss: Loss, middle: Sequence[tuple[float, float, int]]) -> None:
    """The order of tied responses that are neither best nor worst changes nothing."""

    def outcome(tied: Sequence[tuple[float, float, int]]) -> tuple[Tensor, Tensor]:
        responses = [(-10.0, -14.0, 10, 1.0), *((*response, 0.5) for response in tied), (-30.0, -20.0, 20, 0.0)]
        losses, gradient = loss_and_gradient(loss, batch_of([responses]))
        return losses, torch.stack([gradient[0, 1 + tied.index(response)] for response in MIDDLE])

    expected, other = outcome(MIDDLE), outcome(middle)
    _close(other[0], expected[0], 1e-12, "another order of tied responses changes the loss")
    _close(other[1], expected[1], 1e-12, "another order of tied responses changes the gradient")


def any_ties(loss: Loss, responses: Sequence[Response], other: Sequence[Response]) -> None:
    """The order of tied responses changes nothing, best and worst ones included."""
    losses, gradient = loss_and_gradient(loss, batch_of([responses]))
    other_losses, other_gradient = loss_and_gradient(loss, batch_of([other]))
    _close(other_losses, losses, 1e-10, "another order of tied responses changes the loss")
    expected, found = (
        torch.tensor([value for _, value in sorted(zip(order, values[0].tolist(), strict=True))])
        for order, values in ((responses, gradient), (other, other_gradient))
    )
    _close(found, expected, 1e-9, "another order of tied responses changes the gradient")


def finite_differences(loss: Loss) -> None:
    """The gradient is that of finite differences, in float64; with four responses, two of them tied, and with two."""
    # Of no round numbers, so that no loss has a kink just there.
    four = [(-10.37, -14.11, 10, 1.0), (-16.53, -17.29, 8, 0.7), (-15.17, -13.61, 5, 0.7), (-30.73, -20.41, 20, 0.0)]
    batch = batch_of([four, [(-9.13, -8.47, 7, 0.9), (-5.59, -11.83, 4, 0.2)]])
    logps = batch.policy_logps.requires_grad_()
    found = torch.autograd.gradcheck(lambda a: loss(replace(batch, policy_logps=a)), logps, raise_exception=False)
    assert found, "the gradient is not that of finite differences"


def extremes(loss: Loss, sign: float, dtype: torch.dtype) -> None:
    """Loss and gradient stay finite where the policy is very right (`sign` 1) or very wrong (-1)."""
    log_ratios = [1e5, 3e4, -2e4, -1e5]
    responses = [(sign * d, 0.0, n, 1 - i / 4) for i, (d, n) in enumerate(zip(log_ratios, (10, 8, 5, 20), strict=True))]
    losses, gradient = loss_and_gradient(loss, batch_of([responses], dtype=dtype))
    assert losses.dtype == torch.float32, f"the loss of {dtype} is {losses.dtype}"
    assert losses.isfinite().all(), f"the loss is {losses.tolist()} where the log-ratios are 1e5"
    assert gradient.isfinite().all(), f"the gradient is {gradient.tolist()} where the log-ratios are 1e5"


def bfloat16_in_float32(loss: Loss) -> None:
    """What bfloat16 gives is computed in float32."""
    narrow = batch_of(
        [[(-101.0, -97.0, 33, 1.0), (-55.5, -57.25, 21, 0.5), (-77.0, -70.0, 9, 0.0)]], dtype=torch.bfloat16
    )
    wide = replace(narrow, policy_logps=narrow.policy_logps.float(), reference_logps=narrow.reference_logps.float())
    losses = loss(narrow)
    assert losses.dtype == torch.float32, f"the loss of bfloat16 is {losses.dtype}"
    _close(losses, loss(wide), 0, "bfloat16 is not computed in float32")


def _close(found: Tensor, expected: Tensor, rtol: float, problem: str, atol: float = 1e-12) -> None:
    torch.testing.assert_close(
        found, expected, rtol=rtol, atol=atol if rtol else 0, msg=lambda detail: f"{problem}\n{detail}"
    )
