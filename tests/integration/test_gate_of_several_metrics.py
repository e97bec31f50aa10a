"""A run whose gate asks for several metrics: tiny policy, real steps, a real MLflow database."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from tiny_world import Larpo

from larpo_lib.playground.problems import make_problems
from larpo_lib.reporting import drawing

GATE = """
confidence = 0.8
must_improve = [{ metric = "evaluate.reward" }]
must_not_lose = [{ metric = "divergence.kl", margin = 0.05 }, { metric = "gsm8k.accuracy", margin = 100 }]
"""
BENCHMARKS = """
benchmark_files = { gsm8k = { problems = "heldout.jsonl" } }

[gsm8k]
n = 0
limit = 5
answers = { max_new_tokens = 8 }
"""
REWARD = 'reranker = { type = "length", unit = "characters", longest = 5 }'


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


def test_a_policy_that_gains_reward_and_loses_a_guarded_metric_is_not_promoted(
    here: Path, larpo: Larpo, mlflow_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It learns to be short, as the reward asks, and moves away from the policy that it was."""
    monkeypatch.setattr(drawing, "_saved", lambda *_panels, **_look: b"<svg></svg>")  # other tests draw
    settings = (here / "larpo.toml").read_text("utf-8")
    settings = settings[: settings.index("[demonstrations]")] + settings[settings.index("[sample]") :]
    settings = settings.replace('reranker = { type = "verifier", mode = "graded" }', REWARD)
    settings = settings.replace("learning_rate = 1e-4\nmax_steps = 2", "learning_rate = 1e-2\nmax_steps = 4")
    settings = settings.replace("resamples = 50\n\n[report]", f"resamples = 200{GATE}\n[report]") + BENCHMARKS
    (here / "larpo.toml").write_text(settings, "utf-8")
    more = make_problems(40, random.Random(1))  # few prompts would show no gain
    rows = [json.dumps({"question": one.question, "answer": one.solution}) for one in more]
    (here / "heldout.jsonl").write_text("\n".join(rows), "utf-8")
    done = larpo("run", "--config", "larpo.toml", "--set", "tracking.system_metrics=false", "--out", "run")
    assert done.code == 0, done.err

    decision = read(here / "run/promotion/promotion.json")
    reward, kl, solved = decision["tests"]
    rewards = [read(here / f"run/iteration-{i}/evaluation/metrics.json")["mean_reward"] for i in (0, 1)]
    moved = read(here / "run/iteration-1/divergence/metrics.json")["kl"]
    assert rewards[1] > rewards[0]
    assert (reward["passed"], kl["passed"], solved["passed"]) == (True, False, True)
    assert abs(reward["gain"] - (rewards[1] - rewards[0])) < 1e-9
    assert (kl["lower_is_better"], round(kl["gain"], 9)) == (True, round(-moved, 9))
    assert (decision["alias"], decision["opponent"]) == ("challenger", "baseline")
    assert decision["reason"].startswith(
        f"divergence.kl is worse by {moved:.4g}, where less than 0.05 is allowed: {moved:.4g} against 0 of baseline, "
        "lower is better, gain -"
    )
    assert f"is now challenger: {decision['reason']}" in done.out
    assert read(here / "run/summary.json")["promoted"] is False
    page = (here / "run/report/report.html").read_text("utf-8")
    assert "✗ Not promoted" in page
    assert "divergence.kl ↓" in page
    assert (here / "run/report/figures/gate.png").is_file()
    assert "| divergence.kl ↓ | loss < 0.05 |" in (here / "run/iteration-1/policy/README.md").read_text("utf-8")
    client = MlflowClient(mlflow_uri)
    version = client.get_model_version("tiny-policy", "1")
    assert version.tags["larpo.gate"] == decision["reason"]
    assert client.get_registered_model("tiny-policy").aliases == {"challenger": 1}
    assert {file.path for file in client.list_artifacts(version.run_id)} >= {"promotion.json", "gate.md", "gate.png"}

    # The same evaluations by the command, with more room for the guarded metric.
    made = [f"--{flag}=run/iteration-{i}/{name}" for flag, i, name in (
        ("evaluation", 1, "evaluation"), ("benchmarks", 1, "divergence"), ("benchmarks", 1, "gsm8k"),
        ("baseline", 0, "evaluation"), ("baseline-benchmarks", 0, "divergence"), ("baseline-benchmarks", 0, "gsm8k"),
    )]  # fmt: skip
    room = "promote.must_not_lose=[{metric='divergence.kl', margin=9}, {metric='gsm8k.accuracy', margin=100}]"
    more = ("--set", room, "--set", "promote.model_name=roomy")
    roomy = larpo(
        "promote", "--policy", "run/iteration-1/policy", *made, "--promotion", "roomy", "--config", "larpo.toml", *more
    )
    assert roomy.code == 0, roomy.err
    promoted = json.loads(roomy.out)
    assert promoted["alias"] == "champion"
    assert promoted["reason"].startswith("better than baseline in evaluate.reward by ")
    assert "; no worse in divergence.kl (-" in promoted["reason"]
