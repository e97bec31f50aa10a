"""Settings of the benchmark that measures a policy as a retriever, beside a retriever of documents."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, PositiveInt

from larpo_lib.config.base import ModelConfig
from larpo_lib.config.inheritance import Inherited
from larpo_lib.config.kinds import RetrieverConfig
from larpo_lib.config.mixins import Bootstrap, InParts


class RetrievalConfig(Bootstrap, InParts):
    """Measures the policy as a retriever of responses, and retrievers of documents in the same way."""

    execution: ClassVar[frozenset[str]] = frozenset({"batch_tokens"})

    model: Annotated[ModelConfig, Inherited("model", merge=True)] = ModelConfig()
    """How the policy is loaded, for its log-probabilities."""
    rank_by: Literal["logprob", "logprob_per_token"] = "logprob"
    """What the policy ranks its responses by: their log-probability, or the mean log-probability of their tokens."""
    batch_tokens: PositiveInt = 16384
    """Maximum tokens scored at the same time, including padding."""
    retrievers: tuple[RetrieverConfig, ...] = Field(default_factory=lambda: (RetrieverConfig.default(),))
    """Retrievers of documents to measure, if queries, a corpus and a relevance file are given."""
    depths: tuple[PositiveInt, ...] = Field((1, 2, 5, 10, 20, 50, 100), min_length=1)
    """The values of N at which the retrievers are measured: the number of documents they return."""
