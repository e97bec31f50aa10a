"""The compiled pipelines keep all that Kubeflow's backend needs, and their tasks come in the order of the loop."""

import json
from pathlib import Path

import compiled_ir as ir
import pytest
from compiled_ir import Compiled, load
from ir_rules import everything, findings

from larpo_lib.pipeline.form import FORMS

FOLDER = Path(__file__).parents[3] / "pipelines" / "compiled"


@pytest.fixture(scope="module", params=FORMS)
def golden(request: pytest.FixtureRequest) -> Compiled:
    return load(FOLDER / f"{request.param}.yaml")


def test_nothing_is_found_in_the_pipelines(golden: Compiled) -> None:
    """That each rule finds what breaks it is tested with the rules."""
    assert findings(golden) == []


def test_nothing_comes_from_kubeflows_cache(golden: Compiled) -> None:
    """Its keys know nothing of what is in the store, and a hit may leave a group at work for ever."""
    assert not [at.name for at in everything(golden) if at.task.get("cachingOptions", {}).get("enableCache")]


def test_the_time_for_all_tries_is_enough_for_each_to_take_its_longest(golden: Compiled) -> None:
    for at in everything(golden):
        policy = at.task.get("retryPolicy")
        if policy is not None and "executorLabel" in at.component:
            tries, longest = int(policy["maxRetryCount"]) + 1, int(at.settings()["activeDeadlineSeconds"])
            assert tries * longest < int(policy["backoffMaxDuration"].rstrip("s")), at.name


def test_no_group_gives_anything_on_and_no_task_reads_an_artifact(golden: Compiled) -> None:
    for at in everything(golden):
        assert not at.component.get("dag", {}).get("outputs"), at.name
        assert not at.task.get("inputs", {}).get("artifacts"), at.name


def test_what_crosses_tasks_is_small(golden: Compiled) -> None:
    """It stands in arguments of commands, of 128 KiB each, and in the state of the workflow."""
    assert max(len(json.dumps([at.task, at.component])) for at in everything(golden)) < 16_000


def test_nothing_but_text_and_lists_of_it_crosses_into_the_loop(golden: Compiled) -> None:
    """Where pods go, and lists, are all that is no text."""
    kinds: dict[str, set[str]] = {}
    for at in everything(golden):
        if at.parent not in ("root", "comp-exit-handler-1"):
            for name, declared in ir.parameters(at.component).items():
                kinds.setdefault(declared["parameterType"], set()).add(name.rpartition("--")[2])
    assert kinds.keys() <= {"STRING", "LIST", "STRUCT"}
    assert kinds.get("LIST", set()) <= {"rounds", "shards", "members", "tolerations"}
    assert kinds.get("STRUCT", set()) <= {"node_selector"}


def waits(pipeline: Compiled, name: str) -> dict[str, set[str]]:
    """What each task of a group waits for."""
    return {task: ir.needs(spec) for task, spec in ir.tasks(pipeline.component(name)).items()}


def test_the_order_of_a_round_is_that_of_the_loop() -> None:
    pipeline = load(FOLDER / "larpo.yaml")
    assert waits(pipeline, "comp-loop") == {
        "beginning": set(), "evaluate": {"beginning"}, "rounds": {"evaluate"}, "promote": {"rounds"},
        "report": {"promote"},
    }  # fmt: skip
    assert waits(pipeline, "comp-condition-2-of-rounds-of-loop") == {
        "sample-shares": set(), "merge-candidates": {"sample-shares"}, "rerank-shares": {"merge-candidates"},
        "build-lists": {"rerank-shares"}, "train": {"build-lists"}, "condition-3": {"train"},
    }  # fmt: skip
    conditions = {f"{at.parent}/{at.name}": ir.condition(at.task).partition(" ")[2] for at in everything(pipeline)}
    assert {place: condition for place, condition in conditions.items() if condition} == {
        "comp-beginning-of-loop/condition-1": "== 'sft'",
        "comp-for-loop-1-of-rounds-of-loop/condition-2": "!= 'skip'",
        "comp-condition-2-of-rounds-of-loop/condition-3": "!= 'train'",
        "comp-condition-3-of-rounds-of-loop/condition-4": "== 'promote'",
    }


def test_rounds_come_one_after_the_other_and_shares_at_once() -> None:
    loops = {at.parent: at.task for at in everything(load(FOLDER / "larpo.yaml")) if "parameterIterator" in at.task}
    limits = {place: task.get("iteratorPolicy", {}).get("parallelismLimit") for place, task in loops.items()}
    assert limits == {
        "comp-rounds-of-loop": 1,
        "comp-sample-shares-of-rounds-of-loop": None,
        "comp-rerank-shares-of-rounds-of-loop": None,
    }
    assert all("inputParameter" in task["parameterIterator"]["items"] for task in loops.values())
