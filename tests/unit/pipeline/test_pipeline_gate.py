"""Before each round: whether it is run, and how far it goes."""

import json
from pathlib import Path

import pytest
from pipeline_requests import Given, changed

from larpo_lib.errors import LarpoError
from larpo_lib.pipeline.begin import begin
from larpo_lib.pipeline.gate import gate
from larpo_lib.pipeline.journal import Journal


def evaluated(root: Path, iteration: int, reward: float, **watched: float) -> None:
    artifact = root / f"iteration-{iteration}" / "evaluation"
    artifact.mkdir(parents=True)
    (artifact / "artifact.json").write_text("{}")
    (artifact / "metrics.json").write_text(json.dumps({"mean_reward": reward, **watched}))


def done(root: Path, *steps: str, job: str = "job") -> None:
    for step in steps:
        with Journal(str(root), job).step(step):
            pass


def test_it_opens_until_the_rounds_are_done_or_the_loop_has_stalled(given: Given, tmp_path: Path) -> None:
    run, root = begin(given, "/kfp/checked").run, tmp_path / "one"
    evaluated(root, 0, 0.1)
    assert gate(run, "1") == "evaluate"
    evaluated(root, 1, 0.2)
    done(root, "train-1", "evaluate-1")
    assert gate(run, "2") == "evaluate"
    evaluated(root, 2, 0.2)
    done(root, "train-2", "evaluate-2")
    assert [gate(run, i) for i in ("3", "4")] == ["skip", "skip"]
    assert gate(run, "2") == "evaluate"  # a retry of an earlier gate says what it said


def test_it_shuts_where_a_watch_falls_though_the_reward_rises(given: Given, tmp_path: Path) -> None:
    watch = {"name": "short", "reranker": {"type": "length", "longest": 5}}
    settings = {"loop": {"early_stop": {"metric": "watch_short"}}, "evaluate": {"watch": [watch]}}
    run, root = begin(changed(given, **settings), "/kfp/checked").run, tmp_path / "one"
    found = []
    for i, short in enumerate((0.2, 0.4, 0.3)):
        evaluated(root, i, 0.1 * i, watch_short=short)
        done(root, *(f"{name}-{i}" for name in ("train", "evaluate") if i))
        found.append(gate(run, str(i + 1)))
    assert found == ["evaluate", "evaluate", "skip"]


@pytest.mark.parametrize(
    ("loop", "expected"),
    [
        ({"evaluate": "last_iteration"}, ["train", "train", "evaluate", "skip"]),
        ({"promote": "every_iteration"}, ["promote", "promote", "promote", "skip"]),
        ({}, ["evaluate", "evaluate", "evaluate", "skip"]),
    ],
)
def test_it_knows_when_to_measure_and_to_promote(
    given: Given, tmp_path: Path, loop: Given, expected: list[str]
) -> None:
    run, root = begin(changed(given, loop=loop), "/kfp/checked").run, tmp_path / "one"
    found = []
    for i in (1, 2, 3, 4):
        found.append(gate(run, str(i)))
        evaluated(root, i, 0.1 * i)
        done(root, f"train-{i}", f"evaluate-{i}", f"promote-{i}")
    assert found == expected


def test_it_stays_shut_behind_a_step_that_failed_or_was_killed(
    given: Given, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The engine begins the next item of a loop whatever became of the one before."""
    run, root = begin(changed(given, loop={}), "/kfp/checked").run, tmp_path / "one"
    with pytest.raises(LarpoError), Journal(str(root), "job").step("sample-1-share-1-of-2"):
        raise LarpoError("the sampler is away")
    assert gate(run, "2") == "skip"
    assert "iteration 2 is skipped: sample-1-share-1-of-2: the sampler is away." in capsys.readouterr().err
    done(root, "sample-1-share-1-of-2", "train-1", "evaluate-1")  # a further try went well
    assert gate(run, "2") == "evaluate"
    killed = Journal(str(root), "job").step("train-2")
    killed.__enter__()
    assert gate(run, "3") == "skip"
    assert "train-2 was stopped, or ended without a message" in capsys.readouterr().err


@pytest.mark.parametrize("missing", ["train-1", "evaluate-1", "promote-1"])
def test_it_stays_shut_where_a_step_never_began(
    given: Given, tmp_path: Path, missing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """As where an image cannot be pulled: the journal knows nothing of the step."""
    run, root = begin(changed(given, loop={"promote": "every_iteration"}), "/kfp/checked").run, tmp_path / "one"
    done(root, *{"train-1", "evaluate-1", "promote-1"} - {missing})
    assert gate(run, "2") == "skip"
    assert f"the previous iteration did not finish: no {missing}" in capsys.readouterr().err


def test_what_an_earlier_kubeflow_run_of_the_root_did_is_not_its_own(given: Given, tmp_path: Path) -> None:
    begin(changed(given, loop={}), "/kfp/checked")
    root = tmp_path / "one"
    done(root, "train-1", "evaluate-1")
    with pytest.raises(LarpoError), Journal(str(root), "job").step("train-2"):
        raise LarpoError("no")
    later = begin({**changed(given, loop={}), "job": "later"}, "/kfp/checked").run
    assert gate(later, "1") == "evaluate"
    assert gate(later, "2") == "skip"
    done(root, "train-1", "evaluate-1", job="later")
    assert gate(later, "2") == "evaluate"
