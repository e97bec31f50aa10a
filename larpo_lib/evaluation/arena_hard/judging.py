"""Buys the judge's verdicts on answers in two games each: the baseline's answer comes first, then the model's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from larpo_lib.endpoint import Endpoint
from larpo_lib.errors import LarpoError
from larpo_lib.evaluation.arena_hard.files import Answer as Written
from larpo_lib.evaluation.arena_hard.files import Question
from larpo_lib.evaluation.arena_hard.prompts import judging, label
from larpo_lib.evaluation.arena_hard.settings import ArenaHardConfig
from larpo_lib.judging import completions
from larpo_lib.judging.decisions import Answer, Decisions
from larpo_lib.judging.unreadable import Unreadable, none_read

_REMEDY = (
    "Set arena_hard.judge to a model that ends its judgement with a verdict such as [[A>B]]; increase "
    "arena_hard.judge_max_tokens for one that thinks first"
)


@dataclass(frozen=True)
class Game:
    """What the judge writes, and the label that it gives; None: it cannot be read."""

    text: str
    label: str | None

    @classmethod
    def of(cls, answer: Answer) -> Self:
        """Read an answer; one that may be all thoughts gives no label."""
        text = completions.text(answer)
        return cls(text, None if completions.may_be_thoughts(answer) else label(text))


Games = tuple[Game | None, Game | None]
"""Those on a pair; None: too long for the judge."""


@dataclass(frozen=True)
class Pair:
    """A question with the baseline's answer and the model's."""

    question: Question
    baseline: Written
    model: Written


def judge_pairs(
    config: ArenaHardConfig, pairs: Sequence[Pair], store: Decisions, endpoint: Endpoint[Answer]
) -> list[tuple[Pair, Games]]:
    """Each pair with both games, in their order.

    Raises:
        ConfigError: more decisions are needed than allowed.
        EndpointError: a request failed for good. The decisions before it are stored.
        LarpoError: not one verdict can be read.
    """
    requests = [request for pair in pairs for request in _games(config, pair)]
    guard = Unreadable(lambda answer: Game.of(answer).label is not None, _REMEDY)
    answers = store.ask(endpoint, requests, label="arena_hard, judging", look=guard.look)
    games = [None if answer is None else Game.of(answer) for answer in answers]
    said = [game for game in games if game is not None]
    if not any(game.label for game in said):
        if not said:
            raise LarpoError(
                f"the judge's server rejects all {len(games)} requests as too long",
                remedy="Set arena_hard.judge_max_tokens so that prompts and judgements fit into the judge's context",
            )
        raise none_read(f"none of the {len(said)} judgements can be read", said[-1].text, _REMEDY)
    return [*zip(pairs, zip(games[::2], games[1::2], strict=True), strict=True)]


def _games(config: ArenaHardConfig, pair: Pair) -> list[Mapping[str, Any]]:
    limits = {"temperature": config.judge_temperature, "max_tokens": config.judge_max_tokens}
    settings = {name: value for name, value in limits.items() if value != "server"}
    return [
        {
            "model": config.judge.model,
            "messages": judging(pair.question.category, pair.question.prompt, *order),
            **settings,
        }
        for order in ((pair.baseline.text, pair.model.text), (pair.model.text, pair.baseline.text))
    ]
