"""The check of an objective of one's own."""

import itertools
import random
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Literal

import torch

from larpo_lib.config.load import check
from larpo_lib.objectives._entry import settings_of
from larpo_lib.testing import properties
from larpo_lib.testing.lists import Loss, best_first, some_list

_GARBAGE = (torch.nan, torch.inf, -torch.inf, 1e30)


def check_objective(
    function: Callable[..., Any],
    settings: Mapping[str, Any] | None = None,
    *,
    ties: Literal["any", "between", "differ"] = "between",
    shift_invariant: bool = False,
    learns_without_preference: bool = False,
    any_direction: bool = False,
    examples: int = 20,
    seed: int = 0,
) -> None:
    """Check what must hold for an objective, as larpo's own tests do for its own, with lists of 1 to 6 responses.

    Masked places are never read; a list has the same loss in every batch; no preference, no loss; the gradient is that
    of finite differences in float64; a step down the gradient raises the better of two responses against the worse,
    where the policy prefers the worse one; nothing is NaN or infinite at extremes; bfloat16 is computed in float32;
    and it reads what `larpo_lib.objectives.objective` declares, no more and no less.

    Args:
        function: from a `ListBatch` of B lists to a (B,) loss: a plain function, or one decorated by `objective`.
        settings: its further arguments.
        ties: which responses with equal rewards may change places with nothing changed: any, those between the best and
            the worst, or none.
        shift_invariant: a constant added to all of a list's log-probabilities changes nothing.
        learns_without_preference: a list of equally good responses may have a loss.
        any_direction: a step need not raise the better of two responses, as where two have no loss (`lambdarank` with
            top = 2 compares the best two with the others). Where the policy prefers the better one already, this is
            not asked of any objective: those with a target, such as `ipo`, step back to it.
        examples: random lists for each property.
        seed: of the lists.

    Raises:
        AssertionError: something does not hold; says what, and for which lists.
        ConfigError: the settings do not fit the function.
    """
    chosen: Any = check(settings_of(function), dict(settings or {}))
    properties.one_loss_a_list(chosen)
    properties.declares_what_it_reads(chosen)
    rng = random.Random(seed)  # noqa: S311 - no secret
    for claim in itertools.chain(
        _always(chosen.loss, rng, examples),
        _about_ties(chosen.loss, ties, rng, examples),
        _shifts(chosen.loss, rng, examples) if shift_invariant else (),
        () if learns_without_preference else (partial(properties.no_preference, chosen.loss, n) for n in (1, 2, 4)),
        () if any_direction else (partial(properties.direction, chosen.loss, pair) for pair in properties.WRONG),
    ):
        try:
            claim()
        except AssertionError as error:
            told = "\n".join(f"{value}" for value in claim.args[1:])
            raise AssertionError(f"{claim.func.__doc__} Not so for\n{told}\n{error}") from None


def _always(loss: Loss, rng: random.Random, examples: int) -> Iterator[partial[None]]:
    for number in range(examples):
        lists = [some_list(rng, rng.randint(1, 6)) for _ in range(rng.randint(1, 4))]
        yield partial(properties.padding_and_neighbours, loss, lists, _GARBAGE[number % len(_GARBAGE)])
    for garbage in (0.0, *_GARBAGE):
        yield partial(properties.empty_list, loss, garbage)
    yield partial(properties.finite_differences, loss)
    for sign, dtype in itertools.product((1.0, -1.0), (torch.float32, torch.bfloat16)):
        yield partial(properties.extremes, loss, sign, dtype)
    yield partial(properties.bfloat16_in_float32, loss)


def _about_ties(loss: Loss, ties: str, rng: random.Random, examples: int) -> Iterator[partial[None]]:
    if ties == "differ":
        return
    for middle in itertools.permutations(properties.MIDDLE):
        yield partial(properties.ties_between, loss, middle)
    for _ in range(examples if ties == "any" else 0):
        responses = some_list(rng, rng.randint(2, 6))
        other = best_first(rng.sample(responses, len(responses)))
        yield partial(properties.any_ties, loss, responses, other)


def _shifts(loss: Loss, rng: random.Random, examples: int) -> Iterator[partial[None]]:
    for _ in range(examples):
        yield partial(properties.shift, loss, some_list(rng, rng.randint(1, 6)), float(rng.randint(-500, 500)))
