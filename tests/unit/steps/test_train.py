from __future__ import annotations

import json
import random

import pytest
from small_models import user

from larpo_lib.config import ModelConfig, TrainConfig
from larpo_lib.config.objectives import ContrastiveConfig, KtoConfig, ListMleConfig
from larpo_lib.errors import LarpoError
from larpo_lib.playground.problems import make_problems, no_reasoning, wrong_final_number
from larpo_lib.policies.load import load_policy, load_tokenizer
from larpo_lib.schemas import candidate_id, prompt_id
from larpo_lib.steps import train
from larpo_lib.tables import write_table
from larpo_lib.training import reference
from larpo_lib.training.trainable import read_history

PLAIN = ModelConfig(device="cpu")
SETTINGS = {
    "model": PLAIN,
    "learning_rate": 1e-3,
    "warmup_ratio": 0.0,
    "batch_size": 4,
    "micro_batch_tokens": 200,
    "max_prompt_tokens": 64,
    "max_tokens": 96,
    "save_steps": 2,
}


class Killed(Exception):  # noqa: N818 - it stands for the end of the process
    pass


def _list(problem, rng):
    messages = user(problem.question)
    responses = [problem.solution, wrong_final_number(problem, rng), no_reasoning(problem, rng)]
    key = prompt_id(messages)
    return {
        "prompt_id": key,
        "messages": messages,
        "candidate_ids": [candidate_id(key, response) for response in responses],
        "responses": responses,
        "token_ids": [None] * 3,
        "rewards": [1.0, 0.4, 0.1],
        "finish_reasons": ["stop"] * 3,
        "negative_kinds": ["positive", "sampled", "sampled"],
    }


@pytest.fixture(scope="module")
def rows():
    rng = random.Random(0)
    return [_list(problem, rng) for problem in make_problems(10, rng)]


@pytest.fixture
def run(tiny_policy, tmp_path, rows):
    def run(name="trained", rows=rows, log=lambda _row, _step: None, **changes):
        lists = tmp_path / "lists"
        lists.mkdir(exist_ok=True)
        write_table(lists / "lists.parquet", "lists", rows)
        config = TrainConfig(**SETTINGS | changes)
        return train.run(config, policy=tiny_policy, lists=lists, trained=tmp_path / name, log=log)

    return run


def _published(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_a_trained_policy_is_published_with_history_and_metrics(run, tmp_path, tiny_policy):
    metrics = run()
    history = read_history(tmp_path / "trained")
    assert [row["step"] for row in history] == [1, 2, 3, 4, 5, 6]
    assert (metrics["lists"], metrics["responses"], metrics["steps"]) == (10, 30, 6)
    assert metrics["final_loss"] == history[-1]["loss"]
    assert metrics["final_ranking_accuracy"] == history[-1]["ranking_accuracy"]
    assert history[-1]["loss"] < history[0]["loss"]
    assert history[-1]["margin"] > 0
    tokenizer = load_tokenizer(tmp_path / "trained", PLAIN)
    assert tokenizer.chat_template == load_tokenizer(tiny_policy, PLAIN).chat_template
    before, after = load_policy(tiny_policy, PLAIN), load_policy(tmp_path / "trained", PLAIN)
    assert any((a != b).any() for a, b in zip(before.parameters(), after.parameters(), strict=True))


def test_the_first_step_starts_from_the_reference(run, tmp_path):
    """Before any update policy and reference are one: no drift, and ListMLE of three equal scores is ln 3! ."""
    run(objective=ListMleConfig(), max_steps=1)
    (row,) = read_history(tmp_path / "trained")
    assert row["loss"] == pytest.approx(1.791759, abs=1e-4)
    assert row["margin"] == row["kl"] == row["chosen_logp_drift"] == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("objective", [ContrastiveConfig(), KtoConfig()])
def test_a_killed_run_ends_with_the_same_bytes(run, tmp_path, monkeypatch, objective):
    run("whole", objective=objective)

    def kill(_row, step):
        if step == 4:
            raise Killed

    with pytest.raises(Killed):
        run("killed", log=kill, objective=objective)
    assert not (tmp_path / "killed").exists()

    def uncalled(*_args):
        raise AssertionError("the reference was scored again")

    monkeypatch.setattr(reference, "reference_logps", uncalled)
    seen = []
    run("killed", log=lambda _row, step: seen.append(step), objective=objective)
    assert seen == [3, 4, 5, 6]
    assert _published(tmp_path / "killed") == _published(tmp_path / "whole")


def test_ktos_mismatched_responses_answer_another_prompt(run, rows, monkeypatch):
    seen = {}

    class Recorder(train.Collator):
        def __call__(self, lists):
            seen.update({item.encoded.prompt_id: item for item in lists})
            return super().__call__(lists)

    monkeypatch.setattr(train, "Collator", Recorder)
    distinct = [{**row, "token_ids": [[20 + i, 4], [7, 4], [8, 4]]} for i, row in enumerate(rows)]
    run(rows=distinct, objective=KtoConfig(), epochs=1)
    best = {row["prompt_id"]: row["token_ids"][0] for row in distinct}
    assert seen.keys() == best.keys()
    assert sorted(item.mismatched for item in seen.values()) == sorted(best.values())
    assert all(item.mismatched != best[prompt] for prompt, item in seen.items())


def test_what_does_not_fit_is_counted(run, rows):
    long = [{**rows[0], "messages": user("Ann " * 80)}]
    cut = [{**rows[1], "responses": ["1 " * 90, *rows[1]["responses"][1:]]}]
    tied = [{**rows[2], "rewards": [1.0, 1.0, 1.0]}]
    metrics = run(rows=[*rows[3:], *long, *cut, *tied], max_steps=1)
    assert metrics["lists"] == 8
    assert metrics["responses"] == 7 * 3 + 2
    assert metrics["prompts_too_long_dropped"] == 1
    assert metrics["responses_too_long_dropped"] == 1
    assert metrics["lists_without_preference_dropped"] == 1


def test_lists_of_which_none_fits_are_refused(run, rows):
    with pytest.raises(LarpoError, match=r"no list is left to train on: .*prompts_too_long_dropped.: 10"):
        run(max_prompt_tokens=3, max_tokens=4)


def test_sampled_token_ids_are_what_is_trained_on(run, rows):
    """A re-tokenization could split the text otherwise; here the ids say something else altogether."""
    plain = run("plain", max_steps=1)
    other = [{**row, "token_ids": [[7, 8, 4], [9, 4], [10, 11, 12, 4]]} for row in rows]
    metrics = run("sampled", rows=other, max_steps=1)
    assert metrics["response_tokens"] == 10 * 9 != plain["response_tokens"]


def test_the_manifest_tells_the_settings(run, tmp_path):
    run(max_steps=1)
    manifest = json.loads((tmp_path / "trained" / "artifact.json").read_text())
    assert manifest["config"]["objective"]["type"] == "listmle"
    assert manifest["inputs"].keys() == {"policy", "lists"}
