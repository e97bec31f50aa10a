import logging

import pytest
from scripted_sampler import ScriptedSampler
from server_double import Reply, serve
from small_models import write_prompts
from step_doubles import interrupted

from larpo_lib.artifacts import digest
from larpo_lib.config import ModelConfig, SampleConfig
from larpo_lib.config.sections import Draw
from larpo_lib.errors import EndpointError, LarpoError
from larpo_lib.samplers import Response
from larpo_lib.samplers.hf import HfSamplerConfig
from larpo_lib.samplers.openai import OpenAiSamplerConfig
from larpo_lib.schemas import LENGTH, STOP, candidate_id
from larpo_lib.steps import sample
from larpo_lib.tables import read_table

SETTINGS = {
    "sampler": HfSamplerConfig(model=ModelConfig(device="cpu")),
    "k": 3,
    "max_new_tokens": 6,
    "max_prompt_tokens": 64,
    "part_prompts": 4,
}


@pytest.fixture
def run(tiny_policy, tiny_prompts, tmp_path):
    """Runs the step; returns the rows it published and its metrics."""

    def run(name="candidates", iteration=1, prompts=tiny_prompts, **changes):
        config = SampleConfig(**SETTINGS | changes)
        output = tmp_path / name
        metrics = sample.run(config, policy=tiny_policy, prompts=prompts, candidates=output, iteration=iteration)
        return read_table(output, "candidates"), metrics

    return run


def test_every_prompt_gets_k_candidates_with_their_origin(run, tiny_policy, tiny_prompts):
    rows, metrics = run(iteration=2)
    assert (metrics["prompts"], metrics["candidates"], metrics["prompts_too_long_dropped"]) == (10, 30, 0)
    assert metrics["empty_responses_dropped"] == 0
    asked = {row["prompt_id"] for row in read_table(tiny_prompts, "prompts")}
    assert {(row["prompt_id"], row["sample_index"]) for row in rows} == {(p, i) for p in asked for i in range(3)}
    for row in rows:
        assert row["candidate_id"] == candidate_id(row["prompt_id"], row["response"])
        assert row["num_tokens"] == len(row["token_ids"]) <= 6
        assert row["iteration"] == 2
        assert row["temperature"] == 1.0
        assert row["policy"] == digest(tiny_policy)[:16]


def test_metrics_describe_the_candidates(run):
    rows, metrics = run()
    truncated = [row["finish_reason"] == LENGTH for row in rows]
    assert metrics["truncated_share"] == pytest.approx(sum(truncated) / 30)
    assert metrics["mean_tokens"] == pytest.approx(sum(row["num_tokens"] for row in rows) / 30)
    assert metrics["distinct_share"] == pytest.approx(len({row["candidate_id"] for row in rows}) / 30)


