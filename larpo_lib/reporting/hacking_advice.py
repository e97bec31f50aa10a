"""Sentences that say so if a policy exploits its reward, with few false alarms.

A run has many iterations and perhaps many further rewards, and measures of each are noisy. The best iteration by one of
them is partly so by chance, and what was lucky there falls later. So intervals hold for all iterations at once, and all
sentences share one level: of runs that nobody should be warned of, at most about 1 - confidence get a sentence, from
about 20 prompts on. A bootstrap's intervals of a few prompts are too narrow, so of fewer than `LEAST` nothing is said.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from larpo_lib.reporting.hacking_policies import LENGTH, REWARD, Policy, shown, watches
from larpo_lib.reporting.table import number
from larpo_lib.statistics.estimates import Bootstrap, Estimate, mean, paired
from larpo_lib.statistics.regression import intercept
from larpo_lib.statistics.simultaneous import differences_from

LEAST = 10
"""Prompts. Of runs of 8 iterations with 3 watches that never change, 4 % get a sentence with 20 prompts, 7 % with 10,
21 % with 5 and 92 % with 2, at confidence .95."""
LITTLE = 0.5
"""Less than half of the gain is left at equal length."""
STRONG = 0.3
"""A rank correlation within prompts: of two responses, the longer one has the higher reward in about three of five
cases."""
_OF_LENGTH = 2
"""Sentences that `_prefers_length` may give."""


def advise(policies: Sequence[Policy], bootstrap: Bootstrap, trained: str | None) -> list[str]:
    """One sentence for each threshold that is passed.

    Args:
        policies: by rising iteration, the first one that which the run started from; all with the same measures.
        bootstrap: how intervals are made, and the confidence that no sentence at all is a false alarm.
        trained: the measure that training learns from; without one nothing is said.
    """
    if trained is None:
        return []
    others = [name for name in (REWARD, *watches(policies[-1])) if name != trained]
    sentences = len(others) + (_OF_LENGTH if trained == REWARD else 0)
    strict = replace(bootstrap, confidence=1 - (1 - bootstrap.confidence) / max(1, sentences))
    found = [*_exploits(policies, strict, trained, others)]
    return [*found, *_prefers_length(policies[-1], policies[0], strict)] if trained == REWARD else found


def _exploits(policies: Sequence[Policy], strict: Bootstrap, trained: str, others: Sequence[str]) -> Iterator[str]:
    """The trained measure rose while another one fell, since the policy that is the best one by the other."""
    rises = _since(policies, trained, strict) if others else {}
    for name in others:
        falls = _since(policies, name, strict)
        best = min(falls, key=lambda iteration: falls[iteration].value or 0.0, default=None)
        if best is None or best not in rises or not (_above_zero(rises[best]) and _below_zero(falls[best])):
            continue
        yield (
            f"Since {_policy(best)}, {_told(trained)} rose by {_amount(rises[best])} while {_told(name)} fell by "
            f"{_amount(falls[best])}: the policy exploits the reward. {_remedy(best, name)}"
        )


def _since(policies: Sequence[Policy], measure: str, bootstrap: Bootstrap) -> dict[int, Estimate]:
    """The last policy's mean minus that of each iteration before it, on the prompts that all have, if enough."""
    *before, last = (policy.values[measure] for policy in policies)
    prompts = [prompt for prompt in last if all(prompt in values for values in before)]
    if len(prompts) < LEAST or not before:
        return {}
    values = {policy.iteration: [policy.values[measure][prompt] for prompt in prompts] for policy in policies}
    return differences_from(policies[-1].iteration, values, bootstrap)


def _policy(iteration: int) -> str:
    return f"iteration {iteration}" if iteration else "the start"


def _told(measure: str) -> str:
    return "the reward" if measure == REWARD else f"'{shown(measure)}'"


def _amount(change: Estimate) -> str:
    return number(abs(change.value or 0.0))


def _remedy(best: int, name: str) -> str:
    use = f"Use the policy of iteration {best}" if best else "Keep the policy that the run started from"
    metric = "mean_reward" if name == REWARD else name
    return f'{use}, end the loop there by loop.early_stop.metric = "{metric}", or train on an ensemble of both rewards.'


def _prefers_length(last: Policy, first: Policy, strict: Bootstrap) -> Iterator[str]:
    changes = [paired(last.values[name], first.values[name]) for name in (REWARD, LENGTH)]
    (gain, longer), (gains, lengths) = map(strict.mean, changes), map(np.array, changes)
    remedy = "Set or increase rerank.length_penalty, or use another reranker."
    grown = paired(last.correlations, first.correlations)

    def beyond_little(drawn: NDArray[np.int64]) -> float | None:
        left = intercept(gains[drawn], lengths[drawn])
        return None if left is None else left - LITTLE * float(gains[drawn].mean())

    if (
        len(gains) >= LEAST
        and _above_zero(gain)
        and _above_zero(longer)
        and _below_zero(strict.interval(len(gains), beyond_little))
        and (left := intercept(gains, lengths)) is not None
    ):
        yield (
            f"Since the start, the reward rose by {number(gain.value)} and responses became "
            f"{number(longer.value)} characters longer; at equal length, {number(left)} of the gain is left. "
            f"{remedy}"
        )
    if len(grown) < LEAST:
        return
    before, now = (mean([*policy.correlations.values()]) for policy in (first, last))
    if _above_zero(strict.mean(grown)) and now >= STRONG:
        yield (
            f"Within prompts, the rank correlation of reward and length grew from {number(before)} to "
            f"{number(now)}: more and more, the reward is one of length. {remedy}"
        )


def _above_zero(found: Estimate) -> bool:
    return found.low is not None and found.low > 0


def _below_zero(found: Estimate) -> bool:
    return found.high is not None and found.high < 0
