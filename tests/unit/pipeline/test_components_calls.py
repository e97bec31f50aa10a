"""What the components do that is no step: begin, gate, journal, the last word."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from larpo_lib.errors import ConfigError, LarpoError
from larpo_lib.pipeline import closing, files, rounds, shown
from larpo_lib.pipeline.begin import begin
from larpo_lib.pipeline.execute import Done
from larpo_lib.pipeline.ticket import Ticket
from larpo_lib.tracking import Tracker

GIVEN = {
    "job": "job", "max_rounds": 4, "run_id": "one", "rounds": 3, "sample_shards": 2, "rerank_shards": 1, "seed": -1,
    "train_gpus": 0, "train_cpus": "2", "train_memory": "8Gi", "gpu_type": "nvidia.com/gpu", "preset": "",
}  # fmt: skip


@pytest.fixture
def given(tiny_world: Path, tmp_path: Path, mlflow_uri: str, monkeypatch: pytest.MonkeyPatch) -> dict:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_uri)
    sources = {f"{name}_source": str(tiny_world / f"{name}.jsonl") for name in ("prompts", "demonstrations")}
    heldout = str(tiny_world / "heldout.jsonl")
    settings = json.dumps({"model": {"device": "cpu"}, "loop": {"early_stop": {"patience": 1}}})
    return {
        **GIVEN, **sources, "evaluation_prompts_source": heldout, "policy": str(tiny_world / "policy"),
        "root": str(tmp_path), "settings": settings,
    }  # fmt: skip


def evaluated(root: Path, iteration: int, reward: float) -> None:
    artifact = root / f"iteration-{iteration}" / "evaluation"
    artifact.mkdir(parents=True)
    (artifact / "artifact.json").write_text("{}")
    (artifact / "metrics.json").write_text(json.dumps({"mean_reward": reward}))


def test_begin_gives_a_ticket_that_finds_the_run_again(given, tmp_path):
    started = begin(given, "/kfp/checked")
    assert (started.sample_shards, started.rerank_shards) == (["0/2", "1/2"], ["0/1"])
    ticket = Ticket.model_validate_json(started.run)
    assert ticket.root == str(tmp_path / "one")
    assert Ticket.model_validate_json(begin(given, "/kfp/checked").run).parent == ticket.parent
    kept = files.kept_ticket(ticket.root)
    assert kept is not None
    assert Ticket.model_validate_json(kept) == ticket


def test_a_pod_that_only_follows_other_machines_asks_for_little(given):
    several = {**given, "train_nodes": 2, "train_launcher": "deepspeed", "train_gpus": 8, "train_memory": "64Gi"}
    started = begin(several, "/kfp/checked")
    assert (started.train_gpus, started.train_cpus, started.train_memory) == (0, "1", "2Gi")
    nodes = Ticket.model_validate_json(started.run).resources
    assert nodes == {"cpu": "2", "memory": "64Gi", "nvidia.com/gpu": "8"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rounds": 5}, "5 rounds are asked for, but the pipeline was compiled for at most 4"),
        ({"sample_shards": 0}, "sample_shards is 0"),
        ({"prompts_heldout": 3}, "must come from exactly one place"),
        ({"settings": '{"tracking": {"uri": "http://me:hunter2@mlflow"}}'}, "tracking.uri holds a password"),
        ({"policy": "/no/such/policy"}, "/no/such/policy"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_made(given, tmp_path, change, message):
    with pytest.raises(LarpoError, match=message) as raised:
        begin({**given, **change}, "/kfp/checked")
    assert "hunter2" not in str(raised.value)
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["journal"]
    (entry,) = files.unfinished(str(tmp_path / "one"))
    assert (entry["step"], entry["state"]) == ("start", "failed")


def test_a_run_in_s3_needs_a_server_of_mlflow(given, s3, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    with pytest.raises(ConfigError, match="no MLflow server"):
        begin({**given, "root": "s3://larpo-bucket/runs"}, "/kfp/checked")


def test_the_gate_opens_until_the_rounds_are_done_or_the_loop_has_stalled(given, tmp_path):
    run = begin(given, "/kfp/checked").run
    root = tmp_path / "one"
    policy = [str(root / "sft"), *(str(root / f"iteration-{i}" / "policy") for i in (1, 2, 3))]
    evaluated(root, 0, 0.1)
    assert rounds.gate(run, 1, policy[0]) == "evaluate"
    evaluated(root, 1, 0.2)
    assert rounds.gate(run, 2, policy[1]) == "evaluate"
    evaluated(root, 2, 0.2)
    assert [rounds.gate(run, i, policy[2]) for i in (3, 4)] == ["skip", "skip"]
    assert rounds.gate(run, 2, policy[1]) == "evaluate"  # a retry of an earlier gate says what it said


def test_the_gate_knows_when_to_measure_and_to_promote(given, tmp_path):
    settings = {"model": {"device": "cpu"}}
    last = begin({**given, "settings": json.dumps(settings), "evaluate_when": "last_round"}, "/kfp/checked").run
    root = tmp_path / "one"
    policy = [str(root / "sft"), *(str(root / f"iteration-{i}" / "policy") for i in (1, 2, 3))]
    gates = [rounds.gate(last, i, policy[min(i, 4) - 1]) for i in (1, 2, 3, 4)]
    assert gates == ["train", "train", "evaluate", "skip"]
    promoting = json.dumps({**settings, "loop": {"promote": "every_iteration"}})
    every = begin({**given, "run_id": "two", "settings": promoting}, "/kfp/checked").run
    assert rounds.gate(every, 1, str(tmp_path / "two" / "sft")) == "promote"


@pytest.mark.parametrize("remote", [False, True])
def test_the_journal_keeps_what_failed_and_what_died(tmp_path, s3, remote):
    root = "s3://larpo-bucket/runs/one" if remote else str(tmp_path)
    with files.journal(root, "sample-1"):
        pass
    with pytest.raises(LarpoError), files.journal(root, "train-1"):
        raise LarpoError("no list is left", remedy="Sample more")
    dying = files.journal(root, "evaluate-1")
    dying.__enter__()
    assert files.unfinished(root) == [
        {"step": "evaluate-1", "state": "running", "cause": ""},
        {"step": "train-1", "state": "failed", "cause": "no list is left. Sample more."},
    ]
    with files.journal(root, "train-1"):
        pass
    assert [entry["step"] for entry in files.unfinished(root)] == ["evaluate-1"]


def test_the_last_word_names_step_and_cause_and_ends_the_run_in_mlflow(given, tmp_path, mlflow_uri):
    ticket = Ticket.model_validate_json(begin(given, "/kfp/checked").run)
    with pytest.raises(LarpoError), files.journal(ticket.root, "train-1"):
        raise LarpoError("no list is left")
    arguments = {"job": "job", "root": str(tmp_path), "run_id": "one", "example": "/kfp/text"}
    done = closing.close(state="FAILED", message="Task loop failed.", **arguments)
    assert "# Run one: FAILED" in done.texts["markdown"]
    assert "- **train-1**: no list is left." in done.texts["markdown"]
    from mlflow import MlflowClient

    run = MlflowClient(tracking_uri=mlflow_uri).get_run(ticket.parent)
    assert run.info.status == "FAILED"
    assert run.data.tags["larpo.error"] == "**train-1**: no list is left."
    assert Tracker(ticket.config.tracking, tmp_path, ticket.parent).opened().run_id == ticket.parent


def test_the_last_word_where_nothing_was_begun(tmp_path):
    done = closing.close(
        state="FAILED", message="pod was evicted (1)", job="job", root=str(tmp_path), run_id="one", example="/kfp/text"
    )
    assert "KFP says: pod was evicted" in done.texts["markdown"]
    wrong = closing.close(state="FAILED", message="", job="job", root="nowhere", run_id="", example="/kfp/text")
    assert "root is 'nowhere'" in wrong.texts["markdown"]


class Artifact:
    """As KFP hands one to a component."""

    def __init__(self, path: Path) -> None:
        self.uri, self.path, self.metadata = str(path), str(path), {}


def test_what_kfp_cannot_store_is_pointed_to_by_a_small_file(tmp_path):
    metadata = {"uri": "s3://b/runs/one/lists", "rows": 3}
    inside, outside = Artifact(tmp_path / "inside"), Artifact(tmp_path / "outside")
    shown.dataset(inside, Done("s3://b/runs/one/lists", {}, metadata, "s3://b"))
    shown.dataset(outside, Done("s3://b/runs/one/lists", {}, metadata, "s3://other/v2"))
    assert inside.uri == "s3://b/runs/one/lists"
    assert not Path(inside.path).exists()
    assert outside.uri == outside.path
    assert json.loads(Path(outside.path).read_text()) == metadata
    assert inside.metadata == outside.metadata == metadata
