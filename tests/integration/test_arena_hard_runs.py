"""Arena-Hard end to end: a server replays made-up verdicts on real answers, and their official scores come out."""

import json
import time
from collections import Counter

import arena_hard_games as games
import pytest
from forked import forked_larpo
from judge_double import answered
from server_double import Reply, serve

from larpo_lib.artifacts import read_metrics, verify

COUNT = 120
"""Of the hard prompts, the first ones."""
CONCURRENCY = 8
IN_FLIGHT = 2 * CONCURRENCY
"""Answers that a killed process may not have stored: those on their way, and those not yet taken."""
MODEL = "two"
# By the official functions on these 120 questions, as tests/unit/evaluation/arena_hard/test_arena_hard_scoring.py says
WIN_RATE, STYLE_CONTROLLED = 8.088235294117647, 7.085900783538818
FAULTS = {
    0: Reply({"error": {"message": "slow down"}}, status=429, headers={"retry-after": "0"}),
    1: Reply("oops", status=500),
    2: Reply({"choices": []}, cut_off=True),
}
"""By the place of a request: each fails once."""


class Replay:
    """The judge. `bought` counts the verdicts that were given whole, by question and game."""

    def __init__(self, judgements, answers):
        self.labels = {row["uid"]: [game["score"] for game in row["games"]] for row in judgements}
        self.uids = {row["messages"][0]["content"]: row["uid"] for row in answers}
        self.texts = {row["uid"]: row["messages"][-1]["content"]["answer"] for row in answers}
        self.faults = dict(FAULTS)
        self.bought = Counter()

    def __call__(self, asked):
        text = asked.payload["messages"][1]["content"]
        prompt, _, shown = text.removeprefix("<|User Prompt|>\n").partition(
            "\n\n<|The Start of Assistant A's Answer|>\n"
        )
        uid = self.uids[prompt]
        game = int(shown.startswith(self.texts[uid] + "\n<|The End"))
        if (fault := self.faults.pop(len(self.bought) % 10, None)) is not None:
            return fault
        self.bought[uid, game] += 1
        label = self.labels[uid][game]
        return answered("I have seen both." if label is None else f"My final verdict is [[{label}]].")


@pytest.fixture
def world(shared_data, tmp_path):
    """The judge, and the arguments of the command but for the judge's address."""
    published = games.read(shared_data("arena_hard/o3-mini-2025-01-31.answers.v2.jsonl.gz"))
    questions = games.read(shared_data("arena_hard/question.v2.jsonl.gz"))
    questions = [row for row in questions if row["category"] == "hard_prompt"][:COUNT]
    answers = games.answers_of(MODEL, published)
    judgements = games.judgements(MODEL, questions, answers, published)
    files = {"questions": questions, "hard-prompt-baseline": published, "answers": answers}
    arguments = ["arena-hard", "--set", "arena_hard.partial=true", "--evaluation", tmp_path / "evaluation"]
    for name, rows in files.items():
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        arguments += [f"--{name}", path]
    return Replay(judgements, answers), arguments


def test_faults_and_a_kill_change_no_number_and_nothing_is_bought_twice(world, tmp_path, larpo):
    replay, arguments = world
    evaluation, kept, output = tmp_path / "evaluation", tmp_path / "evaluation.decisions.jsonl", tmp_path / "output"
    with serve(replay) as server:
        judge = {"base_url": f"{server.url}/v1", "model": games.JUDGE, "concurrency": CONCURRENCY}
        arguments += [part for name, value in judge.items() for part in ("--set", f"arena_hard.judge.{name}={value}")]
        process = forked_larpo(*arguments, output=output)
        while replay.bought.total() < COUNT // 2:
            assert process.poll() is None, output.read_text()
            time.sleep(0.01)
        process.kill()
        process.wait()
        assert not evaluation.exists()
        time.sleep(0.5)  # for answers on their way to nobody
        stored = kept.read_bytes().count(b"\n")
        before = replay.bought.total()
        assert before - IN_FLIGHT <= stored <= before
        done = larpo(*arguments)
        assert done.code == 0, done.err
        assert replay.bought.total() - before == 2 * COUNT - stored
        assert larpo(*arguments).out == done.out
    assert len(replay.bought) == 2 * COUNT
    assert sum(times > 1 for times in replay.bought.values()) == before - stored
    assert not replay.faults
    verify(evaluation)
    metrics = read_metrics(evaluation)
    assert metrics["hard_prompt_win_rate"] == pytest.approx(WIN_RATE, abs=1e-9)
    assert metrics["hard_prompt_style_controlled"] == pytest.approx(STYLE_CONTROLLED, abs=2e-4)
    unread = sum(None in labels for labels in replay.labels.values())
    assert unread > 0
    assert metrics["unparsed"] == unread
    published = ["--judgments", evaluation / "judgments.jsonl", "--answers", evaluation / "answers.jsonl"]
    again = larpo("score", "arena-hard", *published, "--answers", tmp_path / "hard-prompt-baseline.jsonl")
    found = json.loads(again.out)[games.JUDGE]["hard_prompt"][MODEL]
    assert found["style_controlled"] == pytest.approx(metrics["hard_prompt_style_controlled"], abs=1e-9)
