import random

import pytest
from small_models import user
from step_doubles import Killed, kill_at_four, published
from table_rows import with_table

from larpo_lib.config import ModelConfig, SftConfig
from larpo_lib.errors import LarpoError
from larpo_lib.playground.problems import make_problems
from larpo_lib.samplers import Request, SamplingLimits, make_sampler
from larpo_lib.samplers.hf import HfSamplerConfig
from larpo_lib.schemas import STOP, prompt_id
from larpo_lib.steps import sft
from larpo_lib.training.history import read_history

PLAIN = ModelConfig(device="cpu")
SETTINGS = {
    "model": PLAIN,
    "learning_rate": 3e-3,
    "batch_size": 4,
    "micro_batch_tokens": 200,
    "max_prompt_tokens": 64,
    "max_tokens": 96,
    "save_steps": 2,
    "epochs": 2,
}


def _demonstration(question, response):
    messages = user(question)
    return {"prompt_id": prompt_id(messages), "messages": messages, "response": response, "source": "test"}


ROWS = [_demonstration(problem.question, problem.solution) for problem in make_problems(10, random.Random(0))]


@pytest.fixture
def run(tiny_policy, tmp_path):
    def run(name="trained", rows=ROWS, log=lambda _row, _step: None, **changes):
        demonstrations = with_table(tmp_path / "demonstrations", "demonstrations", rows)
        config = SftConfig(**SETTINGS | changes)
        return sft.run(config, policy=tiny_policy, demonstrations=demonstrations, trained=tmp_path / name, log=log)

    return run


def test_fine_tuning_makes_the_demonstrations_more_likely(run, tmp_path):
    metrics = run(epochs=5)
    history = read_history(tmp_path / "trained")
    assert (metrics["lists"], metrics["steps"]) == (10, 15)
    assert history[0]["loss"] == pytest.approx(4.03, abs=0.1)  # about ln 56: random weights know nothing
    assert history[-1]["loss"] < 3.5
    assert metrics["final_loss"] == history[-1]["loss"]


def test_a_policy_learns_to_end_its_turn(run, tmp_path):
    run(rows=[_demonstration("How many ?", "7 .")] * 8, epochs=15, learning_rate=1e-2)
    sampler = make_sampler(HfSamplerConfig(model=PLAIN), tmp_path / "trained", SamplingLimits(64, 8, 1.0))
    (response,) = sampler.sample([Request("p", user("How many ?"), temperature=0.0, seed=0)])
    assert response.text == "7."
    assert response.finish_reason == STOP


def test_a_killed_run_ends_with_the_same_bytes(run, tmp_path):
    run("whole")

    with pytest.raises(Killed):
        run("killed", log=kill_at_four)
    seen = []
    run("killed", log=lambda _row, step: seen.append(step))
    assert seen == [3, 4, 5, 6]
    assert published(tmp_path / "killed") == published(tmp_path / "whole")


def test_what_does_not_fit_is_counted(run):
    long = [_demonstration("Ann " * 80, "7"), _demonstration("Ann has 3 ?", "7 " * 95)]
    metrics = run(rows=[*ROWS, *long], max_steps=1)
    assert metrics["lists"] == 10
    assert metrics["prompts_too_long_dropped"] == 1
    assert metrics["responses_too_long_dropped"] == 1


def test_demonstrations_of_which_none_fits_are_refused(run):
    with pytest.raises(LarpoError, match=r"no demonstration is left to train on: .*Increase sft.max_tokens"):
        run(max_prompt_tokens=3, max_tokens=4)