def test_two_runs_give_the_same_bytes(run, tmp_path):
    run("a")
    run("b")
    for name in ("candidates.parquet", "artifact.json", "metrics.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_the_shard_size_changes_no_candidate(run):
    assert run("a")[0] == run("b", part_prompts=100)[0]


def test_iteration_and_seed_change_the_draws(run):
    draws = [
        [(row["prompt_id"], row["response"]) for row in run(name, **changes)[0]]
        for name, changes in (("a", {}), ("b", {"iteration": 2}), ("c", {"seed": 1}))
    ]
    for one, other in ((draws[0], draws[1]), (draws[0], draws[2])):
        assert len(set(one) & set(other)) < 5


def test_each_iteration_takes_the_next_prompts(run):
    taken = [{row["prompt_id"] for row in run(f"i{i}", iteration=i, prompts_per_iteration=5)[0]} for i in (1, 2, 3)]
    assert [len(ids) for ids in taken] == [5, 5, 5]
    assert taken[0].isdisjoint(taken[1])
    assert taken[2] == taken[0]


def test_each_iteration_has_its_temperature(run):
    def temperatures(iteration):
        rows, _ = run(f"i{iteration}", iteration=iteration, temperature=(1.2, 0.8), k=2)
        return {row["temperature"] for row in rows}

    assert [temperatures(i) for i in (1, 2, 3)] == [{1.2}, {0.8}, {0.8}]


def test_extra_draws_come_behind_the_others(run):
    rows, metrics = run(k=2, extra_draws=(Draw(count=2, temperature=0.0),), prompts_per_iteration=1)
    assert [(row["sample_index"], row["temperature"]) for row in rows] == [(0, 1.0), (1, 1.0), (2, 0.0), (3, 0.0)]
    assert rows[2]["response"] == rows[3]["response"]
    assert metrics["candidates"] == 4
    assert metrics["distinct_share"] == 0.75


def test_too_long_prompts_are_dropped_and_counted(run, tmp_path):
    prompts = write_prompts(tmp_path / "long", [("Ann has 3 pens", None), ("Ann " * 30, None)])
    rows, metrics = run(prompts=prompts, max_prompt_tokens=6)
    assert (metrics["prompts"], metrics["prompts_too_long_dropped"], len(rows)) == (1, 1, 3)


def test_a_limit_no_prompt_meets_is_refused(run):
    with pytest.raises(LarpoError, match=r"none of the 10 prompts fits in max_prompt_tokens = 3\. Increase"):
        run(max_prompt_tokens=3)


class Scripted(ScriptedSampler):
    """A sampler that gives the scripted texts, one after another."""

    def __init__(self, texts):
        super().__init__()
        self._texts = texts

    def sample(self, requests):
        return [Response(text, None, None, STOP) for text, _ in zip(self._texts, requests, strict=True)]


def test_empty_responses_are_dropped_and_counted(run, tmp_path, monkeypatch):
    monkeypatch.setattr(sample, "make_sampler", lambda *_args, **_options: Scripted(["one", " ", "", "one"]))
    prompts = write_prompts(tmp_path / "one", [("Ann", None)])
    rows, metrics = run(prompts=prompts, k=4)
    assert [(row["sample_index"], row["response"]) for row in rows] == [(0, "one"), (3, "one")]
    assert metrics == {
        "prompts": 1,
        "prompts_too_long_dropped": 0,
        "prompts_with_special_text": 0,
        "candidates": 2,
        "empty_responses_dropped": 2,
        "distinct_share": 0.5,
        "truncated_share": 0.0,
        "mean_tokens": None,
        "duplicate_share": 1.0,
        "duplicate_share_t1.0": 1.0,
        "distinct_2": None,
        "distinct_2_t1.0": None,
    }


def test_a_temperature_that_repeats_itself_is_warned_of(run, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.WARNING)
    texts = ["a b", "a b", "a c", "d", "e", "e"]
    monkeypatch.setattr(sample, "make_sampler", lambda *_args, **_options: Scripted(texts))
    settings = {
        "prompts": write_prompts(tmp_path / "one", [("Ann", None)]),
        "k": 3,
        "extra_draws": (Draw(count=3, temperature=0.7),),
    }
    _, metrics = run("quiet", **settings, max_duplicate_share=0.67)
    assert caplog.messages == []
    assert metrics["duplicate_share_t1.0"] == metrics["duplicate_share_t0.7"] == pytest.approx(2 / 3)
    assert metrics["distinct_2_t1.0"] == pytest.approx(2 / 3)
    run("warned", **settings)
    assert len(caplog.messages) == 2
    assert caplog.messages[0].startswith("At temperature 0.7, 67 % of the responses repeat another response")
    assert "sample.max_duplicate_share = 0.5" in caplog.messages[0]
    assert "Increase sample.temperature" in caplog.messages[1]


def test_a_policy_that_says_nothing_is_refused(run, tmp_path, monkeypatch):
    monkeypatch.setattr(sample, "make_sampler", lambda *_args, **_options: Scripted(["", " ", "\n"]))
    with pytest.raises(LarpoError, match="every response is empty"):
        run(prompts=write_prompts(tmp_path / "one", [("Ann", None)]))


def test_a_killed_step_goes_on_behind_its_last_shard(run, tmp_path, monkeypatch):
    expected, _ = run("whole")
    monkeypatch.setattr(sample, "make_sampler", interrupted(sample.make_sampler, 2))
    with pytest.raises(KeyboardInterrupt):
        run("killed")
    assert not (tmp_path / "killed").exists()
    rows, _ = run("killed")  # its one missing shard is one call
    assert rows == expected


def _completions(asked):
    """A server that lists the model `tiny` and says of each prompt what its seed is."""
    if asked.path == "/v1/models":
        return Reply({"data": [{"id": "tiny", "max_model_len": 256}]})
    choice = {"message": {"content": f"Ann has {asked.payload['seed']}"}, "finish_reason": "stop"}
    return Reply({"choices": [choice], "usage": {"completion_tokens": 4}})


def _openai(server, **settings):
    return OpenAiSamplerConfig(base_url=f"{server.url}/v1", served_model="tiny", model=ModelConfig(), **settings)


def test_a_server_samples_every_candidate(run):
    with serve(_completions) as server:
        rows, metrics = run(sampler=_openai(server))
    asked = server.payloads("/v1/chat/completions")
    assert len(asked) == metrics["candidates"] == 30
    assert len({payload["seed"] for payload in asked}) == 30
    assert {row["response"] for row in rows} == {f"Ann has {payload['seed']}" for payload in asked}
    assert {(row["token_ids"], row["num_tokens"], row["finish_reason"]) for row in rows} == {(None, 4, STOP)}


def test_a_stopped_step_asks_a_server_only_for_what_is_missing(run, tmp_path, monkeypatch):
    monkeypatch.setenv("MY_KEY", "sk-very-secret")
    with serve(_completions) as server:
        expected, _ = run("whole", sampler=_openai(server))
        server.asked.clear()
        answered = 0

        def failing(asked):
            nonlocal answered
            answered += asked.method == "POST"
            # The third shard of four prompts, with three responses each.
            return Reply({"error": "gone"}, status=400) if answered > 24 else _completions(asked)

        server.answer = failing
        with pytest.raises(EndpointError, match="answered 400: gone"):
            run("stopped", sampler=_openai(server, concurrency=1))
        assert not (tmp_path / "stopped").exists()
        server.asked.clear()
        server.answer = _completions
        rows, _ = run("stopped", sampler=_openai(server, concurrency=7, api_key_env="MY_KEY"))
    assert rows == expected
    assert len(server.payloads("/v1/chat/completions")) == 6
    published = b"".join(path.read_bytes() for path in (tmp_path / "stopped").iterdir())
    assert b"sk-very-secret" not in published
