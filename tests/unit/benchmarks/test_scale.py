from pathlib import Path

from benchmarks.scale import calls
from larpo_lib.steps.declarations import STEPS


def test_every_step_is_measured() -> None:
    measured = {"promote:run" if call.step == "register" else call.step for call in calls(Path()).values()}
    assert measured == {step.function for step in STEPS.values()}
