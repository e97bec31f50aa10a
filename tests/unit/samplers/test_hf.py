import json
import shutil
from collections import Counter

import pytest
import torch
from scipy.stats import chisquare
from small_models import break_token, user

from larpo_lib.batches import kept_in
from larpo_lib.config import ModelConfig
from larpo_lib.errors import ModelError
from larpo_lib.models.chat import prompt_ids
from larpo_lib.models.model_dir import ModelDir
from larpo_lib.models.scoring import attach_scorer, padded_rows
from larpo_lib.samplers import Request, SamplingLimits, make_sampler
from larpo_lib.samplers.engines.hf import draw_tokens
from larpo_lib.samplers.hf import HfSamplerConfig
from larpo_lib.schemas import LENGTH, STOP
from larpo_lib.thinking import is_unfinished

PLAIN = ModelConfig(device="cpu")
LONGEST = 24
END = 4
QUESTIONS = (
    "Ann has 3 pens .",
    "How many ?",
    "Ben has 2 bags of 4 coins . Ben loses 3 . How many coins does Ben have ?",
)


@pytest.fixture(scope="module")
def model(tiny_policy):
    return ModelDir(tiny_policy, PLAIN).load_policy()


@pytest.fixture(scope="module")
def tokenizer(tiny_policy):
    return ModelDir(tiny_policy, PLAIN).tokenizer


def _sampler(policy, *, batch_size=64, top_p=1.0, longest=LONGEST, model=PLAIN):
    config = HfSamplerConfig(batch_size=batch_size, model=model)
    return make_sampler(config, policy, SamplingLimits(1024, longest, top_p))


def _requests(count):
    """Requests of every length and temperature, each with a seed of its own."""
    return [
        Request(f"p{i}", user(QUESTIONS[i % len(QUESTIONS)]), (0.0, 0.5, 1.0, 1.5)[i % 4], seed=10**15 + i)
        for i in range(count)
    ]


def test_temperature_zero_is_the_models_own_greedy_decoding(tiny_policy, model, tokenizer):
    responses = _sampler(tiny_policy).sample([Request("p", user(text), 0.0, seed=1) for text in QUESTIONS])
    for text, response in zip(QUESTIONS, responses, strict=True):
        ids = torch.tensor([prompt_ids(tokenizer, user(text))])
        greedy = model.generate(ids, do_sample=False, max_new_tokens=LONGEST)[0, ids.shape[1] :].tolist()
        assert response.token_ids == greedy


def test_the_seed_is_of_no_consequence_at_temperature_zero(tiny_policy):
    one, other = _sampler(tiny_policy).sample([Request("p", user("How many ?"), 0.0, seed) for seed in (1, 2)])
    assert one == other


def test_ids_text_and_finish_reason_agree(tiny_policy, tokenizer):
    responses = _sampler(tiny_policy).sample(_requests(60))
    assert {response.finish_reason for response in responses} == {STOP, LENGTH}
    for response in responses:
        ids = response.token_ids
        assert response.num_tokens == len(ids)
        assert response.text == tokenizer.decode(ids, skip_special_tokens=True)
        if response.finish_reason == STOP:
            assert ids.index(END) == len(ids) - 1
        else:
            assert len(ids) == LONGEST
            assert END not in ids


def test_a_response_depends_on_its_own_request_only(tiny_policy):
    requests = _requests(24)
    expected = _sampler(tiny_policy, batch_size=64).sample(requests)
    assert len({response.text for response in expected}) > 20
    for batch_size in (1, 5):
        assert _sampler(tiny_policy, batch_size=batch_size).sample(requests) == expected
    sampler = _sampler(tiny_policy)
    assert sampler.sample(requests[::-1]) == expected[::-1]
    assert sampler.sample(requests[7:12]) == expected[7:12]
    assert sampler.sample(requests) == expected  # nothing is left over from the calls before


def test_a_sampler_that_is_stopped_loses_the_batch_at_work_alone(tiny_policy, tmp_path, monkeypatch):
    whole = _sampler(tiny_policy, batch_size=4).sample(_requests(10))
    sampler = _sampler(tiny_policy, batch_size=4)
    generate, drawn = sampler._generate, []

    def counted(prompts, requests):
        if len(drawn) == stop_after:
            raise KeyboardInterrupt
        drawn.append([request.prompt_id for request in requests])
        return generate(prompts, requests)

    monkeypatch.setattr(sampler, "_generate", counted)
    stop_after = 2
    with pytest.raises(KeyboardInterrupt), kept_in(tmp_path / "part.batches", lambda _share: None):
        sampler.sample(_requests(10))
    stop_after = 100
    with kept_in(tmp_path / "part.batches", lambda _share: None):
        assert sampler.sample(_requests(10)) == whole
    assert sorted(map(len, drawn)) == [2, 4, 4]
    assert len({name for batch in drawn for name in batch}) == 10  # each was drawn once


@pytest.mark.parametrize("pad", ["<end>", "<unk>"])
def test_the_pad_token_is_of_no_consequence_even_if_it_ends_turns(tiny_policy, pad):
    requests = _requests(24)
    padded_by_another = _sampler(tiny_policy, model=ModelConfig(device="cpu", pad_token=pad))
    assert padded_by_another.sample(requests) == _sampler(tiny_policy).sample(requests)


