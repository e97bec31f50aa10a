"""What Kubeflow Pipelines' backend needs of a compiled pipeline, as rules that read the file alone.

The backend accepts every file below. What a rule finds fails, or goes wrong without a word, when the pipeline runs.
Paths and lines are of Kubeflow Pipelines 2.17.0, below backend/src/v2.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import compiled_ir as ir
from compiled_ir import Compiled, Tree

_PLACE = re.compile(r"\{\{\$\.inputs\.parameters\['(.+?)'\]\}\}")


@dataclass(frozen=True)
class At:
    """A task and what is around it.

    Attributes:
        compiled: the pipeline.
        parent: name of the component it is in; `around`: that component.
        name: of the task; `task`: the task.
    """

    compiled: Compiled
    parent: str
    around: Tree
    name: str
    task: Tree

    @property
    def component(self) -> Tree:
        """What the task is an instance of."""
        return self.compiled.component(self.task["componentRef"]["name"])

    @property
    def beside(self) -> dict[str, Tree]:
        """The tasks of the same DAG."""
        return ir.tasks(self.around)

    def settings(self) -> Tree:
        """What Kubernetes is told of it."""
        return dict(self.compiled.platform.get(self.component.get("executorLabel", ""), {}))

    def kind(self, source: Tree) -> str | None:
        """Type of what a parameter comes from; None: it is a constant, or nobody says."""
        if "componentInputParameter" in source:
            declared = ir.parameters(self.around).get(source["componentInputParameter"], {})
            return declared.get("parameterType")
        if "taskOutputParameter" in source:
            wanted = source["taskOutputParameter"]
            producer = self.compiled.component(self.beside[wanted["producerTask"]]["componentRef"]["name"])
            made = producer.get("outputDefinitions", {}).get("parameters", {})
            return made.get(wanted["outputParameterKey"], {}).get("parameterType")
        return None


Texts = Iterator[str]
Rule = Callable[[At], Texts]


def everything(compiled: Compiled) -> Iterator[At]:
    """Every task of a pipeline."""
    for parent, around in compiled.components().items():
        for name, task in ir.tasks(around).items():
            yield At(compiled, parent, around, name, task)


def inputs_of_the_parent(at: At) -> Texts:
    """What is taken from the parent is what the direct parent declares (driver/resolve.go:389)."""
    declared = ir.parameters(at.around)
    for name, source in ir.given(at.task).items():
        wanted = source.get("componentInputParameter")
        if wanted is not None and wanted not in declared:
            yield f"input {name} wants {wanted}, which {at.parent} does not declare"
    for wanted in ir.each(at.settings(), "componentInputParameter"):
        if wanted not in declared:
            yield f"its settings for Kubernetes want {wanted}, which {at.parent} does not declare"
    for upstream in ir.each(at.settings(), "producerTask"):
        if upstream not in at.beside:
            yield f"its settings for Kubernetes want an output of {upstream}, which is not in {at.parent}"


def resources_that_are_given(at: At) -> Texts:
    """A field of the pod is made from an input of the task itself, which groups hand down (driver/resolve.go:818)."""
    for wanted in _resources(at):
        if wanted not in ir.given(at.task):
            yield f"its pod wants {wanted}, which the task is not given"


def resources_are_texts(at: At) -> Texts:
    """A field of the pod made from a number is empty: GPUs are dropped in silence (driver/driver.go:415-441)."""
    for wanted in _resources(at):
        kind = at.kind(ir.given(at.task).get(wanted, {})) or ir.parameters(at.component).get(wanted, {}).get(
            "parameterType"
        )
        if kind not in (None, "STRING"):
            yield f"its pod is made from {wanted} of type {kind}, which is read as empty"


def nothing_behind_a_condition(at: At) -> Texts:
    """Who waits for what is not triggered is left out in silence (argocompiler/dag.go:713)."""
    for upstream in sorted(ir.needs(at.task)):
        if ir.condition(at.beside[upstream]) and not ir.is_exit(at.task):
            yield f"waits for {upstream}, which may not be triggered"


def types_agree(at: At) -> Texts:
    """A text takes everything, every other type only its own (driver/resolve.go:196-247)."""
    for name, source in ir.given(at.task).items():
        wanted = ir.parameters(at.component).get(name, {}).get("parameterType")
        kind = at.kind(source)
        if wanted and kind and wanted not in ("STRING", kind):
            yield f"input {name} is {wanted} and is given {kind}"


def items_are_texts(at: At) -> Texts:
    """The items of a list have no type for the SDK but text; a loop over a task's list gives on nothing else."""
    iterator = at.task.get("parameterIterator", {})
    kind = ir.parameters(at.component).get(iterator.get("itemInput"), {}).get("parameterType")
    if "inputParameter" in iterator.get("items", {}) and kind != "STRING":
        yield f"its items are {kind}, and what a list holds is known when it runs only"


def names_of_its_own(at: At) -> Texts:
    """A copy of a nested pipeline's component is numbered in an order that differs from process to process."""
    name = _reference(at.task)
    if re.search(r"-of-.+-\d+$", name):
        yield f"is {name}: a nested pipeline is there more than once, and its copies are numbered"


def its_own_executor(at: At) -> Texts:
    """A component's executor runs the function that its name says."""
    label = at.component.get("executorLabel")
    if label is None:
        return
    arguments = at.compiled.container(label)["args"]
    function = arguments[arguments.index("--function_to_execute") + 1].replace("_", "-")
    if not re.fullmatch(rf"comp-{function}(-\d+)?(-of-.+)?", _reference(at.task)):
        yield f"is {_reference(at.task)}, but its executor {label} runs {function}"


def not_as_root(at: At) -> Texts:
    """Pod Security `restricted` lets no container run as root (driver/k8s.go:749-787)."""
    if "executorLabel" in at.component and not at.settings().get("securityContext", {}).get("runAsNonRoot"):
        yield "may run as root, which Pod Security `restricted` does not admit"


RULES: dict[str, Rule] = {
    "R1": inputs_of_the_parent,
    "R2": resources_that_are_given,
    "R3": resources_are_texts,
    "R4": nothing_behind_a_condition,
    "R5": types_agree,
    "R6": items_are_texts,
    "R7": names_of_its_own,
    "R8": its_own_executor,
    "R9": not_as_root,
}


def findings(compiled: Compiled) -> list[str]:
    """All that is wrong with a pipeline, a line each."""
    found = [
        f"{rule} {at.parent}/{at.name}: {text}"
        for rule, check in RULES.items()
        for at in everything(compiled)
        for text in check(at)
    ]
    labels = [part["executorLabel"] for part in compiled.components().values() if "executorLabel" in part]
    found += [f"R8 {label}: several components share it" for label in sorted(set(labels)) if labels.count(label) > 1]
    return found


def size(compiled: Compiled) -> int:
    """Bytes of a pipeline and its platform, which a workflow holds."""
    return len(json.dumps(compiled.spec)) + len(json.dumps(compiled.platform))


def _reference(task: Tree) -> str:
    return str(task["componentRef"]["name"])


def _resources(at: At) -> list[str]:
    label = at.component.get("executorLabel")
    if label is None:
        return []
    container = at.compiled.container(label)
    return sorted(set(_PLACE.findall(json.dumps([container.get("resources", {}), container["image"]]))))
