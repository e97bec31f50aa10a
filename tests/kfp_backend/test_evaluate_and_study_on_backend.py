"""The pipelines `evaluate` and `study` on the emulated backend, with quick steps."""

import json
from collections import Counter

import pytest
from backend_outcome import V2_16, V2_17
from larpo_runs import Pipeline


@pytest.fixture
def evaluation(pipeline: Pipeline) -> Pipeline:
    """One policy, to be measured beside another."""
    pipeline.name = "evaluate"
    (pipeline.folder / "before").mkdir()
    (pipeline.folder / "before" / "config.json").write_text("{}")
    pipeline.set({}, baseline=str(pipeline.folder / "before"))
    return pipeline


@pytest.mark.parametrize("compared", [True, False])
@pytest.mark.parametrize("seed", [None, 1, 2])
def test_a_policy_is_measured_beside_another_where_there_is_one(
    compared: bool, seed: int | None, evaluation: Pipeline
) -> None:
    if not compared:
        evaluation.given["baseline"] = ""
    outcome, text = evaluation.run(evaluation.backend(V2_17 if seed else V2_16, seed))
    assert (outcome.phase, outcome.messages) == ("Succeeded", {})
    assert text.startswith("# Run one: SUCCEEDED")
    assert Counter(outcome.tasks()) == Counter(
        {"start-evaluation": 1, "prepare": 1, "evaluate": 1, "promote": 1, "compare": 1, "final-report": 1}
    ) + Counter({"evaluate-2": int(compared)})


@pytest.mark.parametrize("step", ["start", "evaluate-0", "evaluate-1", "promote", "summary"])
def test_what_fails_in_an_evaluation_is_named(step: str, evaluation: Pipeline) -> None:
    evaluation.quick.broken = step
    outcome, text = evaluation.run(evaluation.backend())
    assert outcome.phase == "Failed"
    assert text.startswith("# Run one: FAILED")
    assert f"- **{step}**: injected" in text


GRID = [{"lists": {"memory": "all"}}, {"loop": {"iterations": 1}}, {"train": {"epochs": 2}}]


@pytest.fixture
def study(pipeline: Pipeline) -> Pipeline:
    """Three runs, of two rounds and of one."""
    pipeline.name = "study"
    pipeline.set({"demonstrations": {"source": "demonstrations"}}, rounds=2, shards=2)
    pipeline.given["grid"] = [json.dumps(change) for change in GRID]
    return pipeline


@pytest.mark.parametrize("seed", [None, 1, 2, 3])
def test_runs_of_a_study_go_side_by_side_each_round_after_round(seed: int | None, study: Pipeline) -> None:
    outcome, text = study.run(study.backend(V2_17 if seed else V2_16, seed))
    assert (outcome.phase, outcome.messages) == ("Succeeded", {})
    assert text.startswith("# Run one: SUCCEEDED")
    tasks = Counter(outcome.tasks())
    assert (tasks["sft"], tasks["gate"], tasks["train"], tasks["sample"]) == (1, 6, 5, 10)
    summary = json.loads((study.root / "summary.json").read_text("utf-8"))
    assert [*summary["runs"]] == ["1", "2", "3"]


@pytest.mark.parametrize("how", ["error", "killed"])
def test_a_run_of_a_study_that_fails_stops_itself_alone_and_is_named(how: str, study: Pipeline) -> None:
    study.quick.struck, faults = "train-1", {"*.1/rounds/*.0/*train": ["killed"]}
    if how == "error":
        (study.root / "members" / "2" / "iteration-1" / "policy").mkdir(parents=True)  # what is there is no artifact
        faults = {}
    backend = study.backend(seed=2)
    outcome, text = study.run(backend, faults)
    assert outcome.phase == "Failed"
    assert text.startswith("# Run one: FAILED")
    assert "- **members/2/train-1**" in text
    trained = Counter(path for path in study.quick.made if path.endswith("/policy"))
    assert trained == Counter(f"{study.root}/members/{i}/iteration-{j}/policy" for i in (1, 3) for j in (1, 2))
    if how == "killed":
        again, text = study.run(backend)
        assert again.phase == "Succeeded"
        assert text.startswith("# Run one: SUCCEEDED")
        assert len(study.quick.made) == len(set(study.quick.made))
