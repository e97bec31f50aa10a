"""What the metadata say of groups, who says it, and what that breaks: OneOf and the status of an exit task."""

from pathlib import Path
from typing import Any

import pytest
from backend_emulator import Backend
from backend_metadata import Metadata
from backend_outcome import ERROR, FAILED, Version
from kfp import dsl
from small_components import Run, compiled
from small_tasks import hold, last, say, told


def branches(word: str = "a", other: str = "b"):
    """One of two tasks says what a third one reads."""
    with dsl.If(word == "a", name="yes"):
        first = say(word=word)
    with dsl.Else(name="no"):
        second = say(word=other)
    hold(word=dsl.OneOf(first.output, second.output))


@dsl.pipeline(name="round")
def one_round(word: str, measured: str) -> str:
    """As the loop was unrolled: an If of its own ends the branch that OneOf reads."""
    with dsl.If(word != "", name="active"):
        first = say(word=word)
        with dsl.If(measured == "yes", name="measured"):
            hold(word=first.output)
    with dsl.Else(name="skipped"):
        second = say(word=word)
    return dsl.OneOf(first.output, second.output)


def two_rounds(word: str = "a", measured: str = "no"):
    """What the second round begins with is what the first one ended with."""
    first = one_round(word=word, measured=measured)
    told(word=first.output)


@pytest.mark.parametrize("word", ["a", "z"])
def test_one_of_reads_the_branch_that_ran(word: str, run: Run) -> None:
    outcome = run(branches, word=word)
    assert outcome.phase == "Succeeded"
    assert outcome.outputs["hold"]["parameterValues"] == {"Output": "a" if word == "a" else "b"}
    assert outcome.states["condition-2" if word == "a" else "condition-3"] == "COMPLETE"
    assert outcome.states["condition-3" if word == "a" else "condition-2"] == "CANCELED"


def test_one_of_finds_nothing_where_a_branch_ends_with_what_is_not_triggered(run: Run) -> None:
    outcome = run(two_rounds)
    assert outcome.phase == "Failed"
    assert "processing OneOf: No successful task found" in outcome.messages["told-driver"]
    assert run(two_rounds, measured="yes").phase == "Succeeded"


def test_one_of_finds_nothing_where_a_branch_was_in_the_cache(tmp_path: Path) -> None:
    backend = Backend(tmp_path)
    assert backend.run(compiled(branches), {}).phase == "Succeeded"
    again = backend.run(compiled(branches), {})
    assert again.phase == "Failed"
    assert again.states["condition-2"] == "RUNNING"  # no launcher ran in it
    assert "No successful task found" in again.messages["hold-driver"]


def status(word: str = "a"):
    """A run whose last task is told how it went."""
    with dsl.ExitHandler(last(), name="everything"):
        said = say(word=word)
        with dsl.If(said.output == "b", name="more"):
            hold(word=said.output)


@pytest.mark.parametrize(
    ("word", "faults", "phase", "state"),
    [
        ("b", {}, "Succeeded", "COMPLETE"),
        ("a", {}, "Succeeded", "RUNNING"),  # its last event is an If that was not triggered
        ("a", {"*/say": ["error"]}, "Failed", "FAILED"),
        ("a", {"*/say": ["killed"]}, "Failed", "RUNNING"),
    ],
)
def test_an_exit_task_is_never_told_succeeded(
    word: str, faults: dict[str, list[str]], phase: str, state: str, run: Run
) -> None:
    outcome = run(status, faults, word=word)
    assert outcome.phase == phase
    assert outcome.outputs["last"]["parameterValues"] == {"Output": state}


def test_after_a_duplicate_an_exit_task_with_a_status_does_not_run_at_all(run: Run) -> None:
    outcome = run(status, {"*/say-driver": ["lost"]})
    assert "two tasks have the same task name" in outcome.messages["last-driver"]
    assert "last" not in outcome.ran


def test_a_duplicate_breaks_whoever_reads_an_output_and_nobody_else(run: Run) -> None:
    @dsl.pipeline(name="inner")
    def inner(word: str):
        say(word=word)

    def reads(word: str = "a"):
        said = told(word=word)
        done = inner(word=word)
        after = hold(word=word).after(done)
        say(word=said.output).after(after)

    outcome = run(reads, {"inner/say-driver": ["lost"]})
    assert "hold" in outcome.ran  # its word is the pipeline's
    assert "two tasks have the same task name" in outcome.messages["say-driver"]  # its word is a task's


def test_a_failure_that_was_mended_stays_where_nothing_settles_the_group_again(run: Run) -> None:
    """An administrator may retry failures too. Then a run that succeeds has told its exit task FAILED."""

    @dsl.pipeline(name="inner")
    def inner(word: str):
        said = say(word=word)
        said.set_retry(1)

    def mended(word: str = "a"):
        with dsl.ExitHandler(last(), name="everything"):
            done = inner(word=word)
            with dsl.If(word == "z", name="never"):
                hold(word=word).after(done)

    outcome = run(mended, {"*/inner/say": ["error"]}, Version(retried=(FAILED, ERROR)))
    assert outcome.phase == "Succeeded"
    assert outcome.states["inner"] == "COMPLETE"
    assert outcome.outputs["last"]["parameterValues"] == {"Output": "FAILED"}


def test_a_state_is_carried_up_since_2_17_only() -> None:
    for carries, wanted in ((True, "COMPLETE"), (False, "RUNNING")):
        metadata = Metadata(carries_up=carries)
        root = metadata.create("", 0)
        outer = metadata.create("outer", root.id, tasks=1)
        inner = metadata.create("inner", outer.id, tasks=1)
        metadata.create("task", inner.id, container=True, state="COMPLETE")
        metadata.settle(inner.id)
        assert (inner.state, outer.state, root.state) == ("COMPLETE", wanted, "RUNNING")


@pytest.mark.parametrize(
    ("states", "wanted"),
    [
        (["COMPLETE", "CACHED", "CANCELED"], "COMPLETE"),
        (["COMPLETE", "CACHED"], "RUNNING"),  # a third one is to come
        (["COMPLETE", "RUNNING", "CANCELED"], "RUNNING"),
        (["FAILED", "RUNNING"], "FAILED"),
    ],
)
def test_a_group_is_complete_when_as_many_tasks_as_it_has_are_over(states: list[str], wanted: str) -> None:
    metadata = Metadata()
    root = metadata.create("", 0)
    group = metadata.create("group", root.id, tasks=3)
    for i, state in enumerate(states):
        metadata.create(f"task-{i}", group.id, container=True, state=state)
    metadata.settle(group.id)
    assert group.state == wanted


def test_a_loops_group_counts_its_iterations() -> None:
    metadata = Metadata()
    loop: Any = metadata.create("loop", metadata.create("", 0).id, tasks=1, count=2)
    for i in range(2):
        assert loop.state == "RUNNING"
        metadata.create("loop", loop.id, index=i, tasks=1, state="COMPLETE")
        metadata.settle(loop.id)
    assert loop.state == "COMPLETE"
