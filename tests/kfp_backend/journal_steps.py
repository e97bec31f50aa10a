"""What the components of the small loop do: marks in a folder, before the work and after it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from backend_pods import midway

State = dict[str, Any]


def begin(root: str, job: str, rounds: int, shares: int, stop: int) -> tuple[str, list[str], list[str]]:
    """Leave the settings; gives the run's folder, its rounds and its shares."""
    Path(root).mkdir(parents=True, exist_ok=True)
    (Path(root) / "settings.json").write_text(
        json.dumps({"job": job, "rounds": rounds, "shares": shares, "stop": stop})
    )
    step(root, "start")
    return root, [str(i) for i in range(1, rounds + 1)], [str(i) for i in range(shares)]


def step(root: str, name: str, *needed: str) -> None:
    """Take a step that needs others."""
    note(root, name, "began")
    try:
        midway()
        missing = [one for one in needed if marks(root).get(one, {}).get("state") != "done"]
        assert not missing, f"{name} needs {missing}"
        assert name not in broken(root), f"{name} is broken"
    except BaseException:
        note(root, name, "failed")
        raise
    note(root, name, "done")


def gate(root: str, i: int) -> str:
    """What a round does."""
    settings, known = read(root), marks(root)
    step(root, f"gate-{i}")
    troubled = [name for name, mark in known.items() if mark["job"] == settings["job"] and mark["state"] != "done"]
    troubled = [name for name in troubled if name not in (f"gate-{i}", "evaluate-0")]  # the baseline goes on beside
    trained = i == 1 or known.get(f"train-{i - 1}", {}).get("state") == "done"
    if troubled or not trained or i > (settings["stop"] or i):
        return "skip"
    return "measure" if i == settings["rounds"] else "train"


def end(root: str, job: str) -> str:
    """How a run ended, from its marks alone."""
    known = {name: mark for name, mark in marks(root).items() if mark["job"] == job}
    if known.get("report", {}).get("state") == "done":
        return "SUCCEEDED"
    return f"FAILED: {', '.join(sorted(name for name, mark in known.items() if mark['state'] != 'done'))}"


def read(root: str) -> State:
    """The settings of a run."""
    return dict(json.loads((Path(root) / "settings.json").read_text()))


def broken(root: str) -> list[str]:
    """Steps that fail; a test says so."""
    told = Path(root) / "broken.json"
    return list(json.loads(told.read_text())) if told.exists() else []


def marks(root: str) -> dict[str, State]:
    """The marks of all steps."""
    return {path.stem: json.loads(path.read_text()) for path in sorted((Path(root) / "marks").glob("*.json"))}


def note(root: str, name: str, state: str) -> None:
    """Set the mark of a step."""
    (Path(root) / "marks").mkdir(exist_ok=True)
    (Path(root) / "marks" / f"{name}.json").write_text(json.dumps({"state": state, "job": read(root)["job"]}))
