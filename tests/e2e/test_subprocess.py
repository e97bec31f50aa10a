"""The pipeline as KFP's local runner runs it, every task a process: S3 and MLflow are real servers."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from harness import OWN, QUICK, SMALL, Outcome, as_options, broken_step, run_locally
from kfp import local
from services.mlflow_server import mlflow_server, postgres
from services.radosgw import Gateway, radosgw
from tiny_world import files

from larpo_kubeflow.pipelines.larpo import larpo_pipeline
from larpo_lib.config.toml import inline

pytestmark = [pytest.mark.timeout(3600), pytest.mark.usefixtures("environment")]

ROOT = Path(__file__).parents[2]
ROUNDS = 2


@dataclass(frozen=True)
class Whole:
    """Two rounds with all that can go wrong and be mended on the way, and what `larpo` made of the same settings."""

    outcome: Outcome
    made: Path
    expected: Path
    mlflow: str
    killed: list[str]
    failures: int
    secrets: tuple[str, ...]


REWARDS = """
from larpo_lib.rewards.answers import Scorable
from larpo_lib.rewards.rerankers.verifier import VerifierConfig

def graded(prompts, responses, references):
    rows = zip(prompts, responses, references)
    return VerifierConfig(mode="graded").make().score([Scorable("", *row) for row in rows])
