"""A language model behind a server as a reranker: an LLM judge."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, JsonValue, NonNegativeFloat, PositiveInt, model_validator

from larpo_lib.config.benchmarks import LlmJudgeConfig
from larpo_lib.config.kinds import SingleRerankerConfig, Thinking
from larpo_lib.config.mixins import Seeded
from larpo_lib.rewards.answers import Scorable
from larpo_lib.rewards.rerankers import Reranker

_RUBRIC = "A good response does what the prompt asks, is correct, is clear, and holds neither false claims nor padding."


class LlmJudgeRerankerConfig(SingleRerankerConfig, LlmJudgeConfig, Seeded):
    """A language model on an OpenAI-compatible server that grades, compares or ranks responses.

    Each decision is stored as it arrives and never paid for twice, not even by another run.
    """

    does: ClassVar[str] = "grades, comparisons or rankings by a language model on a server"
    when: ClassVar[str] = "you can say in words what is good, and a large model can judge it"
    packages: ClassVar[tuple[str, ...]] = ("httpx2", "tenacity")
    execution: ClassVar[frozenset[str]] = frozenset({"decisions"})
    first: ClassVar[tuple[str, ...]] = ("type", "mode", "base_url", "model", "rubric", "template")

    type: Literal["llm_judge"] = "llm_judge"
    mode: Literal["pointwise", "pairwise", "listwise"] = "pointwise"
    """`pointwise`: a grade for each response by itself. `pairwise`: pairs of responses, each pair in both orders.
    `listwise`: rankings of the whole list, in an order drawn by chance and in its reverse. The last two are
    list-relative and score from 0 to 1."""
    rubric: str = Field(_RUBRIC, min_length=1)
    """What makes a response good; the template's {rubric}."""
    template: str | None = None
    """What the judge is asked: the path of a text file, or the text itself, which has places such as {prompt}; see the
    guide. Not set: larpo's own."""
    lowest_grade: int = Field(1, ge=0, le=9)
    """The worst grade (`pointwise`). Grades have one digit, so that each is one token of every model."""
    highest_grade: int = Field(5, ge=0, le=9)
    """The best grade (`pointwise`)."""
    top_logprobs: int = Field(20, ge=0, le=20)
    """Number of tokens whose probabilities are asked for, so that the score is the expected grade (`pointwise`). 0:
    none are, and the score is the grade that is written."""
    max_comparisons: PositiveInt | None = None
    """Maximum number of pairs that are compared for one prompt (`pairwise`). If there are more, the responses meet in
    the rounds of a Swiss tournament. Not set: all pairs."""
    window: int = Field(20, ge=2)
    """Maximum number of responses in one question (`listwise`)."""
    window_step: PositiveInt = 10
    """How many places a window is before the last one (`listwise`); less than `window`."""
    temperature: NonNegativeFloat = 0.0
    """Sampling temperature of the judge."""
    max_tokens: PositiveInt = 512
    """Maximum tokens of a reply. A judge that thinks needs more."""
    request: dict[str, JsonValue] = Field(default_factory=dict)
    """Further fields of the requests, such as `reasoning_effort` or `chat_template_kwargs`. They replace those of the
    same name, and `max_completion_tokens` replaces `max_tokens`."""
    attempts: PositiveInt = 1
    """Maximum number of times that a question is asked until the reply can be read. More than one is of use only with a
    temperature above 0."""
    thinking: Thinking = "strip"
    decisions: str | None = None
    """Directory that keeps the judge's decisions. Not set: `decisions` in larpo's cache (LARPO_CACHE)."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.lowest_grade >= self.highest_grade:
            raise ValueError("lowest_grade must be less than highest_grade")
        if self.window_step >= self.window:
            raise ValueError("window_step must be less than window")
        taken = [name for name in ("model", "messages", "n", "stream") if name in self.request]
        if taken:
            raise ValueError(f"request must not contain {taken[0]}")
        return self

    def identity(self) -> dict[str, Any]:
        """Neither a template nor its place is part of it: its content is, which steps read as an input."""
        return {**super().identity(), "template": None if self.template is None else "given"}

    @property
    def list_relative(self) -> bool:
        """Grades hold by themselves; what comes of comparisons holds within the list."""
        return self.mode != "pointwise"

    @property
    def beyond_one(self) -> str | None:
        """Grades may; win rates and shares of places do not."""
        if self.list_relative or self.highest_grade <= 1:
            return None
        return f"the judge's grades go up to {self.highest_grade}"

    def models(self) -> dict[str, Path]:
        """A file with the template."""
        from larpo_lib.rewards.rerankers.judge.templates import template_file

        return {} if self.template is None else {"reranker": template_file(self.template)}

    def most_calls(self, size: int) -> int:
        """As the mode says, each question as often as it may be asked."""
        from larpo_lib.rewards.rerankers.judge.questions import mode_of

        return self.attempts * mode_of(self).most_calls(size)

    def most_shown(self, size: int) -> int:
        """As the mode says."""
        return min(size, {"pointwise": 1, "pairwise": 2, "listwise": self.window}[self.mode])

    def foresee(self, label: str, lists: Iterable[Sequence[Scorable]]) -> None:
        """Tell the calls that are not stored yet; refuse more than `max_calls`."""
        from larpo_lib.rewards.rerankers.judge.foresight import foresee

        foresee(self, label, lists)

    def make(self) -> Reranker:
        """The judge is asked when there is something to score."""
        from larpo_lib.rewards.rerankers.judge.reranker import LlmJudgeReranker

        return LlmJudgeReranker(self)

    def check(self) -> None:
        """That the template can be used, and that the server answers and serves the model."""
        from larpo_lib.judging.completions import check_judge
        from larpo_lib.rewards.rerankers.judge.questions import Questions

        Questions(self)
        own = self.request.keys() & {"max_tokens", "max_completion_tokens"}
        check_judge(self, retries=0, tokens=0 if own else self.max_tokens)
