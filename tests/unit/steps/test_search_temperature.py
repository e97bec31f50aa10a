import json

import pytest
from scripted_sampler import ScriptedSampler
from small_models import user, write_prompts
from step_doubles import interrupted

from larpo_lib.artifacts import digest, verify
from larpo_lib.config import ModelConfig, SearchTemperatureConfig
from larpo_lib.errors import ArtifactError, LarpoError
from larpo_lib.rewards.rerankers import Reranker
from larpo_lib.rewards.rerankers.verifier import VerifierConfig
from larpo_lib.samplers import Response, stream_seed
from larpo_lib.samplers.hf import HfSamplerConfig
from larpo_lib.schemas import LENGTH, STOP, prompt_id
from larpo_lib.steps import sample, search_temperature
from larpo_lib.tables import read_table

pytestmark = pytest.mark.usefixtures("saved_figures")

QUESTIONS = [("Ann has 3", "#### 3"), ("Ben has 4", "#### 4"), ("Eva has 5", "#### 5")]
SETTINGS = {
    "sampler": HfSamplerConfig(model=ModelConfig(device="cpu")),
    "temperatures": (0.5, 1.0),
    "k": 2,
    "max_new_tokens": 6,
    "max_prompt_tokens": 64,
    "reranker": VerifierConfig(mode="exact"),
    "resamples": 100,
}
ANSWERS = {  # two responses at 0.5, two at 1.0
    "Ann has 3": ("#### 1", "#### 1", "#### 3", "#### 2"),
    "Ben has 4": ("#### 1", "#### 1", "", "#### 4"),
    "Eva has 5": ("#### 5", "#### 5", "#### 5", "#### 6"),
}


class Scripted(ScriptedSampler):
    """A sampler that knows what to answer."""

    def sample(self, requests):
        self.requests.append(list(requests))
        asked = {}
        responses = []
        for request in requests:
            question = request.messages[0]["content"]
            text = ANSWERS[question][asked.setdefault(question, 0)]
            asked[question] += 1
            responses.append(Response(text, [1] * len(text), len(text), LENGTH if text.endswith("6") else STOP))
        return responses


class Whole(Reranker):
    """A list-relative reranker: the share of a prompt's other responses in the same call that it likes less."""

    name = "whole"
    list_relative = True

    def __init__(self):
        self.calls = []

    def score(self, items):
        self.calls.append([(item.prompt_id, item.response) for item in items])
        right = [item.response == item.reference for item in items]
        return [
            sum(right[i] > right[j] for j, other in enumerate(items) if other.prompt_id == item.prompt_id) / 3
            for i, item in enumerate(items)
        ]


@pytest.fixture
def run(tiny_policy, tmp_path):
    def run(name="search", questions=QUESTIONS, **changes):
        prompts = tmp_path / f"{name}-prompts"
        if not prompts.exists():
            write_prompts(prompts, questions)
        config = SearchTemperatureConfig(**SETTINGS | changes)
        metrics = search_temperature.run(config, policy=tiny_policy, prompts=prompts, search=tmp_path / name)
        return read_table(tmp_path / name, "ranked"), metrics

    return run


@pytest.fixture
def scripted(monkeypatch):
    sampler = Scripted()
    monkeypatch.setattr(sample, "make_sampler", lambda *_args, **_options: sampler)
    return sampler


def test_a_scripted_policy_by_hand(run, scripted, tmp_path):
    rows, metrics = run()
    assert len(rows) == metrics["responses"] == 12
    assert metrics["temperature"] == 1.0
    assert metrics["best_reward_t0.5"] == pytest.approx(1 / 3)
    assert metrics["best_reward_t1.0"] == 1.0
    assert metrics["mean_reward_t0.5"] == pytest.approx(1 / 3)
    assert metrics["mean_reward_t1.0"] == pytest.approx(1 / 2)
    assert metrics["duplicate_share_t0.5"] == 1.0
    assert metrics["duplicate_share_t1.0"] == 0.0
    assert metrics["truncated_share_t1.0"] == pytest.approx(1 / 6)
    assert metrics["mean_tokens_t0.5"] == 6.0
    assert metrics["empty_responses"] == 1
    assert (metrics["prompts"], metrics["prompts_compared"], metrics["prompts_not_compared_dropped"]) == (3, 3, 0)
    assert scripted.closed
    found = json.loads((tmp_path / "search" / "search.json").read_text())
    assert found["temperature"] == 1.0
    assert found["within_noise"] == bool(metrics["within_noise"])
    verify(tmp_path / "search")
    assert {"temperature.png", "temperature.svg"} <= {path.name for path in (tmp_path / "search").iterdir()}


