"""Answers that no server would give: each is taken as what it says, or refused by an EndpointError of one line."""

import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest
from fuzzing import few, is_one_line
from hypothesis import given
from hypothesis import strategies as st
from server_double import Reply, ServerDouble, serve
from small_models import user

from larpo_lib.config import EndpointConfig, ModelConfig
from larpo_lib.endpoint import Endpoint
from larpo_lib.errors import ConfigError, EndpointError
from larpo_lib.judging.completions import completions
from larpo_lib.models.chat import prompt_ids
from larpo_lib.models.model_dir import ModelDir
from larpo_lib.rewards.rerankers import Scorable, make_reranker
from larpo_lib.rewards.rerankers.http import HttpRerankerConfig
from larpo_lib.samplers import Request, SamplingLimits, make_sampler
from larpo_lib.samplers.openai import OpenAiSamplerConfig
from larpo_lib.served_models import check_served

PLAIN = st.none() | st.booleans() | st.integers(-2, 3) | st.integers() | st.floats() | st.text(max_size=3)
NAMES = ["id", "data", "index", "score", "choices", "message", "content", "usage", "completion_tokens", "finish_reason"]
NAMES += ["token_ids", "prompt_token_ids", "error", "detail", "code", "max_model_len", "reasoning"]
ANY = st.recursive(
    PLAIN,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.sampled_from(NAMES), below, max_size=4),
    max_leaves=8,
)
PLACES = st.lists(st.fixed_dictionaries({"index": st.integers(-1, 3), "score": PLAIN}), max_size=3)
IDS = st.lists(st.integers(-1, 40) | st.integers(), max_size=5) | st.none()
CHOICE = st.fixed_dictionaries(
    {"message": st.fixed_dictionaries({"content": PLAIN}), "finish_reason": st.sampled_from(["stop", "length", "x"])},
    optional={"token_ids": IDS},
)
LIKELY = st.fixed_dictionaries(
    {"choices": st.lists(CHOICE, min_size=1, max_size=2)},
    optional={"usage": st.fixed_dictionaries({"completion_tokens": PLAIN})},
)
BODIES = (ANY | PLACES | PLACES.map(lambda places: {"data": places}) | LIKELY).map(
    lambda body: json.dumps(body).encode()
)
HEADERS = st.dictionaries(
    st.sampled_from(["content-encoding", "retry-after", "content-type"]),
    st.sampled_from(
        ["gzip", "deflate", "br", "identity", "-1", "9" * 400, "Mon, 01 Jan 0001 00:00:00 GMT", "text/html"]
    ),
)
ASKED = Request("p", user("Hi"), 1.0, 0)
REPLIES = st.builds(
    Reply,
    BODIES | st.binary(max_size=8) | BODIES.map(gzip.compress) | st.just(b"[" * 5000),
    st.sampled_from([200, 200, 200, 201, 204, 301, 400, 401, 404, 413, 422, 429, 500, 503]),
    HEADERS,
)


@pytest.fixture(scope="module")
def server() -> Iterator[ServerDouble]:
    with serve(lambda _: Reply({})) as double:
        yield double


def told(work: Any) -> tuple[Any, str]:
    """What is made, and what is told where nothing is."""
    try:
        return work(), ""
    except (ConfigError, EndpointError) as error:
        return None, str(error)


@pytest.fixture(scope="module")
def sampler(server: ServerDouble, tiny_policy: Any) -> Any:
    """It asks for token ids, of 4 at most."""
    server.answer = lambda _: Reply({"data": [{"id": "tiny"}]})
    model = ModelConfig(device="cpu")
    config = OpenAiSamplerConfig(base_url=server.url, served_model="tiny", token_ids=True, model=model, retries=0)
    return make_sampler(config, tiny_policy, SamplingLimits(64, 4, 1.0))


@few
@given(REPLIES)
def test_any_answer_is_taken_or_refused(server: ServerDouble, sampler: Any, reply: Reply) -> None:
    config = EndpointConfig(base_url=server.url, retries=0, timeout_s=5.0)
    server.answer = lambda _: Reply({})
    reranker = make_reranker(HttpRerankerConfig(api="tei_rerank", base_url=server.url, retries=0))
    server.answer = lambda _: reply
    found, problem = told(lambda: reranker.score([Scorable("p", user("Hi"), text) for text in "ab"]))
    assert problem or all(score is None or abs(score) < float("inf") for score in found)
    problems = [
        problem,
        told(lambda: sampler.sample([ASKED]))[1],
        told(lambda: completions(config).ask([{}]))[1],
        told(lambda: Endpoint(config, "x", dict[str, Any]).get())[1],
        told(lambda: check_served(config, "models", "tiny", "model", tokens=5))[1],
    ]
    assert all(map(is_one_line, problems))


@few
@given(LIKELY)
def test_a_response_has_tokens_of_the_policy(
    server: ServerDouble, sampler: Any, tiny_policy: Any, body: dict[str, Any]
) -> None:
    policy = ModelDir(tiny_policy, ModelConfig(device="cpu"))
    right = {**body, "prompt_token_ids": prompt_ids(sampler._tokenizer, user("Hi"))}
    server.answer = lambda _: Reply(right)
    found, problem = told(lambda: sampler.sample([ASKED]))
    assert is_one_line(problem)
    for response in found or ():
        assert len(response.token_ids) == response.num_tokens <= 4
        assert all(0 <= token < policy.vocab_size for token in response.token_ids)
