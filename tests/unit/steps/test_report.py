import json
import re
from pathlib import Path

import pytest
from reporting.parsed_page import Page
from reporting.synthetic_run import SyntheticRun, make_run

from larpo_lib import artifacts
from larpo_lib.artifacts import read_metrics
from larpo_lib.config import PrepareConfig, PromoteConfig, ReportConfig, TrainConfig
from larpo_lib.errors import ArtifactError
from larpo_lib.files import write_json
from larpo_lib.reporting.table import summary_table
from larpo_lib.steps import prepare, report
from larpo_lib.tables import read_table, write_table

pytestmark = pytest.mark.usefixtures("saved_figures")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> SyntheticRun:
    return make_run(tmp_path_factory.mktemp("run"), iterations=2, prompts=20, n=4, steps=6)


@pytest.fixture(scope="module")
def made(whole: SyntheticRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("made") / "report"
    report.run(ReportConfig(examples=3), report=output, **whole.arguments)
    return output


def files(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def test_artifact_holds_page_figures_and_summary(whole, made):
    found = files(made)
    assert {name.removeprefix("figures/") for name in found if name.startswith("figures/")} == {
        "reward.png", "accuracy.png", "pass-at-n.png", "rewards.png", "reward-length.png", "length.png",
        "within-prompts.png", "equal-length.png", "loss.png", "margin.png", "ranking-accuracy.png", "kl.png",
        "chosen-logp-drift.png", "grad-norm.png",
    }  # fmt: skip
    assert found["report.html"].startswith(b"<!doctype html>")
    evaluations = [read_metrics(path) for path in whole.arguments["evaluations"]]
    assert found["summary.txt"].decode() == summary_table(dict(enumerate(evaluations))) + "\n"
    artifacts.verify(made)


def test_metrics_count_examples_and_outcomes(whole, made):
    def greedy(rows):
        return {row["prompt_id"]: row["correct"] for row in rows if row["temperature"] == 0.0}

    before, after = greedy(whole.evaluated[0]), greedy(whole.evaluated[-1])
    assert read_metrics(made) == {
        "examples": 3,
        "better": sum(after[prompt] and not before[prompt] for prompt in before),
        "worse": sum(before[prompt] and not after[prompt] for prompt in before),
        "same": sum(before[prompt] == after[prompt] for prompt in before),
        "undecided": 0,
        "heldout_trained_on": 0,
    }


def test_held_out_prompts_among_those_of_the_training_are_counted_and_told(whole, tmp_path):
    """Seven of twenty, in demonstrations; what was prepared beside them has none."""
    known = read_table(whole.arguments["prompts"], "prompts")[:7]

    def make(work):
        rows = [
            {"prompt_id": row["prompt_id"], "messages": row["messages"], "response": "42", "finish_reason": "stop",
             "source": "rows"} for row in known
        ]  # fmt: skip
        write_table(work.data / "demonstrations.parquet", "demonstrations", rows)
        return {}

    artifacts.produce("prepare.demonstrations", PrepareConfig(source="rows"), {}, tmp_path / "shown", make)
    preparations = [*whole.arguments["preparations"], tmp_path / "shown"]
    arguments = {**whole.arguments, "preparations": preparations}
    metrics = report.run(ReportConfig(), report=tmp_path / "report", **arguments)
    assert metrics["heldout_trained_on"] == 7
    told = "7 of the held-out prompts are also among the prompts or demonstrations of this run"
    assert told in (tmp_path / "report" / "report.html").read_text("utf-8")


def test_page_agrees_with_what_the_evaluation_reported(whole, made):
    page = (made / "report.html").read_text("utf-8")
    for path in whole.arguments["evaluations"]:
        metrics = read_metrics(path)
        for name in ("mean_reward", "accuracy"):
            low, high = metrics[f"{name}_low"], metrics[f"{name}_high"]
            assert f'<td>{metrics[name]:.3f}<span class="ci">{low:.3f} to {high:.3f}</span></td>' in page


def test_page_lists_the_drops_of_every_step_and_no_path(made):
    page = (made / "report.html").read_text("utf-8")
    for step in ("prepare.prompts", "sample", "rerank", "build_lists", "train", "evaluate"):
        assert f'<th scope="row">{step}</th>' in page
    assert "<td>1,231</td><td>2,462</td>" in page
    assert "somebody" not in page
    assert str(made.parent) not in page


def test_held_out_prompts_of_their_own_source_hide_no_drop_and_no_setting_of_the_training(whole, tmp_path):
    """50 rows of 10 prompts lose 40, to train on; 21 rows of the 20 evaluated prompts lose 1."""
    evaluated = [row["messages"][0]["content"] for row in read_table(whole.arguments["prompts"], "prompts")]
    asked = {"train": [f"question {i % 10}" for i in range(50)], "heldout": [*evaluated, evaluated[0]]}
    for name, prompts in asked.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps({"prompt": text}) + "\n" for text in prompts))
        prepare.run(PrepareConfig(source=str(tmp_path / f"{name}.jsonl")), prompts=tmp_path / name)
    arguments = {**whole.arguments, "preparations": [tmp_path / "train"], "prompts": tmp_path / "heldout"}
    report.run(ReportConfig(), report=tmp_path / "report", **arguments)
    told = Page((tmp_path / "report" / "report.html").read_text("utf-8")).words()
    assert re.findall(r"prepare\.(\w+) duplicates dropped (\d+)", told) == [("prompts", "40"), ("heldout", "1")]
    settings = told.partition("As recorded by each step")[2]
    sources = re.findall(r"prepare\.(\w+) .*?(\w+)\.jsonl", settings)
    assert sources == [("prompts", "train"), ("heldout", "heldout")]