def test_a_shorter_limit_cuts_the_same_response(tiny_policy):
    requests = _requests(12)
    whole = _sampler(tiny_policy).sample(requests)
    cut = _sampler(tiny_policy, longest=5).sample(requests)
    assert [response.token_ids for response in cut] == [response.token_ids[:5] for response in whole]


def test_other_seeds_give_other_responses(tiny_policy):
    requests = [Request("p", user("How many ?"), 1.0, seed) for seed in range(50)]
    assert len({response.text for response in _sampler(tiny_policy).sample(requests)}) == 50


def test_first_tokens_come_as_often_as_the_model_says(tiny_policy, model, tokenizer):
    temperature, draws = 0.1, 3000
    requests = [Request("p", user("How many ?"), temperature, seed) for seed in range(draws)]
    responses = _sampler(tiny_policy, batch_size=1000, longest=1).sample(requests)
    counts = Counter(response.token_ids[0] for response in responses)
    with torch.no_grad():
        logits = model(torch.tensor([prompt_ids(tokenizer, user("How many ?"))])).logits[0, -1]
    expected = (logits.double() / temperature).softmax(-1) * draws
    assert chisquare([counts[i] for i in range(len(expected))], expected.numpy()).pvalue > 1e-3
    untempered = logits.double().softmax(-1) * draws
    assert chisquare([counts[i] for i in range(len(expected))], untempered.numpy()).pvalue < 1e-6


def test_the_models_own_generation_settings_do_not_distort_the_distribution(tiny_policy, tmp_path):
    distorted = shutil.copytree(tiny_policy, tmp_path / "policy")
    settings = json.loads((distorted / "generation_config.json").read_text())
    settings |= {"repetition_penalty": 5.0, "top_k": 1, "do_sample": True, "temperature": 0.1, "max_length": 7}
    (distorted / "generation_config.json").write_text(json.dumps(settings))
    requests = _requests(12)
    assert _sampler(distorted).sample(requests) == _sampler(tiny_policy).sample(requests)


def test_every_stop_token_of_the_model_ends_a_response(tiny_policy, tmp_path, tokenizer):
    policy = shutil.copytree(tiny_policy, tmp_path / "policy")
    dot = tokenizer.convert_tokens_to_ids(".")
    settings = json.loads((policy / "generation_config.json").read_text()) | {"eos_token_id": [END, dot]}
    (policy / "generation_config.json").write_text(json.dumps(settings))
    responses = _sampler(policy).sample(_requests(60))
    ends = Counter(response.token_ids[-1] for response in responses if response.finish_reason == STOP)
    assert ends.keys() == {END, dot}
    assert not any(token in (END, dot) for response in responses for token in response.token_ids[:-1])


def test_a_response_ends_where_the_template_ends_a_turn(tiny_policy, tmp_path, tokenizer):
    """Neither the model's settings nor eos name the token; the response ran on before, and its end was hidden."""
    policy = shutil.copytree(tiny_policy, tmp_path / "policy")
    for name in ("config.json", "generation_config.json"):
        settings = json.loads((policy / name).read_text()) | {"eos_token_id": 0}
        (policy / name).write_text(json.dumps(settings))
    settings = json.loads((policy / "tokenizer_config.json").read_text())
    others = {"eos_token": "<unk>", "additional_special_tokens": ["<user>", "<assistant>", "<end>"]}
    (policy / "tokenizer_config.json").write_text(json.dumps({**settings, **others}))
    assert ModelDir(policy, PLAIN).tokenizer.eos_token_id == 1
    sampled = [response.token_ids for response in _sampler(policy).sample(_requests(60))]
    ended = [ids for ids in sampled if END in ids]
    assert len(ended) > 5
    assert all(ids.index(END) == len(ids) - 1 for ids in ended)


def test_the_token_that_ends_a_response_is_no_part_of_its_text(tiny_policy, tokenizer):
    """As with vLLM's own texts. Of a special token nothing is seen anyway."""
    config = HfSamplerConfig(model=ModelConfig(device="cpu", stop_tokens=(".",)))
    responses = make_sampler(config, tiny_policy, SamplingLimits(1024, LONGEST, 1.0)).sample(_requests(60))
    dot = tokenizer.convert_tokens_to_ids(".")
    stopped = [response for response in responses if response.token_ids[-1] == dot]
    assert stopped
    assert not any(response.text.endswith(".") for response in stopped)


def test_prompt_tokens_counts_the_templates_tokens(tiny_policy):
    assert _sampler(tiny_policy).prompt_tokens(user("How many ?")) == len(["<user>", "How", "many", "?", "<assistant>"])


def test_the_scorer_gives_sampled_tokens_finite_log_probabilities(tiny_policy, tokenizer):
    requests = _requests(24)
    responses = _sampler(tiny_policy).sample(requests)
    prompts = [prompt_ids(tokenizer, request.messages) for request in requests]
    rows = padded_rows(prompts, [response.token_ids for response in responses], tokenizer.pad_token_id)
    logps = attach_scorer(ModelDir(tiny_policy, PLAIN).load_policy(), 100)(**rows)
    assert logps.isfinite().all()
    assert (logps < 0).all()


