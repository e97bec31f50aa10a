"""The pipeline `larpo` on the emulated backend: errors and kills in each step, lost pods, and what is told of them."""

import re

import pytest
from backend_outcome import ALWAYS, V2_16, V2_17
from larpo_runs import Pipeline

STEPS = {
    "start": "exit-handler-1/start",
    "prepare": "*/prepare",
    "prepare-evaluation": "*/prepare",
    "prepare-demonstrations": "*/prepare",
    "check-references": "*/prepare",
    "sft": "*/sft",
    "evaluate-0": "exit-handler-1/loop/evaluate",
    "gate-1": "*.0/gate",
    "sample-1-share-1-of-2": "*.0/*.1/sample",
    "merge-sample-1": "*.0/*/merge-candidates",
    "rerank-1-share-0-of-2": "*.0/*.0/rerank",
    "merge-rerank-1": "*.0/*/build-lists",
    "build_lists-1": "*.0/*/build-lists",
    "train-1": "*.0/*/train",
    "evaluate-1": "*.0/*/evaluate",
    "promote-1": "*.0/*/promote",
    "gate-2": "*.1/gate",
    "train-2": "*.1/*/train",
    "promote": "exit-handler-1/loop/promote",
    "report": "*/report",
    "summary": "*/report",
}
"""What the journal calls each step, and the pods that take it."""


@pytest.fixture
def whole(pipeline: Pipeline) -> Pipeline:
    """Two rounds with all that a run can have."""
    loop = {"promote": "every_iteration", "evaluate": "every_iteration"}
    pipeline.set({"loop": loop, "demonstrations": {"source": "demonstrations"}}, rounds=2, shards=2)
    return pipeline


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("how", ["error", "killed"])
def test_a_run_whose_step_fails_says_so_and_goes_on_when_it_is_submitted_again(
    step: str, how: str, whole: Pipeline
) -> None:
    whole.quick.broken, whole.quick.struck = ("", step) if how == "killed" else (step, "")
    faults = {STEPS[step]: ["killed"] * 3} if how == "killed" else {}
    backend = whole.backend(V2_17 if how == "killed" else V2_16, seed=len(step))
    outcome, text = whole.run(backend, faults)
    assert outcome.phase == "Failed"
    assert text.startswith("# Run one: FAILED")
    cause = "was stopped, or ended without a message" if how == "killed" else "injected"
    assert re.search(rf"- \*\*{step}\*\*:? {cause}", text), text
    assert "in the cluster, " in text
    if step.endswith("-1") or "-1-" in step:
        assert not (whole.root / "iteration-2").exists()

    if how == "error":
        return
    again, text = whole.run(backend)
    assert again.phase == "Succeeded"
    assert text.startswith("# Run one: SUCCEEDED")
    assert len(whole.quick.made) == len(set(whole.quick.made))  # nothing is made a second time


def drivers(pipeline: Pipeline) -> list[str]:
    """The drivers of a run with all that it can have."""
    outcome, _ = pipeline.run(pipeline.backend())
    return [f"{path}-driver" for path, _ in outcome.nodes if path != "final-report"]


def test_a_lost_driver_does_no_harm_but_where_an_output_is_read(whole: Pipeline) -> None:
    """A duplicate breaks who reads an output beside it: what `start`, `prepare` and gates say."""
    whole.set({"loop": {"evaluate": "every_iteration"}}, rounds=1, shards=1)
    for place in drivers(whole):
        whole.given["run_id"] = re.sub(r"\W+", "-", place)
        outcome, text = whole.run(whole.backend(), {place: ["lost"]})
        if place.endswith(("/start-driver", "/prepare-driver", "/gate-driver")):
            assert (outcome.phase, ": FAILED" in text) == ("Failed", True), place
            assert "two tasks have the same task name" in text, place
        else:
            assert (outcome.phase, ": SUCCEEDED" in text) == ("Succeeded", True), (place, outcome.messages)


