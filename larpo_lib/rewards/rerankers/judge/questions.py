"""What a judge is asked about lists of responses, by its settings."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from larpo_lib.caches import cache_dir
from larpo_lib.errors import ConfigError, LarpoError
from larpo_lib.judging.decisions import Answer
from larpo_lib.rewards.answers import Scorable
from larpo_lib.rewards.rerankers.engines.query import query_text
from larpo_lib.rewards.rerankers.judge.modes import Ask, Listwise, Mode, Pairwise, Play, Pointwise, drawn_order
from larpo_lib.rewards.rerankers.judge.templates import template_of
from larpo_lib.rewards.rerankers.llm_judge import LlmJudgeRerankerConfig


def mode_of(config: LlmJudgeRerankerConfig) -> Mode:
    """The way of judging that settings choose."""
    if config.mode == "pairwise":
        return Pairwise(config.max_comparisons)
    if config.mode == "listwise":
        return Listwise(config.window, config.window_step)
    return Pointwise(config.lowest_grade, config.highest_grade)


@dataclass(frozen=True)
class JudgedList:
    """A prompt with its distinct responses, in the order drawn for it."""

    item: Scorable
    responses: Sequence[str]

    @property
    def texts(self) -> list[str]:
        """All that the judge is shown of it, but for a reference."""
        return [query_text(self.item.messages), *self.responses]


class Questions:
    """What is asked about lists.

    Attributes:
        name: of the judge with all that decides what it says: model, mode, and a digest of the questions' form.
        folder: where its decisions are kept.

    Raises:
        ConfigError: the template cannot be read, or lacks a place.
    """

    def __init__(self, config: LlmJudgeRerankerConfig) -> None:
        self._template = template_of(config.mode, config.template)
        self._config, self._mode = config, mode_of(config)
        form = json.dumps([self._template.text, self._others(0), self.request("")], sort_keys=True, ensure_ascii=False)
        digest = hashlib.sha256(form.encode()).hexdigest()
        self.name = f"llm_judge-{config.mode} {config.model} {digest[:8]}"
        slug = re.sub(r"[^A-Za-z0-9.-]+", "-", config.model)[:60]
        root = cache_dir() / "decisions" if config.decisions is None else Path(config.decisions)
        self.folder = root / f"{slug}-{config.mode}-{digest[:16]}"

    def lists(self, items: Iterable[Scorable]) -> dict[str, JudgedList]:
        """The lists of some items, by prompt_id.

        Raises:
            LarpoError: the template asks for a reference, and a prompt has none.
            ConfigError: max_comparisons leaves a response without any.
        """
        grouped: dict[str, list[Scorable]] = {}
        for item in items:
            grouped.setdefault(item.prompt_id, []).append(item)
        return {prompt_id: self._list(prompt_id, group) for prompt_id, group in grouped.items()}

    def play(self, one: JudgedList) -> Play:
        """The judging of a list, as a generator of the texts that are asked."""
        return self._mode.play(one.responses, self._ask(one))

    def most_calls(self, one: JudgedList) -> int:
        """The most texts that are asked about a list, each once."""
        return self._mode.most_calls(len(one.responses))

    def request(self, text: str) -> dict[str, Any]:
        """The body of a request."""
        config = self._config
        body: dict[str, Any] = {
            "model": config.model,
            "messages": [{"role": "user", "content": text}],
            "temperature": config.temperature,
            "max_tokens": config.max_tokens,
        }
        if config.mode == "pointwise" and config.top_logprobs:
            body |= {"logprobs": True, "top_logprobs": config.top_logprobs}
        if "max_completion_tokens" in config.request:
            del body["max_tokens"]
        return body | config.request

    def read(self, answer: Answer) -> Any:
        """What an answer says; None: it cannot be read."""
        return self._mode.read(answer)

    def _list(self, prompt_id: str, items: Sequence[Scorable]) -> JudgedList:
        if self._template.needs_reference and items[0].reference is None:
            raise LarpoError(
                f"prompt {prompt_id}: has no reference, which the judge's template asks for",
                remedy="Set prepare.columns.reference, or remove {reference} from the template",
            )
        one = JudgedList(items[0], drawn_order([item.response for item in items], self._config.seed, prompt_id))
        size, most = len(one.responses), self._config.max_comparisons
        if self._config.mode == "pairwise" and most is not None and size > 1 and most < (size + 1) // 2:
            raise ConfigError(
                f"max_comparisons is {most}, but prompt {prompt_id} has {size} responses, so some would never be "
                "compared",
                remedy=f"Set it to at least {(size + 1) // 2}; two or three times as many give a finer order",
            )
        return one

    def _ask(self, one: JudgedList) -> Ask:
        texts: dict[str, str] = {"prompt": query_text(one.item.messages)}
        if self._template.needs_reference:
            texts["reference"] = one.item.reference or ""
        return partial(self._fill, texts)

    def _fill(self, texts: Mapping[str, str], **responses: Any) -> str:
        count = len(responses.get("responses", ()))
        return self._template.fill({**texts, **responses}, self._others(count))

    def _others(self, count: int) -> dict[str, str]:
        config = self._config
        return {
            "rubric": config.rubric,
            "lowest": str(config.lowest_grade),
            "highest": str(config.highest_grade),
            "count": str(count),
        }
