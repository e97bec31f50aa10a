"""Which tasks run, in which order, and what is left out without a word."""

import pytest
from kfp import dsl
from small_components import Run, compiled
from small_tasks import fail, hold, said_last, say, sized, told, words

SEEDS = (None, 1, 2, 3, 4)


def rounds(number: int = 3, bad: str = ""):
    """A loop over a list that a task makes, one after the other."""
    made = words(number=number)
    with dsl.ParallelFor(made.output, parallelism=1) as item:
        first = say(word=item)
        told(word=first.output)


def at_once(number: int = 3):
    """The same, all at once."""
    made = words(number=number)
    with dsl.ParallelFor(made.output) as item:
        first = say(word=item)
        told(word=first.output)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("number", [1, 4])
def test_with_a_parallelism_of_one_items_come_one_after_the_other(number: int, seed: int | None, run: Run) -> None:
    outcome = run(rounds, seed=seed, number=number)
    assert outcome.phase == "Succeeded"
    wanted = [f"for-loop-1.{i}/{task}" for i in range(number) for task in ("say", "told")]
    assert outcome.ran == ["words", *wanted]


def test_without_it_they_overlap(run: Run) -> None:
    outcome = run(at_once)
    assert outcome.ran[:4] == ["words", *(f"for-loop-1.{i}/say" for i in range(3))]


def test_a_loop_over_nothing_succeeds(run: Run) -> None:
    outcome = run(rounds, number=0)
    assert (outcome.phase, outcome.ran) == ("Succeeded", ["words"])


def test_after_a_failed_iteration_the_next_ones_start_all_the_same(run: Run) -> None:
    outcome = run(rounds, {"*.0/say": ["error"]})
    assert outcome.phase == "Failed"
    assert outcome.ran == [
        "words",
        "for-loop-1.0/say",
        *(f"for-loop-1.{i}/{t}" for i in (1, 2) for t in ("say", "told")),
    ]
    assert outcome.of("Omitted") == ["for-loop-1.0/told"]


@pytest.mark.parametrize("seed", SEEDS)
def test_beside_a_failed_task_others_go_on(seed: int | None, run: Run) -> None:
    def beside(word: str = "a"):
        bad = fail(word=word)
        hold(word=word).after(bad)
        first = say(word=word)
        told(word=first.output)

    outcome = run(beside, seed=seed)
    assert outcome.phase == "Failed"
    assert set(outcome.ran) == {"fail", "say", "told"}
    assert outcome.messages["fail"] == "ValueError: a"


def test_behind_an_if_that_is_not_triggered_a_task_is_left_out_in_silence(run: Run) -> None:
    def behind(word: str = "a"):
        with dsl.If(word == "b", name="no"):
            say(word=word)
        told(word=hold(word=word).output)

    made = compiled(behind)
    made.spec["root"]["dag"]["tasks"]["hold"]["dependentTasks"] = ["condition-1"]  # the SDK refuses to write it
    outcome = run(made)
    assert outcome.phase == "Succeeded"
    assert outcome.ran == []
    assert (outcome.of("Skipped"), outcome.of("Omitted")) == (["condition-1"], ["hold", "told"])


def test_a_nested_pipeline_that_holds_the_if_is_no_such_trap(run: Run) -> None:
    @dsl.pipeline(name="inner")
    def inner(word: str):
        with dsl.If(word == "b", name="no"):
            say(word=word)

    def behind(word: str = "a"):
        hold(word=word).after(inner(word=word))

    outcome = run(behind)
    assert (outcome.phase, outcome.ran) == ("Succeeded", ["hold"])


def closed(word: str = "a", memory: str = "1"):
    """A run with an exit task that takes no status."""
    with dsl.ExitHandler(said_last(word=word), name="everything"):
        sized(word=word, memory=memory, gpus="0").set_memory_limit(memory)


@pytest.mark.parametrize(
    ("faults", "phase"),
    [
        ({}, "Succeeded"),
        ({"*/sized": ["error"]}, "Failed"),
        ({"*/sized": ["killed"]}, "Failed"),
        ({"*/sized": ["unpulled"]}, "Failed"),
        ({"*/sized-driver": ["lost"] * 27}, "Error"),
        ({"said-last": ["error"]}, "Succeeded"),  # it is a hook
        ({"*/sized-driver": ["lost"]}, "Succeeded"),
    ],
)
def test_the_exit_task_runs_whatever_becomes_of_the_others(faults: dict[str, list[str]], phase: str, run: Run) -> None:
    outcome = run(closed, faults)
    assert outcome.phase == phase
    assert outcome.ran[-1] == "said-last"


def test_the_exit_task_runs_where_a_driver_below_failed(run: Run) -> None:
    outcome = run(closed, memory="a lot")
    assert (outcome.phase, outcome.ran) == ("Failed", ["said-last"])


def test_the_exit_task_does_not_run_where_the_handlers_own_driver_failed(run: Run) -> None:
    outcome = run(closed, {"exit-handler-1-driver": ["lost"] * 9})
    assert (outcome.phase, outcome.ran) == ("Error", [])
    assert "exit-handler-1" in outcome.of("Omitted")
