"""AlpacaEval 2 end to end: a server replays the published answers of the judge to gemma-7b-it's outputs."""

import gzip
import hashlib
import json
import random
import re
import time
from collections import Counter
from pathlib import Path

import pytest
from forked import forked_larpo
from server_double import Asked, Reply, serve
from tiny_world import files

from larpo_lib.artifacts import read_metrics, verify
from larpo_lib.tables import read_table

ROOT = Path(__file__).parents[2]
INSTRUCTION = re.compile(r'"instruction": """(.*?)""",\n}\n\n## Model Outputs', re.DOTALL)
CONCURRENCY = 16
IN_FLIGHT = 2 * CONCURRENCY
"""Answers that a killed process may not have stored: those on their way, and those not yet taken."""
WIN_RATE, LC_WIN_RATE = 6.937294, 10.425760
SIZE = 805


def _read(path):
    return json.loads(gzip.decompress(path.read_bytes()))


class Replay:
    """The published judge. Chosen requests fail the first time; `bought` counts the answers that were given whole."""

    def __init__(self, annotations, faults=None):
        self.answers = {row["instruction"]: row["raw_completion"] for row in annotations}
        self.faults = faults or {}
        self.bought = Counter()

    def __call__(self, asked: Asked) -> Reply:
        assert asked.path == "/v1/chat/completions"
        (instruction,) = INSTRUCTION.findall(asked.payload["messages"][-1]["content"])
        fault = self.faults.get(int(hashlib.sha256(instruction.encode()).hexdigest(), 16) % 100)
        if fault is not None and asked.tries == 1:
            return fault
        completion = self.answers[instruction]
        choice = {"index": 0, **{name: completion[name] for name in ("finish_reason", "message", "logprobs")}}
        self.bought[instruction] += 1
        return Reply({"choices": [choice], "model": asked.payload["model"]})


@pytest.fixture(scope="module")
def annotations(shared_data):
    return _read(shared_data("alpaca_eval/gemma-7b-it.annotations.json.gz"))


def _command(shared_data, server, evaluation, *more, **paths):
    found = {name: shared_data(f"alpaca_eval/{file}.gz") for name, file in {
        "reference": "gpt4_1106_preview.outputs.json", "answers": "gemma-7b-it.outputs.json",
        "gamed": "df_gamed.csv", "difficulty": "instruction_difficulty.csv"}.items()} | paths  # fmt: skip
    options = [part for name, path in found.items() if path is not None for part in (f"--{name}", path)]
    judge = {
        "base_url": f'"{server.url}/v1"', "model": '"gpt-4-1106-preview"', "timeout_s": 8.0, "concurrency": CONCURRENCY
    }  # fmt: skip
    settings = [part for name, value in judge.items() for part in ("--set", f"alpaca_eval.judge.{name}={value}")]
    return ["alpaca-eval", *options, "--evaluation", evaluation, *settings, *more]


def _scores(evaluation):
    metrics = read_metrics(evaluation)
    return metrics["win_rate"], metrics["lc_win_rate"]


def test_published_outputs_get_their_published_scores(larpo, shared_data, annotations, tmp_path):
    replay = Replay(annotations)
    with serve(replay) as server:
        begun = time.monotonic()
        outcome = larpo(*_command(shared_data, server, tmp_path / "evaluation"))
        took = time.monotonic() - begun
        assert outcome.code == 0, outcome.err
        assert larpo(*_command(shared_data, server, tmp_path / "evaluation")).out == outcome.out
    assert took < 120
    assert _scores(tmp_path / "evaluation") == pytest.approx((WIN_RATE, LC_WIN_RATE), abs=1e-6)
    assert set(replay.bought.values()) == {1}
    assert len(replay.bought) == SIZE
    _check_artifact(tmp_path / "evaluation", annotations)
    _check_scored_again(larpo, shared_data, tmp_path / "evaluation")


