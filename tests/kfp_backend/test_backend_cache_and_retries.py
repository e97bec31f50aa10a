"""What is taken from the cache, and what is tried again."""

from pathlib import Path

import pytest
from backend_emulator import Backend
from backend_outcome import ALWAYS, V2_16, V2_17, Outcome, Version
from kfp import dsl
from small_components import Run, compiled
from small_tasks import hold, said_last, say, sized, told


def chain(word: str = "a", memory: str = "1Gi"):
    """Two tasks, the first one with its memory as an argument."""
    first = sized(word=word, memory=memory, gpus="0").set_memory_limit(memory)
    told(word=first.output)


def twice(folder: Path, *arguments: dict[str, str], faults: dict[str, list[str]] | None = None) -> list[Outcome]:
    backend = Backend(folder)
    return [backend.run(compiled(chain), given, faults if i == 0 else None) for i, given in enumerate(arguments)]


def test_a_second_run_takes_everything_from_the_cache_and_starts_no_pod(tmp_path: Path) -> None:
    _, again = twice(tmp_path, {}, {})
    assert (again.phase, again.ran) == ("Succeeded", [])
    assert again.states == {"sized": "CACHED", "told": "CACHED"}


@pytest.mark.parametrize(
    ("changed", "ran"), [({"word": "b"}, ["sized", "told"]), ({"memory": "2Gi"}, ["sized"]), ({}, [])]
)
def test_what_a_result_is_kept_under(changed: dict[str, str], ran: list[str], tmp_path: Path) -> None:
    _, again = twice(tmp_path, {}, changed)
    assert again.ran == ran


@pytest.mark.parametrize("fault", ["error", "killed"])
def test_a_failed_task_leaves_nothing_in_the_cache(fault: str, tmp_path: Path) -> None:
    _, again = twice(tmp_path, {}, {}, faults={"told": [fault]})
    assert again.ran == ["told"]


def test_a_task_with_its_cache_off_runs_each_time(tmp_path: Path) -> None:
    def off(word: str = "a"):
        told(word=say(word=word).set_caching_options(False).output)

    backend = Backend(tmp_path)
    assert backend.run(compiled(off), {}).ran == ["say", "told"]
    assert backend.run(compiled(off), {}).ran == ["say"]


@dsl.pipeline(name="inner")
def inner(word: str):
    """A task that may be tried three times."""
    say(word=word).set_retry(2)


def kept(word: str = "a"):
    """It, in a group, and one behind it."""
    with dsl.ExitHandler(said_last(word=word), name="everything"):
        told(word=word).after(inner(word=word))


SAY = "exit-handler-1/inner/say"


@pytest.mark.parametrize(
    ("version", "fault", "tries"),
    [
        (V2_17, "error", 1),  # the manifests' policy is OnError, and an exit code is no error
        (V2_17, "killed", 1),
        (V2_17, "gone", 2),
        (V2_16, "error", 2),  # Argo's own policy is OnFailure
        (V2_16, "killed", 2),
        (V2_16, "gone", 1),
        (ALWAYS, "error", 2),
        (ALWAYS, "killed", 2),
        (ALWAYS, "gone", 2),
    ],
)
def test_which_endings_are_tried_again(version: Version, fault: str, tries: int, run: Run) -> None:
    outcome = run(kept, {SAY: [fault]}, version)
    assert outcome.ran.count(SAY) == tries
    assert (outcome.phase == "Succeeded") == (tries == 2)
    assert outcome.ran[-1] == "said-last"


def test_a_pod_that_is_gone_again_and_again_takes_its_group_along(run: Run) -> None:
    """Three tries of the pod, three of its DAG; then the DAG around it anew, with duplicates in the metadata."""
    outcome = run(kept, {SAY: ["gone"] * 9})
    assert outcome.phase == "Succeeded"
    assert outcome.ran.count(SAY) == 10


@pytest.mark.parametrize("version", [V2_17, V2_16])
def test_a_killed_pod_tells_nobody(version: Version, run: Run) -> None:
    def alone(word: str = "a"):
        say(word=word)

    outcome = run(alone, {"say": ["killed"]}, version)
    assert (outcome.phase, outcome.states["say"]) == ("Failed", "RUNNING")
    assert run(alone, {"say": ["error"]}, version).states["say"] == "FAILED"


def test_a_held_pod_lets_others_by(run: Run) -> None:
    def beside(word: str = "a"):
        hold(word=word)
        told(word=say(word=word).output)

    outcome = run(beside, {"hold": ["held"]})
    assert outcome.phase == "Succeeded"
    assert [path for path, _ in outcome.nodes] == ["say", "told", "hold"]
    assert [path for path, _ in run(beside).nodes] == ["hold", "say", "told"]
