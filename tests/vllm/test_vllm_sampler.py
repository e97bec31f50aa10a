import os
from collections import Counter

import psutil
import pytest
import torch
from engine_models import CONTEXT, FAMILIES
from scipy.stats import chisquare

from larpo_lib.config import ModelConfig
from larpo_lib.errors import ConfigError, ModelError
from larpo_lib.models.chat import prompt_ids
from larpo_lib.models.model_dir import ModelDir
from larpo_lib.samplers import Request, SamplingLimits, make_sampler
from larpo_lib.samplers.engines.vllm import NO_FLOAT16
from larpo_lib.samplers.hf import HfSamplerConfig
from larpo_lib.schemas import LENGTH, STOP

PLAIN = ModelConfig(device="cpu")
LONGEST = 24
QUESTIONS = (
    "Ann has 3 pens .",
    "How many ?",
    "Ben has 2 bags of 4 coins . Ben loses 3 . How many coins does Ben have ?",
    "Ann has 3 pens . " * 10,
)


def _user(text):
    return [{"role": "user", "content": text}]


def _requests(count):
    """Requests of every length and temperature, each with a seed of its own."""
    return [
        Request(f"p{i % 4}", _user(QUESTIONS[i % 4]), (0.0, 0.5, 1.0, 1.5, 1.0)[i % 5], seed=2**62 + i)
        for i in range(count)
    ]


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_decoding_is_that_of_transformers_token_for_token(make_vllm, model_directory, family):
    requests = [Request(f"p{i}", _user(text), 0.0, seed=i) for i, text in enumerate(QUESTIONS)]
    hf = make_sampler(HfSamplerConfig(model=PLAIN), model_directory(family), SamplingLimits(64, LONGEST, 1.0))
    expected = hf.sample(requests)
    assert len({tuple(response.token_ids) for response in expected}) >= 3
    assert make_vllm(family).sample(requests) == expected


def test_ids_text_and_finish_reason_agree(make_vllm, model_directory):
    tokenizer = ModelDir(model_directory("llama"), PLAIN).tokenizer
    end = tokenizer.eos_token_id
    responses = make_vllm().sample(_requests(100))
    assert {response.finish_reason for response in responses} == {STOP, LENGTH}
    for response in responses:
        ids = response.token_ids
        assert response.num_tokens == len(ids)
        assert response.text == tokenizer.decode(ids, skip_special_tokens=True)
        if response.finish_reason == STOP:
            assert ids.index(end) == len(ids) - 1
        else:
            assert len(ids) == LONGEST
            assert end not in ids


def test_a_response_depends_on_its_own_request_only(make_vllm):
    requests = _requests(40)
    sampler = make_vllm()
    expected = sampler.sample(requests)
    assert len({response.text for response in expected if response.num_tokens > 3}) > 20
    assert sampler.sample(requests[::-1]) == expected[::-1]
    assert sampler.sample(requests[7:12]) == expected[7:12]
    assert sampler.sample([requests[7]]) == [expected[7]]
    sampler.close()
    assert not torch.distributed.is_initialized()
    assert make_vllm(max_num_seqs=3).sample(requests) == expected


def test_more_prompt_tokens_than_one_pass_takes_change_no_response(make_vllm):
    """Nearly twice 8192 tokens of different prompts at once, which vLLM would by default cut into chunks."""
    texts = [f"How many ? {'Ann has 3 pens . ' * (70 + i % 5)}{'Ben ' * i}" for i in range(40)]
    requests = [Request(f"p{i}", _user(text), 1.0, seed=i) for i, text in enumerate(texts)]
    sampler = make_vllm(prompt=450)
    assert sum(sampler.prompt_tokens(request.messages) for request in requests) > 15_000
    expected = sampler.sample(requests)
    sampler.close()
    alone = make_vllm(prompt=450)
    for i in (0, 21, 22, 23, 39):
        assert alone.sample([requests[i]]) == [expected[i]]


def test_other_seeds_give_other_responses_but_at_temperature_zero(make_vllm):
    sampler = make_vllm()
    hot = sampler.sample([Request("p", _user("How many ?"), 1.5, seed) for seed in range(50)])
    assert len({tuple(response.token_ids) for response in hot}) > 45
    cold = sampler.sample([Request("p", _user("How many ?"), 0.0, seed) for seed in range(5)])
    assert len({tuple(response.token_ids) for response in cold}) == 1


@pytest.mark.parametrize("top_p", [1.0, 0.7])
def test_first_tokens_come_as_often_as_the_model_says(make_vllm, model_directory, top_p):
    """Two temperatures in one call, each against the exact probabilities; neither against those of the other."""
    draws, temperatures = 2000, (1.0, 2.0)
    requests = [Request("p", _user("How many ?"), t, seed) for seed in range(draws) for t in temperatures]
    responses = make_vllm(longest=1, top_p=top_p).sample(requests)
    policy = model_directory("llama")
    ids = prompt_ids(ModelDir(policy, PLAIN).tokenizer, _user("How many ?"))
    with torch.no_grad():
        logits = ModelDir(policy, PLAIN).load_policy()(torch.tensor([ids])).logits[0, -1].double()
    for number, temperature in enumerate(temperatures):
        seen = Counter(response.token_ids[0] for response in responses[number::2])
        right, wrong = (_nucleus((logits / t).softmax(-1), top_p) for t in (temperature, temperatures[1 - number]))
        assert sum(seen[i] for i in range(len(right)) if right[i] == 0) == 0
        assert _fit(seen, right, draws) > 1e-3
        assert _fit(seen, wrong, draws) < 1e-6