@pytest.mark.parametrize("step", ["sample-1-share-1-of-2", "train-1", "report"])
def test_an_image_that_cannot_be_pulled_is_told_from_the_workflow(step: str, whole: Pipeline) -> None:
    outcome, text = whole.run(whole.backend(), {STEPS[step]: ["unpulled"]})
    assert outcome.phase == "Failed"
    assert text.startswith("# Run one: FAILED")
    task = step.partition("-")[0]
    assert re.search(rf"- in the cluster, .*{task}: Back-off pulling image", text), text


@pytest.mark.parametrize(
    ("step", "times"),
    [("start", 1), ("sft", 1), ("gate-1", 1), ("rerank-1-share-0-of-2", 9), ("promote-1", 1), ("summary", 1)],
)
def test_a_step_whose_pod_is_gone_is_run_again_and_goes_on(step: str, times: int, whole: Pipeline) -> None:
    """The manifests of 2.17 run again what was deleted, after nine times the group around it: with duplicates."""
    whole.quick.struck = step
    outcome, text = whole.run(whole.backend(seed=1), {STEPS[step]: ["gone"] * times})
    assert outcome.phase == "Succeeded"
    assert text.startswith("# Run one: SUCCEEDED")


def test_an_exit_task_that_cannot_ask_the_cluster_tells_what_the_journal_has(
    whole: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST")
    whole.quick.broken = "train-1"
    _, text = whole.run(whole.backend())
    assert text.startswith("# Run one: FAILED")
    assert "- **train-1**: injected" in text
    assert "in the cluster" not in text


def test_where_an_administrator_retries_everything_a_run_ends_all_the_same(whole: Pipeline) -> None:
    """Three tries of the pod, three of its task, three of the group around it; the gate before it lets none by then."""
    whole.quick.broken = "train-1"
    outcome, text = whole.run(whole.backend(ALWAYS))
    assert outcome.phase == "Failed"
    assert outcome.tasks().count("train") == 27
    assert text.startswith("# Run one: FAILED")
    assert "- **train-1**: injected" in text


def test_where_an_administrator_retries_everything_a_step_that_recovers_is_enough(whole: Pipeline) -> None:
    whole.quick.struck = "train-1"
    outcome, text = whole.run(whole.backend(ALWAYS), {STEPS["train-1"]: ["killed"] * 10})
    assert outcome.phase == "Succeeded"
    assert text.startswith("# Run one: SUCCEEDED")


FINISHED = {"loop": {"evaluate": "every_iteration"}}


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize(
    ("settings", "changed", "told"),
    [
        (
            {"sample": {"top_p": 0.5}},
            {},
            r"iteration-1/candidates: exists already, but was made with config\.top_p 1\.0 instead",
        ),
        (
            {},
            {"rounds": 3},
            r"promotion: ends a shorter run, but .*iteration-3/evaluation does not exist yet",
        ),
        (
            {},
            {"shards": 2},
            r"iteration-1/candidates: exists already, but was made in \d shards instead of 2\. Set shards to",
        ),
    ],
)
def test_what_does_not_fit_what_is_there_is_refused_by_the_first_task(
    shards: int, settings: dict[str, object], changed: dict[str, int], told: str, pipeline: Pipeline
) -> None:
    pipeline.set(FINISHED, rounds=2, shards=shards)
    backend = pipeline.backend()
    assert pipeline.run(backend)[0].phase == "Succeeded"
    made = [*pipeline.quick.made]
    pipeline.set({**FINISHED, **settings}, **{"rounds": 2, "shards": shards, **changed})
    outcome, text = pipeline.run(backend)
    assert (outcome.phase, outcome.tasks()) == ("Failed", ["start", "final-report"])
    assert re.search(told, text), text
    assert pipeline.quick.made == made


def test_settings_of_steps_that_are_still_to_be_made_may_change(pipeline: Pipeline) -> None:
    """As after a training that ran out of memory."""
    pipeline.set(FINISHED, rounds=1, shards=3)
    pipeline.quick.broken = "train-1"
    backend = pipeline.backend()
    assert pipeline.run(backend)[0].phase == "Failed"
    pipeline.quick.broken = ""
    pipeline.set({**FINISHED, "train": {"learning_rate": 1e-7}}, rounds=1, shards=3)
    outcome, text = pipeline.run(backend)
    assert outcome.phase == "Succeeded", text
