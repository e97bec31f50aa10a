"""Finished cells beside cells that are still to be run: both are to be of the same data, models and results."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from larpo_lib.errors import ArtifactError
from larpo_lib.execution import execute_step
from larpo_lib.manifest import read_manifest, recorded_digest
from larpo_lib.plan import Plan, StepCall
from larpo_lib.results import other_results
from larpo_lib.run_state import find_run_state
from larpo_lib.steps.edge import at_edge

_READING = {"sft", "evaluate", "rerank"}
"""Steps that read the policy or a reward model, beside those that read a source."""
_NO_RESULTS = {"promote", "report"}
"""Steps that the study does not read."""


def check_finished(plans: Sequence[Plan]) -> None:
    """Check that finished runs are what they would be if they were run now.

    Their first steps are taken again, which finds what they made, or that it was made from other files or models.

    Args:
        plans: of the finished runs.

    Raises:
        LarpoError: the sources, models or functions are others now, or a step gives other results than it did then.
    """
    checked: set[tuple[str, ...]] = set()
    for plan in plans:
        try:
            made = [call for call in find_run_state(plan).made if call.step.name not in _NO_RESULTS]
            for call in made:
                _check_results(call)
            for call in _reading(made):
                same = (plan.config.policy, call.name, str(call.settings), _manifest(call)["fingerprint"])
                if same not in checked:
                    _take_again(call)
                    checked.add(same)
        except ArtifactError as error:
            raise ArtifactError(
                f"Other runs of the study are left, and this one differs from what they will be: {error.problem}",
                remedy=f"Undo the change, delete {plan.root} to make this run again, or choose another --out",
            ) from error


def _take_again(call: StepCall) -> None:
    with at_edge(call.config, call.inputs, call.outputs) as paths:
        if not call.step.trains:
            execute_step(call, paths, None)
        elif recorded_digest(paths["policy"]) != _manifest(call)["inputs"]["policy"]:  # without starting its processes
            raise ArtifactError(f"{call.output}: was made from another policy than {call.inputs['policy']} is now")


def _check_results(call: StepCall) -> None:
    manifest = _manifest(call)
    if what := other_results(manifest["step"], manifest["code"]):
        raise ArtifactError(f"{call.output}: was made with {what}")


def _reading(made: Sequence[StepCall]) -> Iterator[StepCall]:
    """The first steps that read a source, the policy or a reward model."""
    seen: set[str] = set()
    for call in made:
        if call.name.startswith("prepare") or call.name in _READING - seen:
            seen.add(call.name)
            yield call


def _manifest(call: StepCall) -> dict[str, Any]:
    return read_manifest(Path(call.output))
