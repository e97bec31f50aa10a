"""What steps declare is what their functions take."""

import inspect

import pytest

from larpo_lib.config import section_class
from larpo_lib.evaluation import benchmarks
from larpo_lib.steps.declarations import STEPS, Step

OF_BENCHMARKS = [step for one in benchmarks().values() for step in (one.step, one.rescoring) if step is not None]


@pytest.mark.parametrize("step", [*STEPS.values(), *OF_BENCHMARKS], ids=lambda step: step.function)
def test_a_function_takes_what_its_step_declares(step: Step) -> None:
    taken = dict(inspect.signature(step.load(), eval_str=True).parameters)
    if step.section is not None:
        assert issubclass(section_class(step.section), taken.pop("config").annotation)
    for extra in ["log"] * step.trains + ["registry", "place", "run", "iteration"] * step.needs_registry:
        assert extra in taken
        del taken[extra]
    options = {option.name for option in step.options if not option.setting}
    assert set(taken) == {one.name for one in (*step.inputs, *step.outputs)} | options
    for one in step.inputs:
        assert ("Sequence" in str(taken[one.name].annotation)) == one.several, one.name
        assert ("None" in str(taken[one.name].annotation)) == (one.arity == "optional"), one.name
    for output in step.outputs:
        assert (taken[output.name].default is None) == output.optional, output.name


@pytest.mark.parametrize("step", [step for step in STEPS.values() if step.trains], ids=lambda step: step.name)
def test_the_launcher_of_a_step_that_trains_is_a_setting_of_its_section(step: Step) -> None:
    assert step.section is not None
    launch = section_class(step.section).model_fields["launch"].annotation
    assert launch is not None
    for option in step.command_options:
        assert option.setting.removeprefix("launch.") in launch.model_fields
