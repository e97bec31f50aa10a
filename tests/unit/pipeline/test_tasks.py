"""A component's call of its function, and what it shows of the result, in KFP's own artifacts."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from kfp import dsl
from pipeline_requests import Given

from larpo_lib.pipeline import rounds
from larpo_lib.pipeline.execute import StepResult
from larpo_lib.pipeline.tasks import run_task


def test_results_are_shown_in_turn_each_as_its_artifacts_can(monkeypatch: pytest.MonkeyPatch) -> None:
    merged = StepResult("s3://b/kfp/job/ranked", {"ranked": 4, "undefined": None}, {"rows": 4}, "s3://b/kfp/job")
    built = StepResult("s3://b/kfp/job/lists", {"lists": 2}, {"rows": 2}, "s3://b/kfp/job")
    monkeypatch.setattr(rounds, "build_lists", lambda run, iteration: (merged, built) if (run, iteration) else None)
    ranked, rewards, lists, metrics = dsl.Dataset(), dsl.Metrics(), dsl.Dataset(), dsl.Metrics()
    shown = [ranked, rewards, lists, metrics]
    assert run_task("rounds:build_lists", shown, run="r", iteration="1") is None
    assert (ranked.uri, lists.uri) == (merged.uri, built.uri)
    assert (rewards.metadata, metrics.metadata) == ({"ranked": 4.0}, {"lists": 2.0})


def test_what_comes_next_is_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = StepResult("s3://b/x", {}, {}, "s3://b", next="sft")
    monkeypatch.setattr(rounds, "prepare", lambda **_: prepared)
    assert run_task("rounds:prepare", [dsl.Dataset()], run="r") == "sft"
    monkeypatch.setattr(rounds, "prepare", lambda run: run)
    assert run_task("rounds:prepare", [], run="skip") == "skip"


def test_the_first_task_shows_the_context_and_returns_what_the_others_are_told(given: Given, tmp_path: Path) -> None:
    checked = SimpleNamespace(path=str(tmp_path / "checked.json"), metadata={})
    run, iterations, shards, *_ = run_task("begin:begin", [checked], **given, example="/kfp/checked")
    assert (run, shards) == (f"{tmp_path}/one/contexts/job", ["0/2", "1/2"])
    assert iterations == ["1", "2", "3"]
    assert '"name": "one"' in Path(checked.path).read_text("utf-8")
    assert checked.metadata["root"] == str(tmp_path / "one")