def _check_artifact(evaluation, annotations):
    verify(evaluation)
    ours = json.loads((evaluation / "annotations.json").read_text())
    assert [row["instruction"] for row in ours] == [row["instruction"] for row in annotations]
    for row, theirs in zip(ours, annotations, strict=True):
        assert row["preference"] == pytest.approx(theirs["preference"], abs=1e-9)
        assert row["raw_completion"]["logprobs"] == theirs["raw_completion"]["logprobs"]
        assert all(row[name] == theirs[name] for name in ("output_1", "output_2", "generator_1", "generator_2"))
    scores = read_table(evaluation / "scores.parquet", "scores")
    assert Counter(row["metric"] for row in scores) == {"win_rate": SIZE, "lc_win_rate": SIZE}
    metrics = read_metrics(evaluation)
    for name in ("win_rate", "lc_win_rate"):
        mean = sum(row["value"] for row in scores if row["metric"] == name) / SIZE
        assert metrics[name] == pytest.approx(mean, abs=1e-9)
    assert int(metrics["average_length"]) == 1115
    assert (evaluation.parent / "evaluation.decisions.jsonl").is_file()
    assert len((evaluation / "decisions.jsonl").read_text().splitlines()) == SIZE


def _check_scored_again(larpo, shared_data, evaluation):
    gamed, difficulty = (shared_data(f"alpaca_eval/{name}.csv.gz") for name in ("df_gamed", "instruction_difficulty"))
    files = {"preferences": evaluation / "preferences.csv", "gamed": gamed, "difficulty": difficulty}
    outcome = larpo("score", "alpaca_eval", *(part for name, path in files.items() for part in (f"--{name}", path)))
    (found,) = json.loads(outcome.out).values()
    metrics = read_metrics(evaluation)
    for name in ("win_rate", "lc_win_rate", "win_rate_standard_error", "lc_win_rate_standard_error"):
        assert found[name] == metrics[name]


FAULTS = {
    0: Reply({"error": {"message": "slow down"}}, status=429, headers={"retry-after": "1"}),
    1: Reply({"error": {"message": "slow down"}}, status=429),
    2: Reply("oops", status=500),
    3: Reply("oops", status=503),
    4: Reply({}, after_s=20.0),
    5: Reply({"choices": []}, cut_off=True),
}
"""By the last two digits of an instruction's hash: each meets about eight of the 805."""


def test_faults_and_a_kill_change_no_number_and_nothing_is_bought_twice(shared_data, annotations, tmp_path):
    replay = Replay(annotations, FAULTS)
    evaluation, kept, output = tmp_path / "evaluation", tmp_path / "kept.jsonl", tmp_path / "output"
    with serve(replay) as server:
        arguments = _command(shared_data, server, evaluation, decisions=kept)
        process = forked_larpo(*arguments, output=output)
        while replay.bought.total() < 300:
            assert process.poll() is None, output.read_text()
            time.sleep(0.01)
        process.kill()
        process.wait()
        assert not evaluation.exists()
        time.sleep(1)  # for answers on their way to nobody
        stored = {
            INSTRUCTION.findall(json.loads(line)["request"]["messages"][-1]["content"])[0]
            for line in kept.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")
        }  # fmt: skip
        before = Counter(replay.bought)
        assert len(stored) >= 300 - IN_FLIGHT
        assert stored <= before.keys()
        assert forked_larpo(*arguments, output=output).wait() == 0, output.read_text()
    assert _scores(evaluation) == pytest.approx((WIN_RATE, LC_WIN_RATE), abs=1e-6)
    after = replay.bought - before
    assert not stored & after.keys()
    assert stored | after.keys() == replay.answers.keys()
    assert set(before.values()) == set(after.values()) == {1}
    lost = {instruction for instruction, times in replay.bought.items() if times > 1}
    assert lost <= before.keys() - stored
    assert len(lost) <= IN_FLIGHT
    _check_artifact_lines(kept)


def _check_artifact_lines(kept):
    keys = [json.loads(line)["key"] for line in kept.read_text().splitlines()]
    assert len(keys) == len(set(keys)) == SIZE


def _write(path, rows):
    path.write_text(json.dumps(rows))
    return path