def _nucleus(probabilities, top_p):
    """The most probable tokens whose mass reaches top_p, renormalised, one token after another."""
    kept, mass = torch.zeros_like(probabilities), 0.0
    for i in probabilities.argsort(descending=True).tolist():
        if mass < top_p:
            kept[i] = probabilities[i]
            mass += float(probabilities[i])
    return kept / mass


def _fit(seen, probabilities, draws):
    """P value of the counts; tokens expected fewer than five times count as one."""
    expected = [float(p) * draws for p in probabilities]
    common = [i for i, value in enumerate(expected) if value >= 5]
    counts, hopes = [seen[i] for i in common], [expected[i] for i in common]
    rest = draws - sum(hopes)
    if rest > 5:
        counts.append(draws - sum(counts))
        hopes.append(rest)
    scale = sum(counts) / sum(hopes)
    return chisquare(counts, [hope * scale for hope in hopes]).pvalue


def test_a_prompt_of_the_longest_length_is_whole_and_gets_a_whole_response(make_vllm, model_directory):
    tokenizer = ModelDir(model_directory("llama"), PLAIN).tokenizer
    question = "Ann has 3 pens . " * 12
    length = len(prompt_ids(tokenizer, _user(question)))
    sampler = make_vllm(prompt=length, longest=CONTEXT - length)
    engine, sent = sampler._started(), []
    generate = engine.generate
    engine.generate = lambda *args, **options: sent.extend(generate(*args, **options)) or sent
    (response,) = sampler.sample([Request("p", _user(question), 0.0, 0)])
    assert sent[0].prompt_token_ids == prompt_ids(tokenizer, _user(question))
    assert response.finish_reason == STOP or response.num_tokens == CONTEXT - length
    with pytest.raises(AssertionError):
        sampler.sample([Request("p", _user(question + "?"), 0.0, 0)])


def test_the_responses_of_a_prompt_share_its_cache(make_vllm):
    """All but the first find every whole block of their prompt computed."""
    sampler = make_vllm(prompt=400)
    engine, outputs = sampler._started(), []
    generate = engine.generate
    engine.generate = lambda *args, **options: outputs.extend(generate(*args, **options)) or outputs
    block = engine.llm_engine.vllm_config.cache_config.block_size
    question = _user("Ann has 3 pens . " * 70)
    sampler.sample([Request("p", question, 1.0, seed) for seed in range(4)])
    whole = len(outputs[0].prompt_token_ids) // block * block
    assert whole >= 2 * block
    assert [output.num_cached_tokens for output in outputs] == [0, whole, whole, whole]


def test_limits_beyond_the_context_are_refused_as_by_vllm_itself(make_vllm, model_directory):
    with pytest.raises(ConfigError, match="supports at most 512"):
        make_vllm(prompt=CONTEXT, longest=1)
    from vllm import LLM

    with pytest.raises(ValueError, match="max_model_len"):
        LLM(str(model_directory("llama")), skip_tokenizer_init=True, max_model_len=CONTEXT + 1)


def test_an_engine_that_cannot_start_ends_in_one_line(make_vllm, model_directory, tmp_path, monkeypatch):
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "100000")
    with pytest.raises(ModelError, match=r"llama: vLLM did not start: Available memory .* See the engine's messages"):
        make_vllm().sample(_requests(1))


def test_the_engines_process_ends_with_the_sampler(make_vllm, monkeypatch):
    """By default the engine has a process of its own; it draws the same, and is gone after `close`."""
    requests = _requests(20)
    inside = make_vllm()
    expected = inside.sample(requests)
    inside.close()
    monkeypatch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "1")
    monkeypatch.setenv("VLLM_WORKER_MULTIPROC_METHOD", "fork")  # others' choice, to be left as it was
    before = _children()
    sampler = make_vllm()
    assert sampler.sample(requests) == expected
    engine = _children() - before
    assert len(engine) >= 1
    assert not torch.distributed.is_initialized()
    sampler.close()
    assert psutil.wait_procs(engine, timeout=10)[1] == []
    assert os.environ["VLLM_WORKER_MULTIPROC_METHOD"] == "fork"


def _children():
    """Processes below this one, but for Python's own that keeps track of shared memory."""
    below = psutil.Process().children(recursive=True)
    return {child for child in below if "resource_tracker" not in " ".join(child.cmdline())}


def test_families_without_float16_are_those_of_vllm():
    from vllm.config.model import _FLOAT16_NOT_SUPPORTED_MODELS

    assert set(_FLOAT16_NOT_SUPPORTED_MODELS) == NO_FLOAT16