"""
FUNCTION = {"type": "function", "target": "my_rewards.py:graded"}


def quickstart(out: Path, *options: str) -> Path:
    """What the command line makes of the same settings, where the file of the rewards is."""
    out.parent.joinpath("my_rewards.py").write_text(REWARDS, "utf-8")
    bare = {name: value for name, value in os.environ.items() if not name.startswith(OWN)}
    environment = {**bare, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "larpo_lib", "quickstart", "--out", out, *as_options(SMALL), *options]
    command += ["--set", f"rerank.reranker={inline(FUNCTION)}"]
    subprocess.run(command, cwd=out.parent, check=True, env=environment, stdout=subprocess.DEVNULL, timeout=1800)
    return out


def run(folder: Path, **arguments: Any) -> Outcome:
    settings = {**SMALL, "rerank": {"reranker": {**FUNCTION, "code": REWARDS}}}  # as `larpo submit` sends it
    given = {"preset": "quickstart", "settings": json.dumps(settings), **arguments}
    return run_locally(larpo_pipeline(limits=QUICK), given, folder, local.SubprocessRunner(use_venv=False))


def kill_in_the_middle(gateway: Gateway, bucket: str, key: str, told: list[str]) -> threading.Thread:
    """Kill the gateway as soon as an object is there, and start it again a while later."""

    def watch() -> None:
        while "Contents" not in gateway.client().list_objects_v2(Bucket=bucket, Prefix=key):
            time.sleep(0.2)
        gateway.kill()
        told.append(key)
        time.sleep(8)
        gateway.restart()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    folder = tmp_path_factory.mktemp("whole")
    expected = quickstart(folder / "expected", "--set", f"loop.iterations={ROUNDS}")
    (folder / "mlflow").mkdir()
    with (
        radosgw() as gateway,
        postgres() as database,
        mlflow_server(database, folder / "mlflow") as uri,
        pytest.MonkeyPatch.context() as patch,
        broken_step(folder / "broken", "rerank", 2, "the reward model is away") as broken,
    ):
        gateway.client().create_bucket(Bucket="larpo")
        variables = {**gateway.environment, "MLFLOW_TRACKING_URI": uri, "LARPO_CACHE": str(folder / "cache")}
        for name, value in {**variables, "PYTHONPATH": f"{broken}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"}.items():
            patch.setenv(name, value)
        killed: list[str] = []
        watch = kill_in_the_middle(gateway, "larpo", "runs/two/iteration-1/lists/artifact.json", killed)
        outcome = run(folder / "kfp", root="s3://larpo/runs", run_id="two", rounds=ROUNDS, shards=2)
        (folder / "log").write_text(outcome.log, "utf-8")
        watch.join(timeout=300)
        from larpo_lib.storage import fetch

        made = folder / "made"
        made.mkdir()
        if not outcome.error:
            for name in ("prompts", "heldout", "sft", *(f"iteration-{i}/policy" for i in range(1, ROUNDS + 1))):
                copy = made / name
                copy.parent.mkdir(exist_ok=True)
                copy.symlink_to(fetch(f"s3://larpo/runs/two/{name}", folder / "fetched"))
        failures = len(list(Path(broken).glob("failure-*")))
        yield Whole(outcome, made, expected, uri, killed, failures, (gateway.secret_key, "hunter2"))


def test_the_policies_are_those_of_larpo_run_to_the_byte(whole: Whole) -> None:
    assert whole.outcome.error == ""
    for name in ("iteration-1/policy", "iteration-2/policy"):
        expected = files(whole.expected / name)
        expected.pop("README.md", None)  # the model card, which promotion puts beside a local policy
        assert files(whole.made / name) == expected, name


def test_a_step_that_failed_twice_was_tried_a_third_time(whole: Whole) -> None:
    assert whole.failures == 2
    assert whole.outcome.log.count("the reward model is away") >= 2


def test_the_s3_server_was_killed_and_nothing_was_lost(whole: Whole) -> None:
    assert whole.killed == ["runs/two/iteration-1/lists/artifact.json"]
    assert whole.outcome.error == ""


def test_the_model_is_promoted_and_all_steps_are_under_one_run_of_mlflow(whole: Whole) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=whole.mlflow)
    version = client.get_model_version_by_alias("larpo-quickstart", "champion")
    assert version.version == "1"
    assert version.source == "s3://larpo/runs/two/iteration-2/policy"  # it stays where it was made
    (experiment,) = client.search_experiments(filter_string="name = 'larpo'")
    runs = client.search_runs([experiment.experiment_id], max_results=100)
    (parent,) = [found for found in runs if "mlflow.parentRunId" not in found.data.tags]
    steps = [found for found in runs if found is not parent]
    assert {found.data.tags["mlflow.parentRunId"] for found in steps} == {parent.info.run_id}
    rounds = [f"{step}-{i}" for i in (1, 2) for step in ("sample", "rerank", "build_lists", "train", "evaluate")]
    assert sorted(found.info.run_name for found in steps) == sorted(
        ["prepare", "prepare-evaluation", "prepare-demonstrations", "sft", "evaluate-0", *rounds, "promote", "report"]
    )
    assert {found.info.status for found in runs} == {"FINISHED"}
    curve = client.get_metric_history(parent.info.run_id, "mean_reward")
    assert [point.step for point in sorted(curve, key=lambda point: point.step)] == [0, 1, 2]
    assert "final_report.md" in {file.path for file in client.list_artifacts(parent.info.run_id)}


def test_artifacts_in_kfp_carry_rows_fingerprint_and_the_run_of_mlflow(whole: Whole) -> None:
    trained = whole.outcome.outputs("train-of-rounds-of-loop")
    assert len(trained) == ROUNDS
    metadata = trained[-1]["artifacts"]["model"]["artifacts"][0]
    manifest = json.loads((whole.expected / "iteration-2" / "policy" / "artifact.json").read_text("utf-8"))
    assert metadata["uri"] == "s3://larpo/runs/two/iteration-2/policy"
    assert metadata["metadata"]["fingerprint"] == manifest["fingerprint"]
    assert metadata["metadata"]["mlflow"].startswith(f"{whole.mlflow}/#/experiments/")
    merged = whole.outcome.outputs("merge-candidates-of-rounds-of-loop")[0]["artifacts"]
    candidates = merged["candidates"]["artifacts"][0]["metadata"]
    expected = json.loads((whole.expected / "iteration-1" / "candidates" / "metrics.json").read_text("utf-8"))
    assert candidates["rows"] == expected["candidates"] > 0
    evaluated = whole.outcome.outputs("evaluate-of-loop")[0]["artifacts"]
    metrics = evaluated["metrics"]["artifacts"][0]["metadata"]
    assert 0 <= metrics["accuracy"] <= 1


def test_the_report_the_drops_and_the_end_are_shown(whole: Whole) -> None:
    assert whole.outcome.text("page").startswith("<!doctype html>")
    assert "| step | what | start | iteration 1 | iteration 2 |" in whole.outcome.text("drops")
    end = whole.outcome.text("text")
    assert end.startswith("# Run two: SUCCEEDED")
    assert "larpo-quickstart" in end


def test_no_credential_is_written_or_logged(whole: Whole) -> None:
    written = [path for path in whole.outcome.folder.rglob("*") if path.is_file()]
    for text in (whole.outcome.log, *(path.read_text("utf-8", "replace") for path in written)):
        assert not any(secret in text for secret in whole.secrets)
