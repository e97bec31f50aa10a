"""Several rerankers as one: a weighted sum of their standardised scores."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, PositiveFloat, model_validator

from larpo_lib.config.base import Section
from larpo_lib.config.kinds import Reading, RerankerConfig, SingleRerankerConfig
from larpo_lib.errors import LarpoError
from larpo_lib.rewards.answers import Scorable
from larpo_lib.rewards.rerankers import Reranker, make_reranker


class EnsembleMember(Section):
    """One reranker of an ensemble."""

    reranker: SingleRerankerConfig
    """The reranker of this member."""
    weight: float = 1.0
    """Weight of its standardised score in the sum."""
    mean: float | None = None
    """Mean to subtract from its scores. Not set: the mean over the prompt's list."""
    std: PositiveFloat | None = None
    """Standard deviation to divide its scores by. Not set: the standard deviation over the prompt's list."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.mean is None) != (self.std is None):
            raise ValueError("set both mean and std, or neither")
        return self

    @property
    def list_relative(self) -> bool:
        """Whether its part of the sum depends on the rest of the list."""
        return self.reranker.list_relative or self.mean is None


class EnsembleConfig(RerankerConfig):
    """A weighted sum of the standardised scores of several rerankers."""

    does: ClassVar[str] = "a weighted sum of several"
    when: ClassVar[str] = "the policy would exploit a single reward model"

    type: Literal["ensemble"] = "ensemble"
    members: tuple[EnsembleMember, ...] = Field(min_length=2)
    """The rerankers of the ensemble, at least two."""

    @property
    def list_relative(self) -> bool:
        """Whether a score depends on the rest of the list: not if every member has a fixed mean and std."""
        return any(member.list_relative for member in self.members)

    @property
    def thoughts(self) -> None:
        """Each member's own."""
        return

    @property
    def references(self) -> frozenset[Reading]:
        """Those of all members."""
        return frozenset[Reading]().union(*(member.reranker.references for member in self.members))

    @property
    def columns(self) -> frozenset[str]:
        """Those of all members."""
        return frozenset[str]().union(*(member.reranker.columns for member in self.members))

    def check_columns(self, columns: Mapping[str, Any]) -> None:
        """Each member."""
        for member in self.members:
            member.reranker.check_columns(columns)

    def parts(self) -> Sequence[RerankerConfig]:
        """The members."""
        return [member.reranker for member in self.members]

    def models(self) -> dict[str, Path]:
        """Those of all members, by the member's place."""
        each = enumerate(member.reranker.models() for member in self.members)
        return {f"{name}_{i}": path for i, part in each for name, path in part.items()}

    def make(self) -> Reranker:
        """The members are loaded one after another."""
        return EnsembleReranker(self, [make_reranker(member.reranker) for member in self.members])

    def check(self) -> None:
        """Each member."""
        for member in self.members:
            member.reranker.check()


class EnsembleReranker(Reranker):
    """Scores a response by sum over members of weight * (score - mean) / std.

    Mean and standard deviation are the member's own settings, or else those of its scores of the prompt's distinct
    responses. A list to which a member gives one score throughout gets nothing from it. What one member cannot score
    has no score, and is left out of the statistics.
    """

    def __init__(self, config: EnsembleConfig, members: Sequence[Reranker]) -> None:
        """`members`: the rerankers of `config.members`, in their order."""
        self._members = list(zip(config.members, members, strict=True))
        self.list_relative = config.list_relative
        self.name = "ensemble(" + " + ".join(_part(*pair) for pair in self._members) + ")"

    def score(self, items: Sequence[Scorable]) -> list[float | None]:
        """Score each item, against the other responses to its prompt_id where a member has no fixed mean and std.

        Raises:
            LarpoError: a member's score is not a finite number.
        """
        scored = [_finite(member, items) for _, member in self._members]
        complete = [i for i in range(len(items)) if all(scores[i] is not None for scores in scored)]
        totals: list[float | None] = [None] * len(items)
        columns = [
            standardised([items[i] for i in complete], [_known(scores[i]) for i in complete], settings)
            for (settings, _), scores in zip(self._members, scored, strict=True)
        ]
        for place, i in enumerate(complete):
            weighted = (
                part[place] * settings.weight for part, (settings, _) in zip(columns, self._members, strict=True)
            )
            totals[i] = math.fsum(weighted)
        return totals

    def cut(self, items: Sequence[Scorable]) -> dict[str, int]:
        """What its members cut, added up."""
        total: Counter[str] = Counter()
        for _, member in self._members:
            total.update(member.cut(items))
        return dict(total)


def standardised(items: Sequence[Scorable], scores: Sequence[float], member: EnsembleMember) -> list[float]:
    """`scores` of `items` less their mean, over their standard deviation, by the member's settings or list by list."""
    if member.mean is not None and member.std is not None:
        return [(score - member.mean) / member.std for score in scores]
    lists: dict[str, dict[str, float]] = {}
    for item, score in zip(items, scores, strict=True):
        lists.setdefault(item.prompt_id, {})[item.response] = score
    statistics = {prompt_id: _mean_and_std(list(own.values())) for prompt_id, own in lists.items()}
    found = []
    for item, score in zip(items, scores, strict=True):
        mean, std = statistics[item.prompt_id]
        found.append((score - mean) / std if std else 0.0)
    return found


def _finite(member: Reranker, items: Sequence[Scorable]) -> list[float | None]:
    """A member's scores; in the sum one that is not finite would be the ensemble's, and of a whole list."""
    scores = member.score(items)
    for item, score in zip(items, scores, strict=True):
        if score is not None and not math.isfinite(score):
            raise LarpoError(
                f"{member.name} scored a response to prompt {item.prompt_id} as {score}: {item.response[:60]!r}",
                remedy="Load this member of the ensemble in float32, or check its weights",
            )
    return scores


def _mean_and_std(values: Sequence[float]) -> tuple[float, float]:
    """Mean and population standard deviation, which is exactly 0 of equal values."""
    mean = math.fsum(values) / len(values)
    if min(values) == max(values):
        return mean, 0.0
    return mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values))


def _known(score: float | None) -> float:
    assert score is not None, "only what every member scored is standardised"
    return score


def _part(settings: EnsembleMember, member: Reranker) -> str:
    """A member's name with all that decides its part of the sum, so that other sums have other names."""
    fixed = "" if settings.mean is None else f" less {settings.mean:g} over {settings.std:g}"
    return f"{settings.weight:g} {member.name}{fixed}"
