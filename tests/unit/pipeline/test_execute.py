"""A step in a pod: noted, tried again where time may mend it, found where it was made."""

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from pipeline_requests import Given, changed

import larpo_lib.kubernetes
from larpo_lib import storage
from larpo_lib.artifacts import Metrics, WorkDir, produce
from larpo_lib.config import LaunchConfig, ListsConfig, TrainConfig
from larpo_lib.errors import LarpoError
from larpo_lib.pipeline import evaluation, execute, rounds
from larpo_lib.pipeline.begin import begin
from larpo_lib.pipeline.retries import PAUSES_S
from larpo_lib.pipeline.run_context import RunContext
from larpo_lib.plan import StepCall
from larpo_lib.steps.edge import at_edge
from larpo_lib.storage.failures import UnreachableError
from larpo_lib.training.history import write_history


@pytest.fixture
def run(given: Given) -> str:
    return begin(changed(given, demonstrations=None, loop={}), "/kfp/checked").run


def test_prepare_says_what_comes_next(given: Given, run: str) -> None:
    done = rounds.prepare(run)
    assert done.next == "ready"
    assert RunContext.at(run).journal.done() >= {"prepare", "prepare-evaluation", "check-references"}
    fine_tuned = begin({**changed(given, loop={}), "run_id": "two"}, "/kfp/checked").run
    assert rounds.prepare(fine_tuned).next == "sft"


@pytest.mark.parametrize(("failures", "calls"), [(2, 3), (99, 4)])
def test_a_step_that_fails_of_what_may_pass_is_tried_again(
    run: str, monkeypatch: pytest.MonkeyPatch, failures: int, calls: int
) -> None:
    tries: list[str] = []
    taken = execute.execute_step

    def execute_step(call: Any, *arguments: Any) -> Any:
        if call.name != "prepare":
            return taken(call, *arguments)
        tries.append(call.name)
        if len(tries) <= failures:
            raise UnreachableError("s3://b/x: store cannot be reached, or closed the connection")
        return taken(call, *arguments)

    slept: list[float] = []
    monkeypatch.setattr(execute, "execute_step", execute_step)
    monkeypatch.setattr("larpo_lib.pipeline.retries.sleep", slept.append)
    if failures > len(PAUSES_S):
        with pytest.raises(UnreachableError):
            rounds.prepare(run)
        (trouble,) = RunContext.at(run).journal.unfinished()
        assert (trouble.step, trouble.cause) == (
            "prepare",
            "s3://b/x: store cannot be reached, or closed the connection.",
        )
    else:
        rounds.prepare(run)
        assert RunContext.at(run).journal.unfinished() == []
    assert len(tries) == calls
    assert slept == [*PAUSES_S[: calls - 1]]


