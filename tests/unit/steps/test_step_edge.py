"""Checkpoints outlive the training until its policy is where it belongs."""

import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from larpo_lib.artifacts import Metrics, WorkDir, produce
from larpo_lib.config import TrainConfig
from larpo_lib.errors import StorageError
from larpo_lib.steps.edge import at_edge
from larpo_lib.storage import edge
from larpo_lib.training.checkpoints import CheckpointStore

BUCKET = "larpo-bucket"
KEPT = f"s3://{BUCKET}/kept"


@pytest.fixture(autouse=True)
def _cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LARPO_CACHE", str(tmp_path / "cache"))


@pytest.fixture(params=["directory", "s3"])
def trained(request: pytest.FixtureRequest, s3: Any, tmp_path: Path) -> str:
    return str(tmp_path / "policy") if request.param == "directory" else f"s3://{BUCKET}/policy"


def _train(
    trained: Path, goes_on_from: list[int | None], kept: str | None = KEPT, end: Exception | None = None
) -> Metrics:
    """A training that saves a checkpoint at step 4, or at 8 if it goes on from there, and may end behind it."""

    def make(work: WorkDir) -> Metrics:
        checkpoints = CheckpointStore(work, kept)
        found = checkpoints.latest()
        goes_on_from.append(found.step if found else None)
        checkpoints.save(8 if found else 4, [("weights", torch.zeros(2))], [], {})
        if end is not None:
            raise end
        (work.data / "model").write_text("trained")
        return {}

    return produce("train", TrainConfig(), {}, trained, make)


def _kept(s3: Any) -> list[str]:
    found = s3.list_objects_v2(Bucket=BUCKET, Prefix="kept/").get("Contents", [])
    return [item["Key"] for item in found]


def _attempt(trained: str, goes_on_from: list[int | None], kept: str | None = KEPT) -> None:
    with at_edge(TrainConfig(checkpoints=kept), {}, {"trained": trained}) as paths:
        _train(paths["trained"], goes_on_from)


def test_checkpoints_go_when_the_policy_is_published(s3: Any, trained: str) -> None:
    _attempt(trained, [])
    assert _kept(s3) == []


def test_an_upload_that_fails_leaves_them_to_another_machine(
    s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on_from: list[int | None] = []
    uri = f"s3://{BUCKET}/policy"

    def away(*_: Any) -> None:
        raise StorageError("the store stays away", remedy="Try again")

    with monkeypatch.context() as patch:
        patch.setattr(edge, "publish", away)
        with pytest.raises(StorageError, match="the store stays away"):
            _attempt(uri, goes_on_from)
    assert _kept(s3) != []
    monkeypatch.setenv("LARPO_CACHE", str(tmp_path / "another-machine"))
    _attempt(uri, goes_on_from)
    assert goes_on_from == [None, 4]
    assert _kept(s3) == []


def test_a_stop_before_they_go_leaves_them_to_the_next_call(s3: Any, trained: str) -> None:
    _attempt(trained, [], kept=None)  # it removes none
    assert _kept(s3) != []
    _attempt(trained, [])
    assert _kept(s3) == []


def test_a_process_that_follows_removes_none(s3: Any, trained: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    _attempt(trained, [])
    assert _kept(s3) != []


@pytest.mark.parametrize("place", [None, f"s3://{BUCKET}/elsewhere"])
def test_those_of_an_earlier_place_go_too(s3: Any, trained: str, place: str | None) -> None:
    goes_on_from: list[int | None] = []
    for kept, end in ((KEPT, ValueError("it breaks")), (place, None)):
        with (
            pytest.raises(ValueError, match="it breaks") if end else nullcontext(),
            at_edge(TrainConfig(checkpoints=kept), {}, {"trained": trained}) as paths,
        ):
            _train(paths["trained"], goes_on_from, kept, end)
        assert (_kept(s3) == []) == (end is None)
    assert goes_on_from == [None, 4]
    found = s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])
    assert all(item["Key"].startswith("policy") for item in found)


def _stopped(trained: Path, goes_on_from: list[int | None]) -> None:
    with (
        pytest.raises(ValueError, match="it breaks"),
        at_edge(TrainConfig(checkpoints=KEPT), {}, {"trained": str(trained)}) as paths,
    ):
        _train(paths["trained"], goes_on_from, end=ValueError("it breaks"))


def test_a_copy_of_a_half_done_run_goes_on_from_the_origins_checkpoints_and_leaves_them(
    s3: Any, tmp_path: Path
) -> None:
    goes_on_from: list[int | None] = []
    _stopped(tmp_path / "run" / "policy", goes_on_from)
    shutil.rmtree(next((tmp_path / "run").rglob("checkpoints")))  # those of the store are left
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    of_origin = _kept(s3)
    _attempt(str(tmp_path / "copy" / "policy"), goes_on_from)
    assert _kept(s3) == of_origin != []
    _attempt(str(tmp_path / "run" / "policy"), goes_on_from)
    assert goes_on_from == [None, 4, 4]
    assert _kept(s3) == []


def test_a_half_done_run_that_has_moved_removes_its_own(s3: Any, tmp_path: Path) -> None:
    goes_on_from: list[int | None] = []
    _stopped(tmp_path / "run" / "policy", goes_on_from)
    (tmp_path / "run").rename(tmp_path / "moved")
    _attempt(str(tmp_path / "moved" / "policy"), goes_on_from)
    assert goes_on_from == [None, 4]
    assert _kept(s3) == []
