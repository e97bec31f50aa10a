"""What a driver hands to a task and asks of Kubernetes, as the real one does.

A pipeline here is as small as the fact that it shows. What each ends with is known from the real driver.
"""

from typing import Any

import pytest
from backend_values import BackendError, holds, items, quantity, stored, typed
from kfp import dsl, kubernetes
from small_components import Run
from small_tasks import count, hold, say, sized, words, words_of


def test_a_groups_task_gets_what_it_takes_as_an_argument(run: Run) -> None:
    def handed(word: str = "a"):
        with dsl.If(word == "a", name="yes"):
            say(word=word)

    outcome = run(handed)
    assert outcome.phase == "Succeeded"
    assert outcome.outputs["condition-1/say"]["parameterValues"] == {"Output": "a"}


def test_a_resource_alone_is_not_handed_into_a_group(run: Run) -> None:
    def unhanded(word: str = "a", memory: str = "1Gi"):
        with dsl.If(word == "a", name="yes"):
            say(word=word).set_memory_limit(memory)

    outcome = run(unhanded)
    assert outcome.phase == "Failed"
    message = "parent DAG does not have input parameter pipelinechannel--memory"
    assert outcome.messages == {"condition-1/say-driver": message}
    assert outcome.ran == []


def test_a_resource_that_is_an_argument_too_is_handed_into_a_group(run: Run) -> None:
    def both(word: str = "a", memory: str = "1Gi", gpus: str = "2"):
        with dsl.If(word == "a", name="yes"):
            task = sized(word=word, memory=memory, gpus=gpus)
            task.set_memory_limit(memory).set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(gpus)

    outcome = run(both)
    assert outcome.phase == "Succeeded"
    assert outcome.pods["condition-1/sized"].limits == {"memory": "1Gi", "nvidia.com/gpu": "2"}


@pytest.mark.parametrize(("gpus", "limits"), [("2", {"nvidia.com/gpu": "2"}), ("0", {"nvidia.com/gpu": "0"}), ("", {})])
def test_gpus_are_a_text(gpus: str, limits: dict[str, str], run: Run) -> None:
    def texts(gpus: str = "1"):
        say(word="a").set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(gpus)

    assert run(texts, gpus=gpus).pods["say"].limits == limits


def test_gpus_as_a_number_are_dropped_in_silence(run: Run) -> None:
    def numbers(gpus: int = 2):
        say(word="a").set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(gpus)

    outcome = run(numbers)
    assert outcome.phase == "Succeeded"
    assert outcome.pods["say"].limits == {}


def test_memory_as_a_number_is_no_amount(run: Run) -> None:
    def numbers(memory: int = 2):
        say(word="a").set_memory_limit(memory)

    assert "quantities must match" in run(numbers).messages["say-driver"]


def test_places_and_tolerations_are_resolved_like_inputs(run: Run) -> None:
    def placed(node_selector: dict = {"zone": "a"}, tolerations: list = []):  # noqa: B006
        task = say(word="a")
        kubernetes.add_node_selector_json(task, node_selector_json=node_selector)
        kubernetes.add_toleration_json(task, toleration_json=tolerations)

    taint = {"key": "gpu", "operator": "Exists"}
    pod = run(placed, tolerations=[taint]).pods["say"]
    assert pod.node_selector == {"zone": "a"}
    assert pod.tolerations == [taint]
    pod = run(placed, node_selector={}).pods["say"]
    assert (pod.node_selector, pod.tolerations) == ({}, [])


def test_numbers_reach_a_text_as_text_and_a_lists_items_too(run: Run) -> None:
    def loops(number: int = 3):
        made = words(number=number)
        with dsl.ParallelFor(made.output) as item:
            say(word=item)
        with dsl.ParallelFor([1, 2]) as fixed:
            count(number=fixed)

    outcome = run(loops)
    assert outcome.phase == "Succeeded"
    told = {path: made["parameterValues"].get("Output") for path, made in outcome.outputs.items()}
    assert [told[f"for-loop-1.{i}/say"] for i in range(3)] == ["0", "1", "2"]
    assert [told[f"for-loop-3.{i}/count"] for i in range(2)] == [1, 2]