def test_all_temperatures_of_a_prompt_are_one_list(run, scripted, monkeypatch):
    reranker = Whole()
    monkeypatch.setattr(search_temperature, "make_reranker", lambda _: reranker)
    rows, metrics = run(part_prompts=1)
    assert [len(call) for call in reranker.calls] == [4, 4, 4]
    assert all(len({prompt for prompt, _ in call}) == 1 for call in reranker.calls)
    ann = [row for row in rows if row["prompt_id"] == prompt_id(user("Ann has 3"))]
    assert [(row["temperature"], row["reward"], row["rank"]) for row in ann] == [
        (0.5, 0.0, 2), (0.5, 0.0, 2), (1.0, 1.0, 1), (1.0, 0.0, 2),
    ]  # fmt: skip
    assert {row["list_relative"] for row in rows} == {True}
    assert metrics["temperature"] == 1.0


def test_seeds_are_those_of_every_sampling(run, scripted):
    run(seed=7, limit=1)
    [requests] = scripted.requests
    prompt = min(prompt_id(user(question)) for question, _ in QUESTIONS)
    expected = [stream_seed(7, 0, prompt, temperature, number) for temperature in (0.5, 1.0) for number in (0, 1)]
    assert [request.seed for request in requests] == expected


def test_prompts_that_are_not_compared_are_counted(run, scripted, monkeypatch):
    class Picky(Whole):
        def score(self, items):
            return [None if item.response == "#### 1" else 1.0 for item in items]

    monkeypatch.setattr(search_temperature, "make_reranker", lambda _: Picky())
    _, metrics = run()
    assert (metrics["prompts_compared"], metrics["prompts_not_compared_dropped"]) == (1, 2)
    assert metrics["too_long_to_score_dropped"] == 4
    with pytest.raises(LarpoError, match="no prompt has a scored response at every temperature"):
        run("none", questions=QUESTIONS[:2])


def test_prompts_that_do_not_fit(run, scripted):
    with pytest.raises(LarpoError, match=r"no prompt is left for the search\. Increase search_temperature"):
        run(max_prompt_tokens=2)


def test_a_grid_with_one_temperature_twice_is_refused():
    with pytest.raises(ValueError, match=r"temperatures contains 1\.0 twice"):
        SearchTemperatureConfig(temperatures=(1.0, 0.8, 1))


def test_a_real_policy_gives_the_same_bytes_after_a_kill_and_in_other_shards(run, tmp_path, monkeypatch):
    _, metrics = run("whole", k=3)
    with monkeypatch.context() as patch:
        patch.setattr(sample, "make_sampler", interrupted(sample.make_sampler, 1))
        with pytest.raises(KeyboardInterrupt):
            run("killed", k=3, part_prompts=1)
    assert not (tmp_path / "killed").exists()
    _, again = run("killed", k=3, part_prompts=1)
    assert again == metrics
    for name in ("search.json", "metrics.json", "temperature.png", "temperature.svg"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "killed" / name).read_bytes(), name
    assert read_table(tmp_path / "whole", "ranked") == read_table(tmp_path / "killed", "ranked")


def test_a_finished_search_is_not_done_again(run, scripted, tiny_policy):
    _, metrics = run()
    assert run()[1] == metrics
    assert len(scripted.requests) == 1
    assert {row["policy"] for row in run()[0]} == {digest(tiny_policy)[:16]}
    with pytest.raises(ArtifactError, match="criterion"):
        run(criterion="mean")
