"""The vLLM sampler within the steps and within a whole run."""

import json
from pathlib import Path

import pytest
from tiny_world import Larpo, files, make_tiny_world

from larpo_lib.playground.policy import make_policy
from larpo_lib.playground.problems import vocabulary
from larpo_lib.samplers.engines.vllm import VllmSampler
from larpo_lib.tables import read_table

VLLM = ("--set", "sample.sampler.type=vllm", "--set", "sample.sampler.enforce_eager=true")
TWO = ("--set", "loop.iterations=2", "--set", "train.max_steps=3", "--set", "train.learning_rate=1e-2")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny world, its policy with heads of the size that vLLM's attention on CPUs takes."""
    root = tmp_path_factory.mktemp("vllm-world")
    make_tiny_world(root)
    make_policy(root / "policy", vocabulary(), 0, hidden=64, layers=2, heads=2)
    return root


@pytest.fixture
def here(world: Path, mlflow_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_uri)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_killed_sampling_goes_on_and_its_candidates_can_be_ranked(
    world: Path, here: Path, larpo: Larpo, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = ("--config", world / "larpo.toml")
    prompts = ("--prompts", "prompts")
    assert larpo("prepare", *config, *prompts).code == 0
    sample = ("sample", *config, *VLLM, "--set", "sample.part_prompts=4", "--policy", world / "policy", *prompts)
    done = larpo(*sample, "--candidates", "whole")
    assert done.code == 0, done.err
    metrics = json.loads(done.out)
    drawn = metrics["candidates"]
    assert (drawn + metrics["empty_responses_dropped"], metrics["prompts_too_long_dropped"]) == (40, 0)
    assert 0 < metrics["truncated_share"] < 1
    _kill_in_the_third_call(monkeypatch)
    assert larpo(*sample, "--candidates", "killed").code != 0
    assert not (here / "killed").exists()
    monkeypatch.undo()
    monkeypatch.chdir(here)
    assert larpo(*sample, "--candidates", "killed").code == 0
    assert files(here / "killed") == files(here / "whole")
    rerank = ("rerank", *config, *prompts, "--candidates", "whole", "--ranked", "ranked")
    assert larpo(*rerank).code == 0
    ranked = read_table(here / "ranked", "ranked")
    assert len(ranked) == drawn >= 36
    assert all(len(row["token_ids"]) == row["num_tokens"] <= 16 for row in ranked)


def _kill_in_the_third_call(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, calls = VllmSampler.sample, []

    def sample(self, requests):
        calls.append(requests)
        if len(calls) > 2:
            raise KeyboardInterrupt
        return whole(self, requests)

    monkeypatch.setattr(VllmSampler, "sample", sample)


def test_a_run_of_two_iterations_samples_and_trains_in_turn(world: Path, here: Path, larpo: Larpo) -> None:
    """Five engines, one after another, with training between them; a second run gives the same bytes."""
    outs = [here / "a", here / "b"]
    for out in outs:
        done = larpo("run", "--config", world / "larpo.toml", *VLLM, *TWO, "--out", out)
        assert done.code == 0, done.err
    for name in ("iteration-1/candidates", "iteration-2/candidates", "iteration-2/policy", "iteration-2/evaluation"):
        assert files(outs[0] / name) == files(outs[1] / name)
    first, second = (read_table(outs[0] / f"iteration-{i}" / "candidates", "candidates") for i in (1, 2))
    assert min(len(first), len(second)) >= 36
    assert {row["policy"] for row in first}.isdisjoint(row["policy"] for row in second)
    history = (outs[0] / "iteration-2" / "policy" / "history.jsonl").read_text("utf-8").splitlines()
    # The trainer's log-probabilities of the sampled ids differ from the reference's once the first step is taken.
    assert json.loads(history[0])["kl"] == pytest.approx(0.0, abs=1e-6)
    assert abs(json.loads(history[-1])["kl"]) > 1e-4
