"""Makes the components: from a few words about each, the function whose source Kubeflow runs in a pod."""

import linecache
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from kfp import dsl

from larpo_kubeflow.components.images import Images, Target
from larpo_lib.pipeline.form import FORMS, asked

Types = Mapping[str, type]
"""Types by name."""

RUN: Types = {"run": str}
ROUND: Types = {**RUN, "iteration": str}
SHARD: Types = {**ROUND, "shard": str}
POD: Types = {"gpus": str, "memory": str}
PLACES: Types = {"node_selector": dict, "tolerations": list}
TEXT: Types = {"Output": str}
"""What a component returns whose function returns text, as KFP names it."""


@dataclass(frozen=True)
class Component:
    """A component; called in a pipeline, it is a task.

    Attributes:
        kfp: as KFP has it.
        target: the image it runs in.
    """

    kfp: Any
    target: Target

    def __call__(self, **arguments: Any) -> dsl.PipelineTask:
        """A task with these arguments."""
        return self.kfp(**arguments)


def component(
    name: str,
    task: str,
    inputs: Types,
    artifacts: Types | None = None,
    *,
    target: Target = "evaluator",
    returns: Types | None = None,
    example: str = "",
) -> Component:
    """A component that calls a function of `larpo_lib.pipeline` with its inputs, and shows what it made.

    KFP reads the signature of a component's function and copies its source, so both are written here.

    Args:
        name: of the component.
        task: module below `larpo_lib.pipeline`, a colon, the function's name.
        inputs: types of its parameters.
        artifacts: KFP's classes of those that show results, by name.
        target: the image it runs in. All but the evaluator's run a model, and are given a machine.
        returns: types of what it returns; None: nothing.
        example: artifact whose URI the function is given too, as `example`.
    """
    machine = {} if target == "evaluator" else {**POD, **PLACES}
    parameters = [f"{one}: {kind.__name__}" for one, kind in {**inputs, **machine}.items()]
    parameters += [f"{one}: dsl.Output[dsl.{kind.__name__}]" for one, kind in (artifacts or {}).items()]
    given = [f'"{task}"', f"[{', '.join(artifacts or {})}]", *(f"{one}={one}" for one in inputs)]
    given += [f"example={example}.uri"] if example else []
    function = _function(
        name,
        f"def {name}({', '.join(parameters)}){_annotation(returns or {})}:\n"
        "    from larpo_lib.pipeline.tasks import run_task\n\n"
        f"    return run_task({', '.join(given)})\n",
    )
    decorate = dsl.component(base_image=Images().reference(target), install_kfp_package=False)
    return Component(decorate(function), target)


def first_component(name: str, form: str, task: str, returns: Types) -> Component:
    """The component that a pipeline begins with: its parameters are those of the pipeline's form, and `job`."""
    kinds = {field.name: field.kind for field in FORMS[form]}
    inputs = {"job": str, **{one: kinds[one] for one in asked(form)}}
    return component(name, task, inputs, {"checked": dsl.Artifact}, returns=returns, example="checked")


def _annotation(returns: Types) -> str:
    if returns == TEXT:
        return " -> str"
    fields = ", ".join(f'("{one}", {kind.__name__})' for one, kind in returns.items())
    return f' -> NamedTuple("Returned", [{fields}])' if fields else ""


def _function(name: str, source: str) -> Any:
    """The function of a source, which `inspect.getsource` finds again."""
    file = f"<component {name}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    made: dict[str, Any] = {"dsl": dsl, "NamedTuple": NamedTuple}
    exec(compile(source, file, "exec", dont_inherit=True), made)  # noqa: S102 - written here, of names and types
    return made[name]
