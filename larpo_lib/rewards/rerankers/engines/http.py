"""A reward model behind a server.

`vllm_pooling` sends the conversation, and the server applies the reward model's chat template. `tei_rerank` and
`vllm_score` send pairs of a query and a text, for models that were trained on such pairs: the query is the prompt, the
text is the response.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, FiniteFloat

from larpo_lib.endpoint import Endpoint
from larpo_lib.errors import InputRefusedError
from larpo_lib.rewards.rerankers import Reranker, Scorable
from larpo_lib.rewards.rerankers.engines.query import query_text
from larpo_lib.rewards.rerankers.http import HttpRerankerConfig
from larpo_lib.schemas import Messages
from larpo_lib.served_models import check_served


class _Place(BaseModel):
    index: int = Field(ge=0, lt=2**31)
    score: FiniteFloat


class _Places(BaseModel):
    data: list[_Place]


class _Pooled(BaseModel):
    data: list[FiniteFloat]


class _Pool(BaseModel):
    data: list[_Pooled]


@dataclass(frozen=True)
class _Batch:
    """Distinct responses to one prompt that are scored by one request."""

    messages: Messages
    responses: tuple[str, ...]


@dataclass(frozen=True)
class _Api:
    """What a kind of server is asked.

    Attributes:
        path: of the route.
        several: whether one request may hold several responses to its prompt.
        payload: a batch's request, but for the model's name.
        answer: type of an answer.
        scores: the scores of an answer, each with the place of its response; as many as it holds.
    """

    path: str
    several: bool
    payload: Callable[[_Batch], dict[str, Any]]
    answer: Any
    scores: Callable[[Any], list[tuple[int, float]]]


def _conversation(batch: _Batch) -> list[dict[str, str]]:
    (response,) = batch.responses
    return [*batch.messages, {"role": "assistant", "content": response}]


_RAW = {"use_activation": False, "activation": False}
"""Scores without a sigmoid: vLLM renamed it in 0.11.1, and ignores fields that it does not know."""

_APIS: dict[str, _Api] = {
    "tei_rerank": _Api(
        path="rerank",
        several=True,
        payload=lambda batch: {
            "query": query_text(batch.messages),
            "texts": list(batch.responses),
            "raw_scores": True,  # not squeezed by a sigmoid
            "truncate": False,
        },
        answer=list[_Place],
        scores=lambda answer: [(place.index, place.score) for place in answer],
    ),
    "vllm_score": _Api(
        path="score",
        several=True,
        payload=lambda batch: {
            "text_1": query_text(batch.messages),
            "text_2": list(batch.responses),
            **_RAW,
        },
        answer=_Places,
        scores=lambda answer: [(place.index, place.score) for place in answer.data],
    ),
    "vllm_pooling": _Api(
        path="pooling",
        several=False,
        payload=lambda batch: {"messages": _conversation(batch), "task": "classify", "use_activation": False},
        answer=_Pool,
        scores=lambda answer: list(enumerate(score for pooled in answer.data for score in pooled.data)),
    ),
}


def check_scoring_server(config: HttpRerankerConfig, retries: int | None = None) -> None:
    """Check that the server answers and, if it is vLLM's, serves the model.

    Args:
        config: the server and the model's name.
        retries: instead of the settings' own.

    Raises:
        ConfigError: the key is not set, or the server serves other models.
        EndpointError: the server does not answer.
    """
    if config.api == "tei_rerank":
        Endpoint(config, "info", dict[str, Any], retries=retries).get()
        return
    check_served(config, "v1/models", config.served_model, "served_model", retries)


class HttpReranker(Reranker):
    """Scores responses by a reward model behind a server; each distinct response to a prompt is scored once.

    Raises:
        ConfigError, EndpointError: as `check_scoring_server`.
    """

    def __init__(self, config: HttpRerankerConfig) -> None:
        self.name = f"http-{config.served_model or urlsplit(config.base_url).netloc}"
        self._api = _APIS[config.api]
        self._config = config
        self._endpoint: Endpoint[Any] = Endpoint(config, self._api.path, self._api.answer)
        check_scoring_server(config)

    def score(self, items: Sequence[Scorable]) -> list[float | None]:
        """Score each item. None: the server says that it is too long, or its content filter refuses it.

        Raises:
            EndpointError: a request failed for good, or the model gives other than one score a response.
        """
        prompts: dict[str, Messages] = {}
        responses: dict[str, dict[str, None]] = {}
        keys = [json.dumps(item.messages) for item in items]
        for key, item in zip(keys, items, strict=True):
            prompts[key] = item.messages
            responses.setdefault(key, {})[item.response] = None
        size = self._config.texts_per_request if self._api.several else 1
        batches = [
            (key, _Batch(prompts[key], tuple(distinct)[start : start + size]))
            for key, distinct in responses.items()
            for start in range(0, len(distinct), size)
        ]
        scores = self._scores(batches)
        return [scores[key, item.response] for key, item in zip(keys, items, strict=True)]

    def _scores(self, batches: Sequence[tuple[str, _Batch]]) -> dict[tuple[str, str], float | None]:
        scores: dict[tuple[str, str], float | None] = {}
        apart = []
        answers = self._endpoint.ask([self._payload(batch) for _, batch in batches])
        for (key, batch), answer in zip(batches, answers, strict=True):
            if not isinstance(answer, InputRefusedError):
                scores |= {
                    (key, text): score for text, score in zip(batch.responses, self._read(batch, answer), strict=True)
                }
            elif len(batch.responses) == 1:
                scores[key, batch.responses[0]] = None
            else:  # one text is refused, and all with it; ask for each by itself
                apart += [(key, _Batch(batch.messages, (text,))) for text in batch.responses]
        return scores | self._scores(apart) if apart else scores

    def _payload(self, batch: _Batch) -> dict[str, Any]:
        model = {} if self._config.served_model is None else {"model": self._config.served_model}
        return {**model, **self._api.payload(batch)}

    def _read(self, batch: _Batch, answer: Any) -> list[float]:
        scores, wanted = sorted(self._api.scores(answer)), len(batch.responses)
        if len(scores) != wanted:
            remedy = "Serve a reward model: a classifier with one label"
            raise self._endpoint.refuse(f"returned {len(scores)} scores for {wanted} responses", remedy)
        places = [place for place, _ in scores]
        if places != list(range(wanted)):
            wrong = next(place for number, place in enumerate(places) if place != number)
            problem = f"returned a score for response {wrong}, of {wanted} from 0, that it should not, or twice"
            raise self._endpoint.refuse(problem, "Check what the server is")
        return [score for _, score in scores]
