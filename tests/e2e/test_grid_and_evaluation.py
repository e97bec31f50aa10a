"""A study's grid and a policy's evaluation as pipelines: what `larpo reproduce` makes on one machine, to the byte."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from harness import QUICK, as_options, run_locally
from kfp import local
from tiny_world import files

from larpo_kubeflow.pipelines.evaluate import evaluate_pipeline
from larpo_kubeflow.pipelines.study import study_pipeline
from larpo_lib.playground.world import make_world, world_sources

pytestmark = [pytest.mark.timeout(3600), pytest.mark.usefixtures("environment")]

STUDY = """
name = "small"
title = "Small"
question = "Is it the same as a pipeline?"
source = "Table 0"
baseline = "pairwise"

[[axes]]
name = "objective"

[[axes.variants]]
label = "pairwise"
settings = { train = { objective = { type = "dpo" } }, lists = { selection = { type = "best_worst" } } }

[[axes.variants]]
label = "ListMLE"
settings = { train = { objective = { type = "listmle" } } }

[tiny]
preset = "quickstart"
measures = ["reward"]

[paper]
preset = "quickstart"
measures = ["reward"]
[paper.settings]
prepare = { limit = 64 }
evaluation_prompts = { limit = 16 }
sft = { max_steps = 40, batch_size = 32 }
sample = { k = 4, prompts_per_iteration = 32 }
evaluate = { n = 2, resamples = 50 }
train = { learning_rate = 1e-4 }
promote = { metric = "reward", resamples = 50 }
loop = { iterations = 1 }
"""
RUNNER = local.SubprocessRunner(use_venv=False)


@dataclass(frozen=True)
class Study:
    """A study that `larpo reproduce` ran, and the same as arguments of a pipeline."""

    runs: Path
    found: dict[str, Any]
    arguments: dict[str, Any]


@pytest.fixture
def study(tmp_path: Path) -> Study:
    make_world(tmp_path / "world", 0)
    (tmp_path / "small.toml").write_text(STUDY)

    def reproduce(*options: str | Path) -> None:
        command = ["-m", "larpo_lib", "reproduce", tmp_path / "small.toml", "--scale", "paper", *options]
        subprocess.run([sys.executable, *command, *as_options(world_sources(tmp_path / "world"))], check=True)

    reproduce("--out", tmp_path / "expected")
    reproduce("--pipeline", tmp_path / "grids")
    (grid,) = (tmp_path / "grids").glob("*.json")
    results = json.loads((tmp_path / "expected" / "results" / "results.json").read_text())
    return Study(tmp_path / "expected" / "runs", results, json.loads(grid.read_text()))


def test_a_grid_ends_with_the_policies_of_larpo_reproduce(study: Study, tmp_path: Path) -> None:
    given = {**study.arguments, "root": str(tmp_path / "pipeline"), "shards": 2}
    outcome = run_locally(study_pipeline(limits=QUICK), given, tmp_path / "kfp", RUNNER)
    assert outcome.error == "", outcome.log[-3000:]
    made = tmp_path / "pipeline" / given["run_id"]
    assert files(made / "sft") == files(study.runs / "pairwise-seed0" / "sft")
    summary = json.loads((made / "summary.json").read_text())
    for number, (row, cell) in enumerate(zip(study.found["rows"], ("pairwise", "listmle"), strict=True), start=1):
        member = made / "members" / str(number) / "iteration-1"
        for name in ("policy", "evaluation"):
            expected = files(study.runs / f"{cell}-seed0" / "iteration-1" / name)
            expected.pop("README.md", None)  # the model card, which promotion puts beside a local policy
            assert files(member / name) == expected, (cell, name)
        mean = summary["runs"][str(number)]["mean_reward"]
        assert mean == pytest.approx(row["estimates"]["reward"]["mean"])
        assert f"| {number} | `" in outcome.text("table")


def test_a_policy_is_evaluated_and_judged_as_in_its_own_run(study: Study, tmp_path: Path) -> None:
    run = study.runs / "pairwise-seed0"
    settings = {**json.loads(study.arguments["settings"]), "tracking": {}}
    given = {
        "root": str(tmp_path / "pipeline"),
        "run_id": "one",
        "settings": json.dumps(settings),
        "policy": str(run / "iteration-1" / "policy"),
        "baseline": str(run / "sft"),
    }
    outcome = run_locally(evaluate_pipeline(limits=QUICK), given, tmp_path / "kfp", RUNNER)
    assert outcome.error == "", outcome.log[-3000:]
    made = tmp_path / "pipeline" / "one"
    for iteration in (0, 1):
        name = f"iteration-{iteration}/evaluation"
        assert files(made / name) == files(run / name), name
    decided, expected = (json.loads((place / "promotion" / "promotion.json").read_text()) for place in (made, run))
    assert {name: decided[name] for name in ("alias", "difference", "means", "probability")} == {
        name: expected[name] for name in ("alias", "difference", "means", "probability")
    }
