from scripted_sampler import ScriptedSampler
from small_models import user

from larpo_lib.config import EvaluateConfig, SampleConfig, SearchTemperatureConfig
from larpo_lib.config.sections import Draw
from larpo_lib.samplers import Response
from larpo_lib.samplers.candidates import (
    Origin,
    draw_candidates,
    evaluation_draws,
    prompts_of_iteration,
    prompts_within,
    search_draws,
    training_draws,
)
from larpo_lib.schemas import candidate_id

PROMPTS = [
    {"prompt_id": f"p{i}", "messages": user("word " * (i + 1)), "reference": None, "source": "test"} for i in range(5)
]


class Recorder(ScriptedSampler):
    """Answers every request with its seed."""

    def sample(self, requests):
        self.requests += requests
        return [Response(str(request.seed), [1, 2], 2, "stop") for request in requests]


def _ids(rows):
    return [row["prompt_id"] for row in rows]


def test_each_temperature_numbers_its_own_draws():
    config = SampleConfig(
        k=2, temperature=1.0, extra_draws=(Draw(count=2, temperature=0.5), Draw(count=1, temperature=1.0))
    )
    assert training_draws(config, 1) == [(1.0, 0), (1.0, 1), (0.5, 0), (0.5, 1), (1.0, 2)]


def test_the_last_temperature_holds_for_all_later_iterations():
    config = SampleConfig(k=2, temperature=(1.2, 0.8))
    assert [training_draws(config, iteration)[0][0] for iteration in (1, 2, 3, 9)] == [1.2, 0.8, 0.8, 0.8]


def test_evaluation_adds_the_greedy_response():
    assert evaluation_draws(EvaluateConfig(n=2, temperature=0.7)) == [(0.7, 0), (0.7, 1), (0.0, 0)]


def test_a_search_draws_k_at_each_temperature():
    config = SearchTemperatureConfig(k=2, temperatures=(1.2, 0.8))
    assert search_draws(config) == [(1.2, 0), (1.2, 1), (0.8, 0), (0.8, 1)]


def test_a_search_and_a_sampling_with_the_same_seed_draw_the_same():
    search = SearchTemperatureConfig(k=2, temperatures=(0.8, 1.0))
    origin = Origin("policy", 3, 7)
    found = list(draw_candidates(Recorder(), PROMPTS, search_draws(search), origin))
    sampled = list(draw_candidates(Recorder(), PROMPTS, training_draws(SampleConfig(k=2, temperature=1.0), 3), origin))
    assert [row["response"] for row in found if row["temperature"] == 1.0] == [row["response"] for row in sampled]


def test_iterations_go_around_all_prompts():
    config = SampleConfig(prompts_per_iteration=3)
    taken = [prompts_of_iteration(_ids(PROMPTS), config, iteration) for iteration in range(1, 6)]
    assert all(len(set(ids)) == 3 for ids in taken)
    one_after_another = [prompt_id for ids in taken for prompt_id in ids]
    assert one_after_another[:5] == one_after_another[5:10] == one_after_another[10:]
    assert sorted(one_after_another[:5]) == _ids(PROMPTS)


def test_the_order_of_prompts_depends_on_the_seed_and_not_on_the_file():
    orders = {tuple(prompts_of_iteration(_ids(PROMPTS), SampleConfig(seed=seed), 1)) for seed in range(10)}
    assert len(orders) > 5
    config = SampleConfig(seed=3)
    assert prompts_of_iteration(_ids(PROMPTS), config, 2) == prompts_of_iteration(_ids(PROMPTS[::-1]), config, 2)


def test_an_iteration_takes_every_prompt_once_where_there_are_too_few():
    for wanted in (None, 5, 100):
        taken = prompts_of_iteration(_ids(PROMPTS), SampleConfig(prompts_per_iteration=wanted), 2)
        assert sorted(taken) == _ids(PROMPTS)


def test_prompts_over_the_limit_do_not_fit():
    assert _ids(prompts_within(PROMPTS, Recorder(), 3)) == ["p0", "p1", "p2"]


def test_candidates_carry_their_origin():
    rows = list(draw_candidates(Recorder(), PROMPTS[:2], [(1.0, 0), (0.5, 0)], Origin("abc", 7, 0)))
    assert [(row["prompt_id"], row["sample_index"], row["temperature"]) for row in rows] == [
        ("p0", 0, 1.0),
        ("p0", 1, 0.5),
        ("p1", 0, 1.0),
        ("p1", 1, 0.5),
    ]
    for row in rows:
        assert row["candidate_id"] == candidate_id(row["prompt_id"], row["response"])
        assert (row["policy"], row["iteration"], row["num_tokens"], row["token_ids"]) == ("abc", 7, 2, [1, 2])
        assert row["finish_reason"] == "stop"


def _seeds(prompts, draws, origin):
    return {
        (row["prompt_id"], row["temperature"], row["sample_index"]): row["response"]
        for row in draw_candidates(Recorder(), prompts, draws, origin)
    }


def test_no_two_draws_share_a_stream():
    draws = [(1.0, 0), (1.0, 1), (0.5, 0)]
    streams = [
        *_seeds(PROMPTS, draws, Origin("abc", 1, 0)).values(),
        *_seeds(PROMPTS, draws, Origin("abc", 2, 0)).values(),
        *_seeds(PROMPTS, draws, Origin("abc", 1, 1)).values(),
    ]
    assert len(set(streams)) == 45


def test_a_draw_keeps_its_stream_whatever_else_is_drawn():
    origin = Origin("abc", 1, 0)
    few = _seeds(PROMPTS[1:2], [(1.0, 0)], origin)
    many = _seeds(PROMPTS, [(1.0, 0), (0.5, 0), (1.0, 1)], origin)
    assert few[("p1", 1.0, 0)] == many[("p1", 1.0, 0)]