def test_an_output_is_read_through_a_group(run: Run) -> None:
    @dsl.pipeline(name="inner")
    def inner(word: str) -> str:
        return say(word=word).output

    def through(word: str = "a"):
        hold(word=inner(word=word).output)

    assert run(through).outputs["hold"]["parameterValues"] == {"Output": "a"}


def test_collected_outputs_come_in_the_order_of_the_items(run: Run) -> None:
    def gathers():
        with dsl.ParallelFor(["b", "a", "c"]) as item:
            said = say(word=item)
        words_of(found=dsl.Collected(said.output))

    for seed in (None, 1, 2):
        assert run(gathers, seed=seed).outputs["words-of"]["parameterValues"] == {"Output": "b,a,c"}


@pytest.mark.parametrize(
    ("wanted", "value", "made"),
    [
        ("STRING", 1.0, "1"),
        ("STRING", 0.25, "0.25"),
        ("STRING", True, "true"),
        ("STRING", [1, "b"], '[1,"b"]'),
        ("STRING", {"b": 1, "a": None}, '{"a":null,"b":1}'),
        ("NUMBER_INTEGER", 1.0, 1),
        ("NUMBER_DOUBLE", 0.25, 0.25),
        ("BOOLEAN", False, False),
        ("LIST", [1.0], [1]),
        ("STRUCT", {}, {}),
    ],
)
def test_a_text_takes_everything(wanted: str, value: Any, made: Any) -> None:
    found = typed("x", wanted, stored(value))
    assert (found, type(found)) == (made, type(made))


@pytest.mark.parametrize(
    ("wanted", "value", "kind"),
    [
        ("NUMBER_INTEGER", "1", "string"),
        ("NUMBER_DOUBLE", True, "bool"),
        ("BOOLEAN", 1, "number"),
        ("LIST", "[]", "string"),
        ("LIST", {}, "struct"),
        ("STRUCT", [], "list"),
    ],
)
def test_every_other_type_takes_its_own_only(wanted: str, value: Any, kind: str) -> None:
    with pytest.raises(BackendError, match=f"type mismatch: expect {wanted}, got {kind}"):
        typed("x", wanted, value)


@pytest.mark.parametrize(
    ("condition", "result"),
    [
        ("inputs.parameter_values['a'] == 'x!=y'", True),
        ("inputs.parameter_values['a'] != 'x!=y'", False),
        ("!(inputs.parameter_values['a'] == 'b') && inputs.parameter_values['n'] > 1", True),
        ("int(inputs.parameter_values['n']) < 2 || inputs.parameter_values['t'] == true", True),
        ("!(inputs.parameter_values['t'] == true) && true", False),
    ],
)
def test_conditions_of_the_compiler(condition: str, result: bool) -> None:
    assert holds(condition, {"a": "x!=y", "n": 2, "t": True}) is result


def test_what_a_condition_reads_is_there() -> None:
    with pytest.raises(BackendError, match="no such key: b"):
        holds("inputs.parameter_values['b'] == ''", {"a": ""})


@pytest.mark.parametrize("amount", ["1", "0", "2.5", "500m", "8Gi", "1e3", "16G"])
def test_amounts(amount: str) -> None:
    assert quantity(amount) == amount


@pytest.mark.parametrize("amount", ["", "8 Gi", "8gib", "many"])
def test_what_is_no_amount(amount: str) -> None:
    with pytest.raises(BackendError):
        quantity(amount)


def test_a_loop_goes_over_a_list_or_the_json_of_one() -> None:
    assert items('["a"]') == items(["a"]) == ["a"]
    with pytest.raises(BackendError, match="type number cannot be iterated"):
        items(3)
