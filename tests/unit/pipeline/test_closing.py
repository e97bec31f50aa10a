"""The last word: how a run ended, from its journal and from the cluster."""

import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient
from pipeline_requests import Given, changed

from larpo_lib.errors import ClusterError, LarpoError
from larpo_lib.kubernetes import workflow
from larpo_lib.pipeline import closing
from larpo_lib.pipeline.begin import begin
from larpo_lib.pipeline.run_context import RunContext
from larpo_lib.tracking import Tracker


def last_word(root: Path) -> str:
    done = closing.close({"job": "job", "root": str(root), "run_id": "one"}, "/kfp/text")
    return done.texts["markdown"]


def test_it_names_step_and_cause_and_ends_the_run_in_mlflow(given: Given, tmp_path: Path, mlflow_uri: str) -> None:
    context = RunContext.at(begin(given, "/kfp/checked").run)
    with pytest.raises(LarpoError), context.journal.step("train-1"):
        raise LarpoError("no list is left")
    killed = context.journal.step("evaluate-0")
    killed.__enter__()
    text = last_word(tmp_path)
    assert text.startswith("# Run one: FAILED")
    assert "- **train-1**: no list is left.\n" in text
    assert "- **evaluate-0** was stopped, or ended without a message, for example because memory ran out\n" in text
    run = MlflowClient(tracking_uri=mlflow_uri).get_run(context.parent)
    assert run.info.status == "FAILED"
    assert "**train-1**: no list is left." in run.data.tags["larpo.error"]
    assert Tracker(context.config.tracking, tmp_path, context.parent).open_run().run_id == context.parent


def test_only_the_last_step_makes_a_run_a_success(given: Given, tmp_path: Path) -> None:
    context = RunContext.at(begin(given, "/kfp/checked").run)
    for step in ("train-3", "evaluate-3", "promote"):
        with context.journal.step(step):
            pass
    assert last_word(tmp_path).startswith("# Run one: FAILED")
    with context.journal.step("summary"):
        pass
    assert last_word(tmp_path).startswith("# Run one: SUCCEEDED")
    assert "Another run had finished" not in last_word(tmp_path)
    again = RunContext.at(begin({**given, "job": "later"}, "/kfp/checked").run)
    later = closing.close({"job": "later", "root": str(tmp_path), "run_id": "one"}, "/kfp/text")
    assert later.metadata["state"] == "FAILED"  # what an earlier run of the root did is not its own
    assert "Another run had finished" not in later.texts["markdown"]
    with again.journal.step("summary"):
        pass
    later = closing.close({"job": "later", "root": str(tmp_path), "run_id": "one"}, "/kfp/text")
    assert (
        "Another run had finished in this root. What it made was found and not made again." in later.texts["markdown"]
    )


def test_where_nothing_was_begun(tmp_path: Path) -> None:
    assert "ended before it started in MLflow" in last_word(tmp_path)
    wrong = closing.close({"job": "job", "root": "nowhere", "run_id": ""}, "/kfp/text")
    assert "root is 'nowhere'" in wrong.texts["markdown"]


@pytest.mark.parametrize(
    ("terminated", "state", "status"), [(False, "FAILED", "FAILED"), (True, "TERMINATED", "KILLED")]
)
def test_the_cluster_is_asked_for_what_no_step_could_note(
    given: Given, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, terminated: bool, state: str, status: str
) -> None:
    context = RunContext.at(begin(given, "/kfp/checked").run)
    monkeypatch.setenv("LARPO_WORKFLOW", "larpo-x7z2k")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    failures = ["loop / rounds / sample: ImagePullBackOff: no such image"]
    asked: list[str] = []

    def read(name: str) -> workflow.Workflow:
        asked.append(name)
        return workflow.Workflow(terminated, failures)

    monkeypatch.setattr(workflow, "read_workflow", read)
    text = last_word(tmp_path)
    assert asked == ["larpo-x7z2k"]
    assert text.startswith(f"# Run one: {state}")
    assert MlflowClient(context.tracker().uri).get_run(context.parent).info.status == status
    assert "- in the cluster, loop / rounds / sample: ImagePullBackOff: no such image\n" in text


def test_a_cluster_that_refuses_is_no_reason_to_be_silent(
    given: Given, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(given, "/kfp/checked")
    monkeypatch.setenv("LARPO_WORKFLOW", "larpo-x7z2k")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")

    def refuse(name: str) -> workflow.Workflow:
        raise ClusterError(f"cannot read workflow {name}: forbidden")

    monkeypatch.setattr(workflow, "read_workflow", refuse)
    assert "This, too: cannot read workflow larpo-x7z2k: forbidden." in last_word(tmp_path)


@pytest.mark.parametrize(("last", "status"), [("train-1", "FAILED"), ("summary", "FINISHED")])
def test_whatever_goes_wrong_on_the_way_the_run_is_ended_in_mlflow(
    given: Given, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: str, status: str
) -> None:
    """An image without the client of Kubernetes is one such thing; nothing here is an error of larpo's own."""
    several = changed(given, train={"launch": {"nodes": 2, "launcher": "deepspeed"}})
    context = RunContext.at(begin(several, "/kfp/checked").run)
    with context.journal.step(last):
        pass
    monkeypatch.setenv("LARPO_WORKFLOW", "larpo-x7z2k")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setitem(sys.modules, "kubernetes", None)
    text = last_word(tmp_path)
    assert "\nThis, too: ModuleNotFoundError: import of kubernetes halted" in text
    assert MlflowClient(context.tracker().uri).get_run(context.parent).info.status == status
