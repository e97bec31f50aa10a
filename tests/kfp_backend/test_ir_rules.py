"""Each rule finds what it is about, in a pipeline that has nothing else wrong, and finds nothing in one that passes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from compiled_ir import Compiled
from ir_rules import RULES, findings
from kfp import dsl
from small_components import compiled
from small_tasks import count, say, sized, told, words

from larpo_kubeflow.pipelines.functions import distinct

SAFE = {"runAsUser": "1000", "runAsNonRoot": True}


def checked(pipeline: Callable[..., Any]) -> list[str]:
    """What is found in a pipeline whose pods do not run as root."""
    return findings(safe(compiled(pipeline)))


def safe(made: Compiled) -> Compiled:
    labels = [part["executorLabel"] for part in made.components().values() if "executorLabel" in part]
    return Compiled(made.spec, {label: {**made.platform.get(label, {}), "securityContext": SAFE} for label in labels})


def resource_in_a_group(word: str = "a", memory: str = "1Gi"):
    with dsl.If(word == "a", name="yes"):
        say(word=word).set_memory_limit(memory)


def gpus_as_a_number(gpus: int = 1):
    say(word="a").set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(gpus)


def memory_from_a_number(number: int = 1):
    made = count(number=number)
    say(word="a").set_memory_limit(made.output)


def loop_over_a_list(number: int = 1):
    with dsl.ParallelFor(words(number=number).output) as item:
        say(word=item)


@dsl.pipeline(name="marked")
def marked(word: str):
    say(word=word)


def a_pipeline_twice(word: str = "a"):
    distinct(marked)
    marked(word=word)
    marked(word=word)


BAD: list[tuple[Callable[..., Any], list[str]]] = [
    (
        resource_in_a_group,
        [
            "R1 comp-condition-1/say: input pipelinechannel--memory wants pipelinechannel--memory, which"
            " comp-condition-1 does not declare"
        ],
    ),
    (
        gpus_as_a_number,
        ["R3 root/say: its pod is made from pipelinechannel--gpus of type NUMBER_INTEGER, which is read as empty"],
    ),
    (
        memory_from_a_number,
        [
            "R3 root/say: its pod is made from pipelinechannel--count-Output of type NUMBER_INTEGER, which is read as"
            " empty"
        ],
    ),
    (
        a_pipeline_twice,
        [
            "R7 comp-marked-2/say: is comp-say-of-marked-2: a nested pipeline is there more than once, and its copies"
            " are numbered"
        ],
    ),
]


@pytest.mark.parametrize(("pipeline", "found"), BAD, ids=lambda value: getattr(value, "__name__", ""))
def test_what_a_rule_is_about_is_found_and_nothing_else(pipeline: Callable[..., Any], found: list[str]) -> None:
    assert checked(pipeline) == found


def chain(word: str = "a", memory: str = "1Gi"):
    with dsl.If(word == "a", name="yes"):
        say(word=word)
    told(word=sized(word=word, memory=memory, gpus="0").set_memory_limit(memory).output)


def spoilt(change: Callable[[dict[str, Any], dict[str, Any]], None]) -> list[str]:
    """What is found in a sound pipeline after a change that the SDK does not make today."""
    made = safe(compiled(chain))
    assert findings(made) == []
    change(made.spec, made.platform)
    return findings(made)


def tasks(spec: dict[str, Any]) -> dict[str, Any]:
    return dict(spec["root"]["dag"]["tasks"])


def test_a_resource_that_the_task_itself_is_not_given() -> None:
    def change(spec: dict[str, Any], platform: dict[str, Any]) -> None:
        del tasks(spec)["sized"]["inputs"]["parameters"]["pipelinechannel--memory"]

    assert spoilt(change) == ["R2 root/sized: its pod wants pipelinechannel--memory, which the task is not given"]


def test_settings_that_want_what_the_group_does_not_have() -> None:
    def change(spec: dict[str, Any], platform: dict[str, Any]) -> None:
        platform["exec-say"]["nodeSelector"] = {"nodeSelectorJson": {"componentInputParameter": "where"}}

    assert spoilt(change) == [
        "R1 comp-condition-1/say: its settings for Kubernetes want where, which comp-condition-1 does not declare"
    ]


def test_settings_that_want_an_output_of_a_task_elsewhere() -> None:
    def change(spec: dict[str, Any], platform: dict[str, Any]) -> None:
        source = {"taskOutputParameter": {"producerTask": "say", "outputParameterKey": "Output"}}
        platform["exec-told"]["nodeSelector"] = {"nodeSelectorJson": source}

    assert spoilt(change) == ["R1 root/told: its settings for Kubernetes want an output of say, which is not in root"]


def test_a_task_that_waits_for_what_may_not_be_triggered() -> None:
    def change(spec: dict[str, Any], platform: dict[str, Any]) -> None:
        tasks(spec)["told"]["dependentTasks"] = ["condition-1", "sized"]

    assert spoilt(change) == ["R4 root/told: waits for condition-1, which may not be triggered"]


def test_a_type_that_does_not_agree() -> None:
    def change(spec: dict[str, Any], platform: dict[str, Any]) -> None:
        spec["components"]["comp-told"]["inputDefinitions"]["parameters"]["word"]["parameterType"] = "LIST"

    assert spoilt(change) == ["R5 root/told: input word is LIST and is given STRING"]


def test_a_loop_over_a_tasks_list_whose_items_are_no_texts() -> None:
    made = safe(compiled(loop_over_a_list))
    assert findings(made) == []
    declared = made.spec["components"]["comp-for-loop-1"]["inputDefinitions"]["parameters"]
    declared["pipelinechannel--words-Output-loop-item"]["parameterType"] = "NUMBER_INTEGER"
    assert "R6 root/for-loop-1: its items are NUMBER_INTEGER, and what a list holds is known when it runs only" in (
        findings(made)
    )


def test_an_executor_that_runs_something_else_or_for_several() -> None:
    def change(spec: dict[str, Any], platform: dict[str, Any]) -> None:
        spec["components"]["comp-told"]["executorLabel"] = "exec-say"

    assert spoilt(change) == [
        "R8 root/told: is comp-told, but its executor exec-say runs say",
        "R8 exec-say: several components share it",
    ]


def test_a_pod_that_runs_as_root() -> None:
    def change(spec: dict[str, Any], platform: dict[str, Any]) -> None:
        platform["exec-told"] = {}

    assert spoilt(change) == ["R9 root/told: may run as root, which Pod Security `restricted` does not admit"]


def test_every_rule_has_its_example() -> None:
    text = Path(__file__).read_text("utf-8")
    assert [rule for rule in RULES if f'"{rule} ' not in text] == []
