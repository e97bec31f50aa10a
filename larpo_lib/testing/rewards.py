"""The check of a reward function of one's own."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from larpo_lib.rewards.answers import Scorable
from larpo_lib.rewards.functions import RewardFunction
from larpo_lib.rewards.rerankers.function import FunctionReranker, FunctionRerankerConfig
from larpo_lib.schemas import prompt_id
from larpo_lib.targets import Loaded

_OWN = ("prompt", "response", "reference")


def check_reward(
    function: Callable[..., Any], rows: Sequence[Mapping[str, Any]], settings: Mapping[str, Any] | None = None
) -> list[float | None]:
    """Check that a reward function gives the same scores however the responses are put to it.

    In another order, a second time, and each response alone (each list, of a list-relative one) the scores must be the
    same: larpo scores responses in batches that depend on what else is scored, and a stopped run may score some anew.

    Args:
        function: as `rerank.reranker` of type `function` takes it.
        rows: at least one, each with a `prompt` (a text or messages), a `response`, perhaps a `reference`, and whatever
            further columns the function takes. Rows of one prompt are a list.
        settings: its further keywords.

    Returns:
        The scores.

    Raises:
        AssertionError: a score changes.
        LarpoError: the function cannot be called like this, raises, or gives what is no score.
    """
    config = FunctionRerankerConfig(target=f"{__name__}:{check_reward.__name__}", settings=dict(settings or {}))
    file = Path(inspect.getsourcefile(inspect.unwrap(function)) or __file__)
    reranker = FunctionReranker(RewardFunction(config, Loaded(function, function.__name__, file, "")))
    items = [_scorable(row) for row in rows]
    scores = reranker.score(items)
    _same(scores, reranker.score(items), items, "a second time")
    _same(scores, reranker.score(items[::-1])[::-1], items, "in another order")
    alone: dict[int, float | None] = {}
    for places in _apart(items, reranker.list_relative):
        alone.update(zip(places, reranker.score([items[place] for place in places]), strict=True))
    how = "apart from other prompts' responses" if reranker.list_relative else "alone"
    _same(scores, [alone[place] for place in range(len(items))], items, how)
    return scores


def _scorable(row: Mapping[str, Any]) -> Scorable:
    prompt = row["prompt"]
    messages: Any = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    columns = {name: value for name, value in row.items() if name not in _OWN}
    return Scorable(prompt_id(messages), messages, row["response"], row.get("reference"), columns)


def _apart(items: Sequence[Scorable], list_relative: bool) -> list[list[int]]:
    groups: dict[Any, list[int]] = {}
    for place, item in enumerate(items):
        groups.setdefault(item.prompt_id if list_relative else place, []).append(place)
    return list(groups.values())


def _same(scores: Sequence[float | None], others: Sequence[float | None], items: Sequence[Scorable], how: str) -> None:
    for item, score, other in zip(items, scores, others, strict=True):
        assert score == other, f"the score of {item.response!r:.80} is {score}, but {other} {how}"
