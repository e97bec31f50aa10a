"""One config class per reranker; `type` is its name.

`list_relative` says whether a score holds only within the list it was given in.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from larpo_lib.config.base import ModelConfig, Section
from larpo_lib.config.endpoint import EndpointConfig
from larpo_lib.config.inheritance import Inherited


class VerifierConfig(Section):
    """Checks the final answer of a response against the reference's.

    `exact`: 1 if it is right, else 0; answers are numbers, or tuples, lists, times and ranges of them. `math`: the same
    of expressions, intervals, sets, units and words. `graded`: a weighted sum of the right final answer, as in `exact`,
    of the share of stated equations that hold, and of stating a final answer at all.
    """

    list_relative: ClassVar[bool] = False

    type: Literal["verifier"] = "verifier"
    mode: Literal["exact", "math", "graded"] = "graded"
    answer_weight: NonNegativeFloat = 0.6
    steps_weight: NonNegativeFloat = 0.3
    format_weight: NonNegativeFloat = 0.1

    @property
    def highest(self) -> float:
        """The highest reward there is; the lowest is 0."""
        return 1.0 if self.mode != "graded" else self.answer_weight + self.steps_weight + self.format_weight


Thinking = Literal["strip", "keep"]
"""What a reward model gets of a response that begins with thoughts, `<think>...</think>`.

`strip`: the reply behind them, as chat templates of thinking models write a history. `keep`: all of it, with the
`<think>` that a template opened in the prompt put back. Without a reply, which is counted, `strip` gives an empty one.
"""


class ClassifierConfig(Section):
    """Any AutoModelForSequenceClassification with one label as a reward model."""

    list_relative: ClassVar[bool] = False
    execution: ClassVar[frozenset[str]] = frozenset({"batch_tokens"})

    type: Literal["classifier"] = "classifier"
    path: str
    model: Annotated[ModelConfig, Inherited("model.date", into="date")] = ModelConfig()
    input: Literal["auto", "chat", "text", "pair"] = "auto"
    """What the model reads. `chat`: the chat template's text, whose special tokens are the template's own. `text`: the
    chat template's text, with the tokenizer's special tokens. `pair`: the prompt and the response as the tokenizer puts
    a pair together, such as [CLS] prompt [SEP] response [SEP]. `auto`: decoders read `chat`; encoders read `pair`, or
    where there is a chat template `text`."""
    last_token: Literal["not_pad", "end"] = "not_pad"  # noqa: S105 - no password
    """Which token's score a decoder gives. `not_pad`: the last one that is not the model's pad token, as transformers
    and TRL have it; where that token ends turns too it is the one before. `end`: the last one, whatever it is, as
    OpenRLHF has it."""
    thinking: Thinking = "strip"
    batch_tokens: PositiveInt = 16384
    """Tokens, padding included, scored at one time."""
    max_tokens: PositiveInt = 2048
    """Longer conversations are dropped and counted."""


class PairRmConfig(Section):
    """PairRM: compares the responses of a list two by two (LLM-Blender, arXiv 2306.02561)."""

    list_relative: ClassVar[bool] = True
    execution: ClassVar[frozenset[str]] = frozenset({"batch_tokens"})

    type: Literal["pairrm"] = "pairrm"
    path: str
    """Directory of a PairRM model in Hugging Face's layout."""
    model: ModelConfig = ModelConfig()
    thinking: Thinking = "strip"
    batch_tokens: PositiveInt = 16384
    """Tokens, padding included, compared at one time."""
    max_source_tokens: int = Field(1224, ge=8)
    """Longer prompts are cut, special tokens included, and counted."""
    cut_source: Literal["end", "start"] = "end"
    """Where a prompt is cut. `end`: as the model was published. `start`: a long conversation keeps its last turns."""
    max_response_tokens: int = Field(412, ge=8)
    """Longer responses are cut at their end and counted. What the prompt leaves of its tokens, two responses share."""


class HttpRerankerConfig(EndpointConfig):
    """A reward model behind a server, such as TEI or vLLM.

    Its `base_url` is the server's own, without `/v1`: http://localhost:8000.
    """

    list_relative: ClassVar[bool] = False
    execution: ClassVar[frozenset[str]] = frozenset({"texts_per_request"})

    type: Literal["http"] = "http"
    api: Literal["vllm_pooling", "vllm_score", "tei_rerank"]
    """What the server is asked: vLLM's /pooling for a conversation, vLLM's /score or TEI's /rerank for pairs of prompt
    and response."""
    served_model: str | None = None
    """The model's name at the server, where it asks for one; also tells the rewards of one model from another's."""
    thinking: Thinking = "strip"
    texts_per_request: PositiveInt = 32
    """Responses to one prompt that a request of pairs may hold; TEI's own limit is 32."""

    def identity(self) -> dict[str, Any]:
        """Without a model's name the server's address is all that tells its rewards from another's."""
        address = {} if self.served_model is not None else {"base_url": self.base_url}
        return {**super().identity(), **address}


SingleRerankerConfig = Annotated[
    VerifierConfig | ClassifierConfig | PairRmConfig | HttpRerankerConfig, Field(discriminator="type")
]


class EnsembleMember(Section):
    """One reranker of an ensemble."""

    reranker: SingleRerankerConfig
    weight: float = 1.0
    """Of its standardised score in the sum."""
    mean: float | None = None
    """Taken off its scores before they are divided by `std`; null: the mean over the prompt's list."""
    std: PositiveFloat | None = None
    """Null: the standard deviation over the prompt's list."""

    @model_validator(mode="after")
    def _check(self) -> EnsembleMember:
        if (self.mean is None) != (self.std is None):
            raise ValueError("give both mean and std, or neither")
        return self

    @property
    def list_relative(self) -> bool:
        """Whether its part of the sum depends on the rest of the list."""
        return self.reranker.list_relative or self.mean is None


class EnsembleConfig(Section):
    """A weighted sum of the standardised scores of several rerankers."""

    type: Literal["ensemble"] = "ensemble"
    members: tuple[EnsembleMember, ...] = Field(min_length=2)

    @property
    def list_relative(self) -> bool:
        """Whether a score depends on the rest of the list: not if every member has a fixed mean and std."""
        return any(member.list_relative for member in self.members)


RerankerConfig = Annotated[
    VerifierConfig | ClassifierConfig | PairRmConfig | HttpRerankerConfig | EnsembleConfig, Field(discriminator="type")
]
