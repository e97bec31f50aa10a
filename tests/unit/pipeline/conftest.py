"""What the tests of a pipeline's components share: a request that a tiny world can serve."""

import json
from pathlib import Path

import pytest
from pipeline_requests import Given

from larpo_lib.pipeline.form import FORMS, asked


@pytest.fixture
def given(tiny_world: Path, tmp_path: Path, mlflow_uri: str, monkeypatch: pytest.MonkeyPatch) -> Given:
    """The parameters of the pipeline `larpo`, and `job`, as its first component is given them."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_uri)
    monkeypatch.setenv("LARPO_CACHE", str(tmp_path / "cache"))
    settings = {
        "model": {"device": "cpu"},
        "loop": {"early_stop": {"patience": 1}},
        "demonstrations": {"source": str(tiny_world / "demonstrations.jsonl")},
        "evaluation_prompts": {"source": str(tiny_world / "heldout.jsonl")},
    }
    defaults = {field.name: field.default for field in FORMS["larpo"] if field.name in asked("larpo")}
    return {
        **defaults, "job": "job", "root": str(tmp_path), "run_id": "one", "settings": json.dumps(settings), "shards": 2,
        "policy": str(tiny_world / "policy"), "prompts_source": str(tiny_world / "prompts.jsonl"), "rounds": 3,
    }  # fmt: skip
