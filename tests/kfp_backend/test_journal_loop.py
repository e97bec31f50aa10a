"""The form of a loop that passes on a real backend passes here too, in the combinations that were tried there."""

import itertools
import json
from pathlib import Path

import journal_steps
import pytest
from backend_emulator import Backend
from backend_outcome import V2_16, V2_17, Version
from journal_loop import journal_loop
from small_components import compiled

STEPS = [
    "start", "gate-1", "sample-1-0", "merge-1", "train-1", "gate-2", "sample-2-1", "merge-2", "train-2", "evaluate-0",
    "evaluate-2", "promote", "report",
]  # fmt: skip


def place(step: str) -> str:
    """A pattern of the pod that takes a step."""
    name, *numbers = step.split("-")
    inside = f"*.{int(numbers[0]) - 1}/*" if numbers and numbers[0] != "0" else "*"
    share = f"*.{numbers[1]}/" if len(numbers) > 1 else ""
    return f"exit-handler-1/{'loop/' if name != 'start' else ''}{inside}{share}{name}".replace("**", "*")


@pytest.mark.parametrize(("rounds", "stop", "shares"), itertools.product((1, 2, 4), (0, 1, 2), (1, 3)))
def test_every_combination_succeeds(rounds: int, stop: int, shares: int, tmp_path: Path) -> None:
    backend = Backend(tmp_path / "kfp", V2_17 if shares == 1 else V2_16, seed=rounds)
    root = str(tmp_path / "run")
    given = {"root": root, "rounds": rounds, "stop": stop, "shares": shares, "gpus": "1"}
    outcome = backend.run(compiled(journal_loop), given)
    assert (outcome.phase, outcome.messages) == ("Succeeded", {})
    assert outcome.outputs["final-report"]["parameterValues"] == {"Output": "SUCCEEDED"}
    last = min(rounds, stop or rounds)
    assert [name for name in journal_steps.marks(root) if name.startswith("train")] == [
        f"train-{i}" for i in range(1, last + 1)
    ]
    gpus = {
        pod.limits.get("nvidia.com/gpu") for path, pod in outcome.pods.items() if path.endswith(("sample", "train"))
    }
    assert gpus == {"1"}

    again = backend.run(compiled(journal_loop), given)
    assert again.phase == "Succeeded"
    assert again.outputs["final-report"]["parameterValues"] == {"Output": "SUCCEEDED"}
    assert not {"sample", "merge", "train", "evaluate"} & set(again.tasks())  # all from the cache


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(("how", "version"), [("error", V2_16), ("killed", V2_17)])
def test_a_step_that_fails_ends_the_run_and_is_named(step: str, how: str, version: Version, tmp_path: Path) -> None:
    root = tmp_path / "run"
    root.mkdir()
    faults = {}
    if how == "error":
        (root / "broken.json").write_text(json.dumps([step]))
    else:
        faults = {place(step): ["killed"] * 3}
    outcome = Backend(tmp_path / "kfp", version, seed=3).run(
        compiled(journal_loop), {"root": str(root), "shares": 2}, faults
    )
    assert outcome.phase == "Failed"
    assert outcome.ran[-1] == "final-report"
    told = outcome.outputs["final-report"]["parameterValues"]["Output"]
    assert told.startswith("FAILED: ")
    assert step in told
    if step in STEPS[1:5]:  # nothing of the second round is begun
        assert not any("train-2" in name or "sample-2" in name for name in journal_steps.marks(str(root)))


@pytest.mark.parametrize("seed", range(6))
def test_lost_drivers_do_no_harm(seed: int, tmp_path: Path) -> None:
    """But to those that read another task's output in the DAG above the duplicate: they are in no such place."""
    lost = ["*/sample-driver", "*/merge-driver", "*/evaluate-driver", "*/train-driver", "*/report-driver"]
    backend = Backend(tmp_path / "kfp", seed=seed)
    outcome = backend.run(
        compiled(journal_loop), {"root": str(tmp_path / "run"), "shares": 2}, {lost[seed % len(lost)]: ["lost"]}
    )
    assert outcome.outputs["final-report"]["parameterValues"] == {"Output": "SUCCEEDED"}
    assert outcome.phase == "Succeeded"


def test_a_baseline_that_is_still_at_work_stops_no_round(tmp_path: Path) -> None:
    outcome = Backend(tmp_path / "kfp").run(
        compiled(journal_loop), {"root": str(tmp_path / "run")}, {"exit-handler-1/loop/evaluate": ["held"]}
    )
    assert outcome.phase == "Succeeded"
    ended = [path.rpartition("/")[2] for path, phase in outcome.nodes if phase == "Succeeded"]
    assert ended.index("merge") < ended.index("evaluate")
