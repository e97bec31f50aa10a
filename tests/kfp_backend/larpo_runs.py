"""The pipelines of the project, as they are compiled, on the emulated backend with quick steps."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend_emulator import Backend
from backend_outcome import V2_17, Outcome, Version
from compiled_ir import load
from quick_steps import Quick

from larpo_kubeflow import pipelines

COMPILED = Path(pipelines.__file__).parent / "compiled"


@dataclass
class Pipeline:
    """A pipeline on a backend, with quick steps.

    Attributes:
        name: of the compiled pipeline.
        quick: the steps.
        folder: for everything.
        given: the pipeline's parameters.
        backends: how many there were so far.
    """

    name: str
    quick: Quick
    folder: Path
    given: dict[str, Any]
    backends: int = 0

    @property
    def root(self) -> Path:
        """Of the run."""
        return self.folder / "runs" / "one"

    def set(self, settings: dict[str, Any], **given: Any) -> None:
        """Lay settings over those that every run here has; the others are parameters of the pipeline."""
        own = {"evaluation_prompts": {"source": "heldout"}, "promote": {"metric": "reward"}}
        self.given = {
            "root": str(self.folder / "runs"), "run_id": "one", "policy": str(self.folder / "policy"),
            "prompts_source": "prompts", **given, "settings": json.dumps({**own, **settings}),
        }  # fmt: skip

    def backend(self, version: Version = V2_17, seed: int | None = None) -> Backend:
        """A backend of its own."""
        self.backends += 1
        self.quick.backend = Backend(self.folder / f"kfp-{self.backends}", version, seed)
        return self.quick.backend

    def run(self, backend: Backend, faults: dict[str, list[str]] | None = None) -> tuple[Outcome, str]:
        """Run it; gives what became of it, and the report of the exit task."""
        outcome = backend.run(load(COMPILED / f"{self.name}.yaml"), self.given, faults)
        assert outcome.ran[-1] == "final-report"
        (text,) = outcome.outputs["final-report"]["artifacts"]["text"]["artifacts"]
        return outcome, Path(text["uri"]).read_text("utf-8")
