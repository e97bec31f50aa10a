import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_world import Larpo, write_jsonl

from larpo_lib.artifacts import read_manifest
from larpo_lib.errors import ArtifactError, ConfigError, DataError
from larpo_lib.evaluation.gsm8k.settings import Gsm8kConfig
from larpo_lib.evaluation.gsm8k.step import effort, run
from larpo_lib.tables import read_table

pytestmark = pytest.mark.usefixtures("saved_figures")

SETTINGS: dict[str, Any] = {
    "answers": {"sampler": {"type": "hf", "model": {"device": "cpu"}}, "max_new_tokens": 8, "max_prompt_tokens": 40},
    "n": 2,
    "resamples": 20,
}


def problems(folder: Path, count: int = 4) -> Path:
    rows: list[dict[str, object]] = [
        {"question": f"What is {i} + 2 ?", "answer": f"{i} + 2 = <<{i}+2={i + 2}>>{i + 2}\n#### {i + 2}"}
        for i in range(count)
    ]
    return write_jsonl(folder / "problems.jsonl", rows)


def test_a_policys_responses_are_scored_and_kept(tiny_policy: Path, tmp_path: Path) -> None:
    rows = problems(tmp_path)
    rows.write_text(rows.read_text() + rows.read_text().splitlines()[0] + "\n")  # a question twice
    config = Gsm8kConfig.model_validate({**SETTINGS, "limit": 3})
    metrics = run(config, policy=tiny_policy, problems=rows, answers=None, evaluation=tmp_path / "out")
    assert metrics["problems"] == 3
    assert metrics["repeated_problems_dropped"] == 1
    assert metrics["over_limit_dropped"] == 1
    assert metrics["responses"] == 9
    solutions = [json.loads(line) for line in (tmp_path / "out" / "solutions.jsonl").read_text().splitlines()]
    assert [list(row) for row in solutions] == [["question", "ground_truth", "greedy", "sampled_0", "sampled_1"]] * 3
    # The kept file says the same without the policy.
    again = run(
        config, policy=None, problems=None, answers=tmp_path / "out" / "solutions.jsonl", evaluation=tmp_path / "b"
    )
    for name in ("accuracy", "sampled_accuracy", "majority_accuracy", "pass_at_1", "pass_at_2"):
        assert again[name] == metrics[name]
    items = {row["item_id"] for row in read_table(tmp_path / "out", "scores") if row["metric"] == "accuracy"}
    assert len(items) == 3
    assert items == {row["item_id"] for row in read_table(tmp_path / "b", "scores") if row["metric"] == "accuracy"}


def test_worked_examples_change_the_edition_and_too_long_prompts_count_as_wrong(
    tiny_policy: Path, tmp_path: Path
) -> None:
    rows = problems(tmp_path, 2)
    editions = []
    for name, changes in {"zero": {}, "few": {"examples": str(rows), "shots": 2}}.items():
        config = Gsm8kConfig.model_validate({**SETTINGS, **changes})
        metrics = run(config, policy=tiny_policy, problems=rows, answers=None, evaluation=tmp_path / name)
        editions.append(json.loads((tmp_path / name / "report.json").read_text())["version"])
    assert editions[0].startswith("0-shot")
    assert editions[1].startswith("2-shot")
    assert "examples" in read_manifest(tmp_path / "few")["inputs"]
    # Two worked examples make the prompts longer than 40 tokens: nobody is asked, and nothing is right.
    assert (metrics["prompts_too_long_counted_wrong"], metrics["responses"]) == (2, 0)
    assert (metrics["accuracy"], metrics["pass_at_2"]) == (0.0, 0.0)


def test_of_worked_examples_the_content_counts_and_not_the_place(tiny_policy: Path, tmp_path: Path, s3: Any) -> None:
    """As in a run that goes on on another machine, or in a store, where they lie elsewhere."""
    rows = problems(tmp_path, 2)
    elsewhere = tmp_path / "elsewhere.jsonl"
    elsewhere.write_bytes(rows.read_bytes())
    s3.put_object(Bucket="larpo-bucket", Key="shots.jsonl", Body=rows.read_bytes())
    given: dict[str, Any] = {"policy": tiny_policy, "problems": rows, "evaluation": tmp_path / "out"}
    places = (str(rows), str(elsewhere), "s3://larpo-bucket/shots.jsonl")
    first, *others = [
        (run(config, **given), config.identity(), (tmp_path / "out/artifact.json").stat().st_mtime_ns)
        for config in (Gsm8kConfig.model_validate({**SETTINGS, "examples": place, "shots": 2}) for place in places)
    ]
    assert others == [first, first]  # the artifact is the same one
    elsewhere.write_text(rows.read_text().replace("What is", "Tell"))
    with pytest.raises(ArtifactError, match="examples"):
        run(Gsm8kConfig.model_validate({**SETTINGS, "examples": str(elsewhere), "shots": 2}), **given)
    lacking = Gsm8kConfig.model_validate({**SETTINGS, "examples": str(tmp_path / "nowhere.jsonl")})
    with pytest.raises(DataError, match="nowhere"):
        effort(lacking, {"problems": rows}, None)


