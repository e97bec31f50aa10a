"""What KFP shows of artifacts that it does not store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from larpo_lib.pipeline import shown
from larpo_lib.pipeline.execute import Done


class Artifact:
    """As KFP hands one to a component."""

    def __init__(self, path: Path) -> None:
        self.uri, self.path = str(path), str(path)
        self.metadata: dict[str, Any] = {}


def test_what_kfp_cannot_store_is_pointed_to_by_a_small_file(tmp_path: Path) -> None:
    metadata = {"uri": "s3://b/runs/one/lists", "rows": 3}
    inside, outside = Artifact(tmp_path / "inside"), Artifact(tmp_path / "outside")
    shown.dataset(inside, Done("s3://b/runs/one/lists", {}, metadata, "s3://b"))
    shown.dataset(outside, Done("s3://b/runs/one/lists", {}, metadata, "s3://other/v2"))
    assert inside.uri == "s3://b/runs/one/lists"
    assert not Path(inside.path).exists()
    assert outside.uri == outside.path
    assert json.loads(Path(outside.path).read_text()) == metadata
    assert inside.metadata == outside.metadata == metadata
