"""Scores lists of responses by a judge."""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import NamedTuple

from larpo_lib.judging.completions import completions
from larpo_lib.judging.decisions import Decisions, shared_decisions
from larpo_lib.rewards.answers import Scorable
from larpo_lib.rewards.rerankers import Reranker
from larpo_lib.rewards.rerankers.judge.asking import Asking, played
from larpo_lib.rewards.rerankers.judge.questions import Questions
from larpo_lib.rewards.rerankers.judge.templates import has_control
from larpo_lib.rewards.rerankers.llm_judge import LlmJudgeRerankerConfig


class _Judged(NamedTuple):
    """What became of some items: scores by prompt_id and response, and counts."""

    items: Sequence[Scorable]
    scores: Mapping[tuple[str, str], float | None]
    counts: dict[str, int]


class LlmJudgeReranker(Reranker):
    """Scores responses by a language model; equal texts are one response.

    Raises:
        ConfigError: as `Questions`; or the environment lacks the key.
    """

    def __init__(self, config: LlmJudgeRerankerConfig) -> None:
        self._questions = Questions(config)
        self._asking = Asking(config, self._questions, completions(config))
        self._kept = ExitStack()
        self._store: Decisions | None = None
        self._last = _Judged((), {}, {})
        self.name, self.list_relative = self._questions.name, config.list_relative

    def score(self, items: Sequence[Scorable]) -> list[float | None]:
        """Score each item, against the other responses to its prompt_id unless the mode is pointwise.

        None: the judge says that it is too long, or what it says cannot be read.

        Raises:
            LarpoError: none of the first replies can be read; or as `Questions.lists`.
            EndpointError: a request failed for good. The decisions before it are stored.
        """
        scores = self._judged(items).scores
        return [scores[item.prompt_id, item.response] for item in items]

    def cut(self, items: Sequence[Scorable]) -> dict[str, int]:
        """How many questions about these items were decided, could not be read, and what else there was to count."""
        return dict(self._judged(items).counts)

    def _judged(self, items: Sequence[Scorable]) -> _Judged:
        if self._last.items != list(items):
            lists = self._questions.lists(items)
            plays = {prompt_id: self._questions.play(one) for prompt_id, one in lists.items()}
            counts: Counter[str] = Counter()
            outcomes = played(plays, lambda texts: self._asking.readings(texts, self._opened(), counts))
            scores: dict[tuple[str, str], float | None] = {}
            for prompt_id, one in lists.items():
                counts.update(outcomes[prompt_id].counts)
                own = zip(one.responses, outcomes[prompt_id].scores, strict=True)
                scores |= {(prompt_id, response): score for response, score in own}
                counts["judge_texts_with_control_tokens"] += sum(map(has_control, one.texts))
            self._last = _Judged(list(items), scores, dict(counts))
        return self._last

    def _opened(self) -> Decisions:
        """The store, open for as long as this reranker is there, with what others have added to it."""
        if self._store is None:
            self._store = self._kept.enter_context(shared_decisions(self._questions.folder))
        self._store.read_others(self._questions.folder)
        return self._store