def test_of_several_models_one_has_to_be_named(tmp_path: Path) -> None:
    row: dict[str, object] = {
        "question": "q", "ground_truth": "#### 1", "a": {"solution": "1"}, "b": {"solution": "2"},
    }  # fmt: skip
    answers = write_jsonl(tmp_path / "answers.jsonl", [row])
    given: dict[str, Any] = {"policy": None, "problems": None, "answers": answers, "evaluation": tmp_path / "out"}
    with pytest.raises(ConfigError, match=r"contains solutions of a, b, but gsm8k\.answers_of names nobody\. Use"):
        run(Gsm8kConfig(), **given)
    with pytest.raises(ConfigError, match="names none of them"):
        run(Gsm8kConfig(answers_of="c"), **given)
    assert run(Gsm8kConfig(answers_of="a"), **given)["accuracy"] == 100.0


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"question": "q"}, "row 1, field 'answer': is not text"),
        ({"question": 3, "answer": "#### 1"}, "field 'question': is not text"),
        ({"question": "q", "answer": "none"}, "field 'answer': contains no number"),
    ],
)
def test_bad_problems_are_told(row: dict[str, object], problem: str, tiny_policy: Path, tmp_path: Path) -> None:
    rows = write_jsonl(tmp_path / "problems.jsonl", [row])
    with pytest.raises(DataError, match=problem):
        run(Gsm8kConfig(), policy=tiny_policy, problems=rows, answers=None, evaluation=tmp_path / "out")


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([{"question": "q", "ground_truth": "1"}], "contains no solution of a model"),
        ([{"question": "q", "ground_truth": "1", "a": {}}], "field 'a.solution': is not text"),
        ([{"question": "q", "ground_truth": "1", "a": {"solution": ""}}] * 2, "row 2: repeats an earlier question"),
        (
            [
                {"question": "q", "ground_truth": "1", "a": {"solution": ""}},
                {"question": "r", "ground_truth": "1", "b": {"solution": ""}},
            ],
            "row 2: contains solutions of b, but other rows of a",
        ),
    ],
)
def test_bad_solutions_are_told(rows: list[dict[str, object]], problem: str, tmp_path: Path) -> None:
    answers = write_jsonl(tmp_path / "answers.jsonl", rows)
    with pytest.raises(DataError, match=problem):
        run(Gsm8kConfig(), policy=None, problems=None, answers=answers, evaluation=tmp_path / "out")


def test_what_to_score_must_be_clear(tiny_policy: Path, tmp_path: Path) -> None:
    rows = problems(tmp_path)
    for policy, given, answers in ((tiny_policy, None, None), (None, rows, None), (tiny_policy, rows, rows)):
        with pytest.raises(ConfigError, match="needs a policy and problems, or answers"):
            run(Gsm8kConfig(), policy=policy, problems=given, answers=answers, evaluation=tmp_path / "out")


def test_the_published_accuracies(shared_data: Callable[[str], Path], larpo: Larpo) -> None:
    outcome = larpo("score", "gsm8k", "--solutions", shared_data("gsm8k/example_model_solutions.jsonl.gz"))
    assert json.loads(outcome.out) == {
        "6b_finetuning": 21.683,
        "6b_verification": 39.045,
        "175b_finetuning": 34.723,
        "175b_verification": 56.255,
    }


def test_the_command_tells_a_table_and_logs_one_run(here: Path, larpo: Larpo, mlflow_uri: str) -> None:
    from mlflow import MlflowClient

    problems(here)
    command = (
        "gsm8k", "--policy", "policy", "--problems", "problems.jsonl", "--evaluation", "out",
        *("-s", "gsm8k.n=2"), *("-s", "gsm8k.answers.max_new_tokens=8"), *("-s", "gsm8k.resamples=20"),
    )  # fmt: skip
    first = larpo(*command)
    assert first.code == 0, first.err
    assert "GSM8K of " in first.err
    assert larpo(*command).out == first.out
    client = MlflowClient(tracking_uri=mlflow_uri)
    (run_,) = client.search_runs(
        [client.get_experiment_by_name("larpo").experiment_id], "attributes.run_name = 'gsm8k'"
    )
    assert run_.data.metrics["gsm8k/accuracy"] == json.loads(first.out)["accuracy"]
    assert run_.data.params["n"] == "2"
    files = {file.path for file in client.list_artifacts(run_.info.run_id)}
    assert {"report.html", "scores.parquet", "report.json", "summary.txt", "figures", "config.json"} <= files
    assert client.list_artifacts(run_.info.run_id, "figures")