def _uniforms(count):
    return torch.rand(count, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


PROBABILITIES = torch.tensor([0.1, 0.4, 0.05, 0.25, 0.2])


def _draws(top_p, count=20_000):
    tokens = draw_tokens(PROBABILITIES.log().expand(count, -1), _uniforms(count), top_p)
    return torch.bincount(tokens, minlength=len(PROBABILITIES))


def test_tokens_come_as_often_as_their_probability_says():
    counts = _draws(1.0)
    assert (
        chisquare(counts, PROBABILITIES.double().numpy() * 20_000 / PROBABILITIES.double().sum().item()).pvalue > 1e-3
    )


@pytest.mark.parametrize(
    ("top_p", "kept"), [(0.39, [1]), (0.41, [1, 3]), (0.64, [1, 3]), (0.66, [1, 3, 4]), (0.9, [0, 1, 3, 4])]
)
def test_top_p_keeps_the_fewest_tokens_that_reach_its_mass(top_p, kept):
    counts = _draws(top_p)
    assert counts.nonzero()[:, 0].tolist() == kept
    expected = PROBABILITIES[kept].double() / PROBABILITIES[kept].double().sum() * 20_000
    assert len(kept) == 1 or chisquare(counts[kept], expected.numpy()).pvalue > 1e-3


def test_a_uniform_number_picks_the_token_whose_share_it_falls_into():
    logits = torch.tensor([0.5, 0.0, 0.25, 0.25]).log().expand(6, -1)
    uniforms = torch.tensor([0.0, 0.4999, 0.5001, 0.7499, 0.7501, 1 - 2**-53], dtype=torch.float64)
    assert draw_tokens(logits, uniforms, 1.0).tolist() == [0, 0, 2, 2, 3, 3]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_not_finite_are_refused_by_policy_and_prompt(tiny_policy, tmp_path, temperature, value):
    break_token(tmp_path / "broken", tiny_policy, "coins", value)
    sound, broken = (Request(f"p{i}", user(QUESTIONS[i]), temperature, seed=7) for i in (0, 2))
    sampler = _sampler(tmp_path / "broken", longest=1)
    assert sampler.sample([sound]) == _sampler(tiny_policy, longest=1).sample([sound])
    with pytest.raises(ModelError, match=r"broken: the policy's logits are nan for prompt p2, at token 1 of") as told:
        sampler.sample([sound, broken])
    assert "float32" in str(told.value)


def test_what_comes_after_the_end_of_a_response_may_be_broken(tiny_policy, tmp_path):
    """Responses that have ended are padded while others of their batch go on; nobody reads what is said there."""
    break_token(tmp_path / "broken", tiny_policy, "<pad>", float("nan"))
    drawn = {i: Request("p", user(QUESTIONS[0]), 1.0, seed=i) for i in range(32)}  # of one length: no padding before
    sound = dict(zip(drawn, _sampler(tiny_policy).sample([*drawn.values()]), strict=True))
    chosen = [i for i, response in sound.items() if 0 not in response.token_ids]  # it may draw the pad token itself
    assert len({sound[i].num_tokens for i in chosen}) > 2
    responses = _sampler(tmp_path / "broken").sample([drawn[i] for i in chosen])
    assert responses == [sound[i] for i in chosen]


def test_logits_of_minus_infinity_leave_tokens_out_as_they_are_meant_to(tiny_policy):
    sampler = _sampler(tiny_policy)
    sampler._refuse_unless_finite([], torch.empty(0, 0), torch.tensor([[float("-inf"), 1.0]]).amax(-1))
    request = Request("p", user(QUESTIONS[0]), 1.0, seed=0)
    with pytest.raises(ModelError, match="logits are -inf"):
        sampler._refuse_unless_finite([request], torch.zeros(1, 0, dtype=torch.long), torch.tensor([float("-inf")]))


def test_thoughts_that_the_template_opened_are_part_of_the_text_and_no_token_of_the_response(tiny_policy, tokenizer):
    """So that one which is cut before its `</think>` can be told from a reply."""
    template = tokenizer.chat_template + "{% if add_generation_prompt %}<think>\n{% endif %}"
    config = HfSamplerConfig(model=ModelConfig(device="cpu", chat_template=template))
    [response] = make_sampler(config, tiny_policy, SamplingLimits(1024, 4, 1.0)).sample([_requests(1)[0]])
    assert response.text == "<think>\n" + tokenizer.decode(response.token_ids, skip_special_tokens=True)
    assert response.num_tokens == len(response.token_ids) <= 4
    assert is_unfinished(response.text)
    closed = template.replace("<think>\n", "<think>\n\n</think>\n\n")  # as Qwen3's where thinking is switched off
    config = HfSamplerConfig(model=ModelConfig(device="cpu", chat_template=closed))
    [response] = make_sampler(config, tiny_policy, SamplingLimits(1024, 4, 1.0)).sample([_requests(1)[0]])
    assert "<think>" not in response.text
