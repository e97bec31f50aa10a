"""How a registered policy was evaluated: what the registry keeps of it, and what the next policy is compared with.

A policy may be evaluated again, on other prompts or by another judge. That takes nothing away: an evaluation stays
beside the newest one unless that one can stand in for it.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from larpo_lib.steps.gate import Opponent
from larpo_lib.steps.judgements import Judgement, by_name, incomparable, kept_judgement

_EARLIER = "earlier"
_Kept = Mapping[str, Any]


def kept(judgements: Mapping[str, Judgement], stored: _Kept | None) -> dict[str, Any]:
    """What the registry keeps: the first evaluation as it is, any others below it, and earlier ones.

    Args:
        judgements: the newest evaluations, by the name before their metrics.
        stored: what was kept before, if the policy is registered already.
    """
    first, *others = judgements.values()
    further = {"benchmarks": {one.name: one.to_json() for one in others}} if others else {}
    earlier = [one for one in _each(stored) if not _covers(judgements, by_name(_judgements(one)))]
    return {**first.to_json(), **further, **({_EARLIER: earlier} if earlier else {})}


def opponents(name: str, stored: _Kept | None) -> list[Opponent]:
    """A version as an opponent, by its newest evaluation and then by earlier ones; by none if nothing is kept."""
    found = [_judgements(one) for one in _each(stored)]
    return [Opponent(name, first, tuple(others)) for first, *others in found] or [Opponent(name, None)]


def _each(stored: _Kept | None) -> list[_Kept]:
    if stored is None:
        return []
    newest = {name: value for name, value in stored.items() if name != _EARLIER}
    return [newest, *stored.get(_EARLIER, ())]


def _judgements(one: _Kept) -> list[Judgement]:
    return [kept_judgement(one), *map(kept_judgement, one.get("benchmarks", {}).values())]


def _covers(new: Mapping[str, Judgement], old: Mapping[str, Judgement]) -> bool:
    """Whether whatever can be compared with the old evaluations can be compared with the new ones."""
    return all(name in new and _stands_in(new[name], one, one.values) for name, one in old.items())


def _stands_in(new: Judgement, old: Judgement, metrics: Iterable[str]) -> bool:
    forgets = old.sampling is not None and new.sampling is None
    return not forgets and all(name in new.values and incomparable(name, new, old) is None for name in metrics)
