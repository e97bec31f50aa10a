"""An evaluation by a judge that fails and talks nonsense, killed again and again: each decision is bought once."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mixeval_questions import asked_about, completion, write_answers, write_questions
from server_double import Asked, Reply, serve

ITEMS, ATTEMPTS, KILLS, CONCURRENCY = 40, 3, 3, 2
FREE_FORM = {
    str(i): {"context": None, "prompt": f"What is {i} + 1?", "target": [str(i + 1)], "benchmark_name": "MATH"}
    for i in range(ITEMS)
}
MULTIPLE_CHOICE = {
    str(i): {
        "context": None,
        "prompt": f"Which is {i}?",
        "options": ["x", str(i)],
        "target": [1],
        "benchmark_name": "ARC",
    }
    for i in range(ITEMS)
}


class _Judge:
    """Says 0.5 or B, and of a quarter of the questions nothing that can be read. Some first requests fail."""

    def __init__(self) -> None:
        self.told: list[str] = []
        """Question of every answer that was given whole, whether or not anybody was left to get it."""

    def __call__(self, asked: Asked) -> Reply:
        question, _ = asked_about(asked.payload)
        rng = random.Random(question)
        silent, failing = rng.random() < 0.25, rng.random() < 0.4
        failures = [
            Reply({}, status=429, headers={"retry-after": "0"}),
            Reply({}, status=500),
            Reply(completion("[[0.5]]"), cut_off=True),
        ]
        if asked.tries == 1 and failing:
            return rng.choice(failures)
        self.told.append(question)
        text = "[[0.5]]" if question.startswith("What") else "[[B]]"
        return Reply(completion("I cannot say." if silent else text), after_s=0.02)


@pytest.fixture
def command(tmp_path: Path):
    files = write_questions(tmp_path, FREE_FORM, MULTIPLE_CHOICE)
    answers = write_answers(tmp_path / "answers.jsonl", ["hm"] * 2 * ITEMS, FREE_FORM, MULTIPLE_CHOICE)

    def command(url: str, name: str) -> list[str]:
        settings = {"base_url": url, "model": "judge", "concurrency": CONCURRENCY, "retries": 4}
        return [
            *("mixeval", "--free-form", str(files["free_form"]), "--multiple-choice", str(files["multiple_choice"])),
            *("--answers", str(answers), "--evaluation", str(tmp_path / name), "--set", f"mixeval.attempts={ATTEMPTS}"),
            *(part for key, value in settings.items() for part in ("--set", f"mixeval.judge.{key}={value}")),
        ]

    return command


def _start(arguments: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "larpo_lib", *arguments], stdout=subprocess.PIPE)


def _stored(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_kills_change_nothing_and_no_stored_decision_is_bought_again(command, tmp_path: Path) -> None:
    with serve(_Judge()) as server:
        out, _ = _start(command(server.url, "whole")).communicate()
    expected = json.loads(out)
    assert 0 < expected["unparsed"] < ITEMS
    assert expected["judged_again"] == expected["unparsed"] * (ATTEMPTS - 1)
    decisions, judge, lost = tmp_path / "killed.decisions.jsonl", _Judge(), 0
    with serve(judge) as server:
        for wanted in range(20, 20 * (KILLS + 1), 20):
            process = _start(command(server.url, "killed"))
            while process.poll() is None and _stored(decisions) < wanted:
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL, "it was done before it could be killed"
            time.sleep(0.2)  # the judge ends what it was at work on, for nobody
            lost = len(judge.told) - _stored(decisions)
        out, _ = _start(command(server.url, "killed")).communicate()
    assert json.loads(out) == expected
    assert lost <= KILLS * 2 * CONCURRENCY  # being answered, or answered and not yet stored
    assert len(judge.told) == _stored(decisions) + lost
    rows = [json.loads(line) for line in decisions.read_text().splitlines()]
    assert len({row["key"] for row in rows}) == len(rows) == 2 * ITEMS + expected["judged_again"]
    for name in ("judged.jsonl", "report.json", "scores.parquet", "metrics.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