def test_a_part_is_refused_before_any_call_or_scored_as_one(larpo, shared_data, annotations, tmp_path):
    part = tmp_path / "gemma.json"
    _write(part, random.Random(0).sample(_read(shared_data("alpaca_eval/gemma-7b-it.outputs.json.gz")), 40))
    with serve(Replay(annotations)) as server:
        refused = larpo(*_command(shared_data, server, tmp_path / "evaluation", answers=part))
        assert refused.code == 2
        assert "answers of gemma-7b-it: 40 instructions, but AlpacaEval has 805" in refused.err
        limited = larpo(*_command(
            shared_data, server, tmp_path / "evaluation", "--set", "alpaca_eval.partial=true", "--max-judge-calls", 39,
            answers=part,
        ))  # fmt: skip
        assert limited.code == 2
        assert "needs 40 judge calls" in limited.err
        assert not server.asked
        command = _command(shared_data, server, tmp_path / "part", "--set", "alpaca_eval.partial=true", answers=part)
        assert larpo(*command).code == 0
    metrics = read_metrics(tmp_path / "part")
    chosen = {row["instruction"] for row in json.loads(part.read_text())}
    preferences = [row["preference"] - 1 for row in annotations if row["instruction"] in chosen]
    assert metrics["win_rate"] == pytest.approx(100 * sum(preferences) / 40, abs=1e-9)
    assert metrics["unanswered_dropped"] == SIZE - 40
    assert 0 < metrics["lc_win_rate"] < 40
    report = json.loads((tmp_path / "part" / "report.json").read_text())
    assert any(caveat.startswith("Only 40 instructions") for caveat in report["caveats"])


def test_a_policy_answers_and_is_judged(larpo, shared_data, annotations, tiny_policy, tmp_path):
    """Generation with a policy of random weights, on a cut reference; twice the same bytes."""
    rows = _read(shared_data("alpaca_eval/gpt4_1106_preview.outputs.json.gz"))
    short = sorted(rows, key=lambda row: len(row["instruction"]))[:6]
    reference = _write(tmp_path / "reference.json", short)
    more = [
        "--policy", tiny_policy, "--set", "alpaca_eval.partial=true", "--set", "alpaca_eval.answers.max_new_tokens=8",
        "--set", "model.device=cpu",
    ]  # fmt: skip
    with serve(Replay(annotations)) as server:
        for name in ("one", "two"):
            command = _command(shared_data, server, tmp_path / name, *more, reference=reference, answers=None)
            outcome = larpo(*command)
            assert outcome.code == 0, outcome.err
        asked = len(server.asked)
    assert files(tmp_path / "one") == files(tmp_path / "two")
    outputs = json.loads((tmp_path / "one" / "outputs.json").read_text())
    metrics = read_metrics(tmp_path / "one")
    assert len(outputs) == metrics["instructions"] == 6
    assert asked == 12
    assert metrics["average_length"] == pytest.approx(sum(len(row["output"]) for row in outputs) / 6)


def test_a_judge_that_answers_as_published_is_its_own_published_annotations(larpo, shared_data, annotations, tmp_path):
    """Its sample grows by what is missing alone."""
    replay, published = Replay(annotations), {row["instruction"]: row["preference"] for row in annotations}
    with serve(replay) as server:
        for limit in (20, 30):
            settings = {"judge.base_url": f'"{server.url}/v1"', "judge.model": '"gpt-4-1106-preview"', "limit": limit,
                        "both_orders": "false", "resamples": 20}  # fmt: skip
            outcome = larpo(
                "judge-check", "--reference", shared_data("alpaca_eval/gemma-7b-it.annotations.json.gz"),
                "--decisions", tmp_path / "kept.jsonl", "--evaluation", tmp_path / f"check-{limit}",
                *(part for name, value in settings.items() for part in ("--set", f"judge_check.{name}={value}")),
            )  # fmt: skip
            assert outcome.code == 0, outcome.err
            assert len(replay.bought) == limit
    assert set(replay.bought.values()) == {1}
    metrics = read_metrics(tmp_path / "check-30")
    assert (metrics["pairs"], metrics["agreement"], metrics["kappa"], metrics["not_drawn"]) == (30, 1.0, 1.0, SIZE - 30)
    rows = json.loads((tmp_path / "check-30" / "annotations.json").read_text())
    assert all(row["preference"] == pytest.approx(published[row["instruction"]], abs=1e-9) for row in rows)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"gamed": None}, "a length-controlled win rate needs gamed in addition to the difficulties"),
        ({"answers": None}, "needs either a policy or answers"),
        ({"policy": "."}, "needs either a policy or answers"),
    ],
)
def test_what_is_missing_is_told_before_any_call(larpo, shared_data, annotations, tmp_path, change, problem):
    with serve(Replay(annotations)) as server:
        outcome = larpo(*_command(shared_data, server, tmp_path / "evaluation", **change))
        assert not server.asked
    assert outcome.code == 2
    assert re.search(problem, outcome.err)