def test_same_run_elsewhere_gives_the_same_bytes(made, tmp_path):
    again = make_run(tmp_path / "elsewhere", iterations=2, prompts=20, n=4, steps=6)
    report.run(ReportConfig(examples=3), report=tmp_path / "report", **again.arguments)
    assert files(made) == files(tmp_path / "report")


def test_one_iteration_without_judge_gate_or_preparations(tmp_path):
    run = make_run(tmp_path / "run", iterations=1, judged=False, promoted=None, prompts=6, n=3, steps=1)
    arguments = {**run.arguments, "preparations": (), "candidates": ()}
    report.run(ReportConfig(examples=0), report=tmp_path / "report", **arguments)
    made = files(tmp_path / "report")
    assert "figures/best-of-n.png" in made
    assert "figures/accuracy.png" not in made
    assert "accuracy" not in made["summary.txt"].decode()
    assert "No promotion gate" in made["report.html"].decode()


def test_a_reference_that_the_trainings_were_given_is_told_to_stay_the_same(whole, made, tmp_path):
    *first, last = whole.arguments["policies"]

    def make(work):
        (work.data / "history.jsonl").write_bytes((last / "history.jsonl").read_bytes())
        return read_metrics(last)

    artifacts.produce("train", TrainConfig(), {"policy": first[-1], "reference": first[0]}, tmp_path / "fixed", make)
    arguments = {**whole.arguments, "policies": [*first, tmp_path / "fixed"]}
    report.run(ReportConfig(), report=tmp_path / "report", **arguments)
    assert "the reference stays the same" in (tmp_path / "report" / "report.html").read_text("utf-8")
    assert "which becomes its reference" in (made / "report.html").read_text("utf-8")


def test_gate_names_the_policy_it_was_about(whole, tmp_path):
    def make(work):
        write_json(work.data / "promotion.json", decision)
        return {}

    decision = json.loads((whole.arguments["promotion"] / "promotion.json").read_text())
    first = whole.arguments["evaluations"][1]
    artifacts.produce("promote", PromoteConfig(), {"evaluation": first}, tmp_path / "early", make)
    arguments = {**whole.arguments, "promotion": tmp_path / "early"}
    report.run(ReportConfig(), report=tmp_path / "report", **arguments)
    assert "Promoted: iteration 1 is larpo-policy version 4" in (tmp_path / "report" / "report.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lists": []}, "0 lists do not match 3 evaluations"),
        ({"evaluations": []}, "do not match 0 evaluations"),
        ({"candidates": ["one"]}, "1 candidates do not match 3 evaluations"),
    ],
)
def test_numbers_of_artifacts_must_fit(whole, tmp_path, change, message):
    with pytest.raises(ArtifactError, match=message):
        report.run(ReportConfig(), report=tmp_path / "report", **whole.arguments | change)


def test_other_prompts_are_refused(whole, tmp_path):
    training = whole.arguments["preparations"][0]
    with pytest.raises(ArtifactError, match="does not contain the evaluated prompt"):
        report.run(ReportConfig(), report=tmp_path / "report", **whole.arguments | {"prompts": training})
    assert not (tmp_path / "report").exists()


def test_promotion_of_another_run_is_refused(whole, tmp_path):
    other = make_run(tmp_path / "run", iterations=1, prompts=6, n=3, steps=1)
    arguments = whole.arguments | {"promotion": other.arguments["promotion"]}
    with pytest.raises(ArtifactError, match="does not belong to any of these evaluations"):
        report.run(ReportConfig(), report=tmp_path / "report", **arguments)
