"""The sampler and the reranker that ask servers, against vLLM's real one."""

import json
import random

import pytest
import torch
from served_model import served
from transformers import AutoConfig, AutoTokenizer, LlamaForSequenceClassification

from larpo_lib.config import ModelConfig
from larpo_lib.errors import InputTooLongError
from larpo_lib.playground.policy import make_policy
from larpo_lib.playground.problems import demonstrate, make_problems, vocabulary
from larpo_lib.rewards.rerankers import Scorable, make_reranker
from larpo_lib.rewards.rerankers.classifier import ClassifierConfig
from larpo_lib.rewards.rerankers.http import HttpRerankerConfig
from larpo_lib.samplers import Request, SamplingLimits, make_sampler
from larpo_lib.samplers.hf import HfSamplerConfig
from larpo_lib.samplers.openai import OpenAiSamplerConfig

PLAIN = ModelConfig(device="cpu")
LIMITS = SamplingLimits(64, 24, 1.0)
END = 4
PROBLEMS = make_problems(24, random.Random(0))
PAIRS = (
    "{% for message in messages %}{{ '<user>' if message['role'] in ['user', 'query'] else '<assistant>' }}"
    "{{ message['content'] }}{% if message['role'] in ['assistant', 'document'] %}{{ '<end>' }}{% endif %}{% endfor %}"
)
"""The world's chat template, which also knows the roles that vLLM gives the parts of a pair."""


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    directory = tmp_path_factory.mktemp("served") / "policy"
    make_policy(directory, vocabulary(), 0, hidden=64, layers=2, heads=2)  # vLLM's attention on CPUs takes heads of 32
    settings = directory / "generation_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"repetition_penalty": 5.0}))  # no sampler's own
    return directory


@pytest.fixture(scope="module")
def classifier(policy, tmp_path_factory):
    directory = tmp_path_factory.mktemp("served") / "classifier"
    config = AutoConfig.from_pretrained(policy)
    config.num_labels = 1
    torch.manual_seed(1)
    model = LlamaForSequenceClassification(config)
    torch.nn.init.normal_(model.score.weight, std=1.0)
    model.save_pretrained(directory)
    AutoTokenizer.from_pretrained(policy).save_pretrained(directory)
    return directory


@pytest.fixture(scope="module")
def policy_url(policy, tmp_path_factory):
    with served(policy, tmp_path_factory.mktemp("log") / "policy.log") as url:
        yield url


@pytest.fixture(scope="module")
def classifier_url(classifier, tmp_path_factory):
    place = tmp_path_factory.mktemp("log")
    (place / "pairs.jinja").write_text(PAIRS)
    options = ("--runner", "pooling", "--chat-template", str(place / "pairs.jinja"))
    with served(classifier, place / "classifier.log", *options) as url:
        yield url


def _requests(count, temperature):
    questions = [[{"role": "user", "content": problem.question}] for problem in PROBLEMS]
    return [Request(f"p{i}", questions[i % len(questions)], temperature, 2**62 + i) for i in range(count)]


def _openai(url, policy, *, token_ids):
    config = OpenAiSamplerConfig(base_url=f"{url}/v1", served_model="tiny", token_ids=token_ids, model=PLAIN)
    return make_sampler(config, policy, LIMITS)


def test_greedy_responses_are_the_hf_samplers_token_for_token(policy, policy_url):
    requests = _requests(24, 0.0)
    expected = make_sampler(HfSamplerConfig(model=PLAIN), policy, LIMITS).sample(requests)
    assert _openai(policy_url, policy, token_ids=True).sample(requests) == expected


def test_greedy_texts_are_the_hf_samplers_but_for_spaces_without_token_ids(policy, policy_url):
    requests = _requests(24, 0.0)
    expected = make_sampler(HfSamplerConfig(model=PLAIN), policy, LIMITS).sample(requests)
    texts = _openai(policy_url, policy, token_ids=False).sample(requests)
    # vLLM puts spaces where the tokenizer's own decoding leaves them out.
    assert ["".join(response.text.split()) for response in texts] == [
        "".join(response.text.split()) for response in expected
    ]
    assert [response.num_tokens for response in texts] == [response.num_tokens for response in expected]


def test_the_end_of_turn_token_is_among_the_sampled_ones(policy, policy_url):
    responses = _openai(policy_url, policy, token_ids=True).sample(_requests(200, 1.0))
    stopped = [response for response in responses if response.finish_reason == "stop"]
    assert 20 < len(stopped) < 180
    assert {response.token_ids[-1] for response in stopped} == {END}
    assert not any(END in response.token_ids[:-1] for response in responses)
    assert {len(response.token_ids) for response in responses if response.finish_reason == "length"} == {24}


def test_a_seed_decides_its_response_whatever_is_drawn_beside_it(policy, policy_url):
    requests = _requests(100, 1.0)
    sampler = _openai(policy_url, policy, token_ids=True)
    one, other = sampler.sample(requests), sampler.sample(requests[::-1])[::-1]
    assert one == other
    assert len({response.text for response in one}) > 90


def test_what_is_too_long_for_the_server_is_told_apart(policy, policy_url):
    long = Request("long", [{"role": "user", "content": "many " * 300}], 0.0, 1)
    with pytest.raises(InputTooLongError, match="maximum context length is 256 tokens"):
        _openai(policy_url, policy, token_ids=True).sample([long])


@pytest.mark.parametrize("api", ["vllm_pooling", "vllm_score"])
def test_scores_are_the_classifier_rerankers(classifier, classifier_url, api):
    rng = random.Random(1)
    items = [
        Scorable(request.prompt_id, request.messages, demonstrate(problem, rng))
        for request, problem in zip(_requests(24, 0.0), PROBLEMS, strict=True)
    ]
    expected = make_reranker(ClassifierConfig(path=str(classifier), model=PLAIN)).score(items)
    reranker = make_reranker(HttpRerankerConfig(base_url=classifier_url, api=api, served_model="tiny"))
    assert reranker.score(items) == pytest.approx(expected, abs=1e-4)
    assert max(expected) - min(expected) > 1
    long = Scorable("long", items[0].messages, "many " * 300)
    assert reranker.score([items[0], long]) == [pytest.approx(expected[0], abs=1e-4), None]
