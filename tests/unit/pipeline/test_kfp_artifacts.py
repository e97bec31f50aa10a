"""What KFP shows of artifacts that it does not store."""

import json
from pathlib import Path
from typing import Any

import pytest

from larpo_lib.pipeline import kfp_artifacts
from larpo_lib.pipeline.execute import StepResult
from larpo_lib.pipeline.run_context import Place


class Artifact:
    """As KFP hands one to a component."""

    def __init__(self, path: Path) -> None:
        self.uri, self.path = str(path), str(path)
        self.metadata: dict[str, Any] = {}
        self.schema_title = "system.Dataset"


def test_what_kfp_cannot_store_is_pointed_to_by_a_small_file(tmp_path: Path) -> None:
    metadata = {"uri": "s3://b/runs/one/lists", "rows": 3}
    inside, outside = Artifact(tmp_path / "inside"), Artifact(tmp_path / "outside")
    kfp_artifacts.show(inside, StepResult("s3://b/runs/one/lists", {}, metadata, "s3://b"))
    kfp_artifacts.show(outside, StepResult("s3://b/runs/one/lists", {}, metadata, "s3://other/v2"))
    assert inside.uri == "s3://b/runs/one/lists"
    assert not Path(inside.path).exists()
    assert outside.uri == outside.path
    assert json.loads(Path(outside.path).read_text()) == metadata
    assert inside.metadata == outside.metadata == metadata


@pytest.mark.parametrize("root", ["s3://b/v2/runs/one", "s3://b/v2/larpo/another/run", "s3://b/v2/larpo/job-2/run"])
def test_what_is_below_the_pipeline_root_but_not_in_the_runs_folder_is_pointed_to(root: str, tmp_path: Path) -> None:
    """The launcher says that such a URI "does not have expected bucket prefix", and the task has failed."""
    artifact = Artifact(tmp_path / "artifact")
    place = Place.find("s3://b/v2/runs", "one", "job", "s3://b/v2/larpo/job/start/1/checked")
    kfp_artifacts.show(artifact, StepResult(f"{root}/lists", {}, {}, place.shown))
    assert artifact.uri == artifact.path
    assert Path(artifact.path).exists()


def test_what_is_in_the_runs_folder_is_shown_in_its_place(tmp_path: Path) -> None:
    artifact = Artifact(tmp_path / "artifact")
    place = Place.find("", "", "job", "s3://b/v2/larpo/job/start/1/checked")
    kfp_artifacts.show(artifact, StepResult(f"{place.root}/lists", {}, {}, place.shown))
    assert artifact.uri == "s3://b/v2/larpo/job/run/lists"