def test_what_will_not_pass_is_told_at_once(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def execute_step(*_: Any) -> Any:
        raise LarpoError("no prompt is left")

    monkeypatch.setattr(execute, "execute_step", execute_step)
    monkeypatch.setattr("larpo_lib.pipeline.retries.sleep", lambda _: pytest.fail("it waited"))
    with pytest.raises(LarpoError, match="no prompt is left"):
        rounds.prepare(run)


def test_a_step_that_was_taken_is_found(run: str, tmp_path: Path) -> None:
    rounds.prepare(run)
    manifest = tmp_path / "one" / "prompts" / "artifact.json"
    before = manifest.stat().st_mtime_ns
    assert rounds.prepare(run).metadata["rows"] > 0
    assert manifest.stat().st_mtime_ns == before


@pytest.mark.parametrize(("baseline", "following"), [("", "ready"), ("policy", "baseline")])
def test_an_evaluation_compares_where_there_is_something_to_compare(
    given: Given, tiny_world: Path, baseline: str, following: str
) -> None:
    request = {
        **changed(given, demonstrations=None), "baseline": baseline and str(tiny_world / baseline),
        "prompts_source": str(tiny_world / "heldout.jsonl"),
    }  # fmt: skip
    run = evaluation.begin(request, "/kfp/checked").run
    assert rounds.prepare(run).next == following
    assert RunContext.at(run).plan.policy(1) == request["policy"]


def test_runs_of_one_name_in_different_roots_have_trainjobs_of_different_names(
    run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[dict[str, Any]] = []
    context, shared = RunContext.at(run), str(tmp_path)
    launch = LaunchConfig(launcher="deepspeed", nproc=8, nodes=2)
    train = context.config.train.model_copy(update={"launch": launch})
    config = context.config.model_copy(update={"train": train, "policy": "s3://models/policy"})

    class StoppedError(Exception):
        """Nothing more is to be seen."""

    def start(job: dict[str, Any]) -> None:
        started.append(job)
        raise StoppedError

    monkeypatch.setattr(larpo_lib.kubernetes, "train_on_nodes", start)
    monkeypatch.setattr(execute.files, "manifest", lambda _uri: None)
    for root in ("s3://a/runs/one", "s3://b/runs/one", "s3://a/runs/one"):
        of_root = context.model_copy(update={"root": root, "shared": shared, "config": config})
        with pytest.raises(StoppedError):
            execute._once_on_nodes(of_root, of_root.plan.train(1), "larpo-trainer:1")
    first, second, again = (job["metadata"] for job in started)
    assert first == again  # a pod that is tried again finds its own
    assert first["name"] != second["name"]
    assert {one["labels"]["larpo.dev/run"] for one in (first, second)} == {"one"}


def publish_lists(call: StepCall, text: str) -> None:
    def make(work: WorkDir) -> Metrics:
        (work.data / "lists.jsonl").write_text(text)
        return {}

    uri = str(call.inputs["lists"])
    with storage.localize({}, {"lists": uri}) as paths:
        produce("build_lists", ListsConfig(), {}, paths["lists"], make, arguments={"text": text})


def publish_policy(call: StepCall) -> None:
    """As a node does it: the edge of the step, with the step's own fingerprint."""

    def make(work: WorkDir) -> Metrics:
        write_history(work.data, [{"step": 1, "loss": 0.5, "chosen_logp_drift": -40.0}])
        return {"loss": 0.5}

    assert isinstance(call.config, TrainConfig)
    with at_edge(call.config, call.inputs, call.outputs) as paths:
        produce("train", call.config, {name: paths[name] for name in ("policy", "lists")}, paths["trained"], make)


@pytest.fixture
def on_nodes(run: str, s3: Any, tiny_world: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[RunContext, list[str]]:
    """A run in a store that trains on two machines, with its first policy published, and the TrainJobs it starts."""
    storage.upload(tiny_world / "policy", "s3://larpo-bucket/policy", last="config.json")
    context = RunContext.at(run)
    launch = LaunchConfig(launcher="deepspeed", nproc=8, nodes=2)
    train = context.config.train.model_copy(update={"launch": launch})
    config = context.config.model_copy(update={"train": train, "policy": "s3://larpo-bucket/policy"})
    context = context.model_copy(update={"root": "s3://larpo-bucket/one", "shared": "", "config": config})
    call = context.plan.train(1)
    publish_lists(call, "first")
    publish_policy(call)
    started: list[str] = []
    monkeypatch.setattr(larpo_lib.kubernetes, "train_on_nodes", lambda job: started.append(job["metadata"]["name"]))
    return context, started


def test_a_policy_that_nodes_have_published_is_not_trained_again(on_nodes: tuple[RunContext, list[str]]) -> None:
    context, started = on_nodes
    done, (tracker, logged) = execute._once_on_nodes(context, context.plan.train(1), "larpo-trainer:1")
    assert started == []
    assert done.metrics == {"loss": 0.5}
    client = MlflowClient(tracker.uri)
    assert client.get_run(logged.run_id).data.metrics["loss"] == 0.5
    assert "advice.txt" in [file.path for file in client.list_artifacts(logged.run_id)]  # the best ones fell by 40 nats


@pytest.mark.parametrize("change", ["settings", "lists", "unfinished"])
def test_the_nodes_themselves_refuse_a_policy_made_of_something_else(
    on_nodes: tuple[RunContext, list[str]], s3: Any, change: str
) -> None:
    context, started = on_nodes
    call = context.plan.train(1)
    if change == "settings":
        assert isinstance(call.config, TrainConfig)
        call = replace(call, config=call.config.model_copy(update={"epochs": 7}))
    elif change == "lists":
        storage.delete(str(call.inputs["lists"]), first="artifact.json")
        publish_lists(call, "second")
    else:  # the manifest came, the files are still aside
        key = "one/iteration-1/policy/artifact.json"
        manifest = json.loads(s3.get_object(Bucket="larpo-bucket", Key=key)["Body"].read())
        s3.put_object(Bucket="larpo-bucket", Key=key, Body=json.dumps({**manifest, "objects": ".aside"}).encode())
    with suppress(LarpoError):
        execute._once_on_nodes(context, call, "larpo-trainer:1")
    assert len(started) == 1
