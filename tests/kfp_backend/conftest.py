"""A backend, and a pipeline run on it in one breath."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from backend_emulator import Backend
from backend_outcome import V2_17, Outcome, Version
from compiled_ir import Compiled
from larpo_runs import Pipeline
from quick_steps import install
from small_components import Run, compiled


@pytest.fixture
def run(tmp_path: Path) -> Run:
    number = itertools.count()

    def on_a_backend_of_its_own(
        pipeline: Callable[..., Any] | Compiled, faults: dict[str, list[str]] | None = None, version: Version = V2_17,
        seed: int | None = None, **arguments: Any,
    ) -> Outcome:  # fmt: skip
        made = pipeline if isinstance(pipeline, Compiled) else compiled(pipeline)
        return Backend(tmp_path / str(next(number)), version, seed).run(made, arguments, faults)

    return on_a_backend_of_its_own


@pytest.fixture
def pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    monkeypatch.setenv("LARPO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "config.json").write_text("{}")
    made = Pipeline("larpo", install(monkeypatch), tmp_path, {})
    made.set({})
    return made
