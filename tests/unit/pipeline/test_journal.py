"""Notes of what became of steps."""

from pathlib import Path

import pytest

from larpo_lib.errors import LarpoError
from larpo_lib.pipeline.journal import Journal, UnfinishedStep


@pytest.mark.parametrize("remote", [False, True])
@pytest.mark.usefixtures("s3")
def test_it_keeps_what_failed_and_what_died(tmp_path: Path, remote: bool) -> None:
    journal = Journal("s3://larpo-bucket/runs/one" if remote else str(tmp_path), "job")
    assert journal.unfinished() == []
    with journal.step("sample-1"):
        assert [trouble.step for trouble in journal.unfinished()] == ["sample-1"]  # it is at work
    with pytest.raises(LarpoError), journal.step("train-1"):
        raise LarpoError("no list is left", remedy="Sample more")
    dying = journal.step("evaluate-1")
    dying.__enter__()
    assert journal.done() == {"sample-1"}
    assert journal.unfinished() == [
        UnfinishedStep("evaluate-1", ""),
        UnfinishedStep("train-1", "no list is left. Sample more."),
    ]
    with journal.step("train-1"):
        pass
    assert [trouble.step for trouble in journal.unfinished()] == ["evaluate-1"]
    assert Journal(journal.root, "another").unfinished() == []


def test_an_error_is_told_whole_and_without_credentials(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path), "job")
    with pytest.raises(RuntimeError), journal.step("train-1"):
        raise RuntimeError("CUDA out of memory\nat postgresql://me:hunter2@host/x")
    (trouble,) = journal.unfinished()
    assert trouble.cause == "RuntimeError: CUDA out of memory at postgresql://***@host/x"
    assert str(trouble).startswith("train-1: RuntimeError")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("summary", "larpo: step summary"),
        ("train-12", "larpo: step train, iteration 12"),
        ("merge-ranked-2", "larpo: step merge-ranked, iteration 2"),
        ("sample-0-share-3-of-10", "larpo: step sample, iteration 0, shard 3 of 10"),
    ],
)
def test_a_pods_log_names_its_step(tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, told: str) -> None:
    with Journal(str(tmp_path), "job").step(name):
        assert caplog.messages == [told]
