"""What of lm-eval's tasks and settings is refused before a policy is asked, and what its index says of names."""

import json
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from larpo_lib.config import LarpoConfig
from larpo_lib.errors import ConfigError, LarpoError
from larpo_lib.evaluation.lm_eval.index import manager_of, names_of
from larpo_lib.evaluation.lm_eval.settings import LmEvalConfig
from larpo_lib.evaluation.lm_eval.step import run
from larpo_lib.evaluation.run_benchmarks import check_run_benchmarks


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"tasks": ()}, "at least 1 item"),
        ({"tasks": ("ifeval", "ifeval")}, "named twice"),
        (
            {"tasks": ("ifeval",), "sampler": {"type": "function", "target": "a.py:b"}},
            "with hf or vllm, not with function",
        ),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        LmEvalConfig.model_validate(settings)


def test_a_tag_is_looked_for_in_all_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may stand in any of them, whatever it is called."""
    from lm_eval.tasks._index import TaskIndex

    read, roots = TaskIndex._iter_yaml_files, []

    def some(root: Path) -> Iterator[Path]:
        roots.append(root.name)
        return read(root / "truthfulqa" if root.name == "tasks" else root)

    monkeypatch.setattr(TaskIndex, "_iter_yaml_files", some)
    assert sorted(manager_of(["truthfulqa"], None).task_index["truthfulqa"].tags) == [
        "truthfulqa_gen", "truthfulqa_mc1", "truthfulqa_mc2",
    ]  # fmt: skip
    assert roots == ["truthfulqa", "tasks"]
    roots.clear()
    assert "truthfulqa_mc1" in manager_of(["truthfulqa_mc1"], None).task_index
    assert roots == ["truthfulqa"]


@pytest.mark.parametrize(
    ("metric", "problem"),
    [
        ("mmlu.acc", r"promote asks for lm_eval\.mmlu\.acc, which there will not be: lm_eval\.tasks has only ifeval"),
        ("ifeval.word_perplexity", "has no value for each item"),
        ("ifeval.prompt_level_strict_acc", None),
    ],
)
def test_the_gate_refuses_what_there_cannot_be(metric: str, problem: str | None) -> None:
    asked = {"must_improve": [{"metric": f"lm_eval.{metric}"}]}
    config = LarpoConfig.model_validate(
        {
            "policy": "p",
            "prepare": {"source": "s", "heldout": 2},
            "rerank": {"reranker": {"type": "verifier"}},
            "lm_eval": {"tasks": ["ifeval"]},
            "promote": asked,
        }
    )
    with pytest.raises(ConfigError, match=problem) if problem else nullcontext():
        check_run_benchmarks(config)


def test_tasks_of_groups_are_known() -> None:
    found = names_of(["agieval_nous"])
    assert found is not None
    assert {"agieval_lsat_ar", "agieval_nous"} <= found
    assert names_of(["ifeval", "a_group_of_ones_own"]) is None


@pytest.mark.parametrize(
    ("name", "rows", "change", "problem"),
    [
        ("mine", '{"q": "x"}', {}, "mine: cannot be loaded with its first document: UndefinedError: 'a' is undefined"),
        ("mine", '{"q": "x", "a": "1"}\n{"q": "x", "a": null}', {}, "task mine, row 2: the document has null as its"),
        ("mine", "", {}, r"rows\.jsonl: the data of the task mine cannot be read: \w+\. .*file is there, whole"),
        ("mine", '{"q": "x", "a": "1"}\n{"q": "x', {}, r"rows\.jsonl: the data of the task mine cannot be read: \w+: "),
        ("mine", '{"q": "x", "a": "1"}', {"metric_list": [{"metric": "nosuch"}]}, "lm-eval has no metric nosuch"),
        (
            "mine", '{"q": "x", "a": 0}',
            {"output_type": "multiple_choice", "doc_to_choice": ["Ann", ""], "metric_list": [{"metric": "acc"}]},
            "mine: cannot be loaded with its first document, as where a choice is empty",
        ),
        ("ifeval", '{"q": "x", "a": "1"}', {}, r"rows\.yaml: the task is called ifeval as one of lm-eval's"),
    ],
)  # fmt: skip
def test_own_tasks_that_cannot_be_used_are_told_before_the_policy_is_asked(
    name: str, rows: str, change: dict[str, Any], problem: str, tiny_policy: Path, tmp_path: Path
) -> None:
    (tmp_path / "rows.jsonl").write_text(rows)
    task = {
        "task": name, "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(tmp_path / "rows.jsonl")}},
        "test_split": "test", "doc_to_text": "{{q}}", "doc_to_target": "{{a}}",
        "metric_list": [{"metric": "exact_match", "aggregation": "mean"}], **change,
    }  # fmt: skip
    (tmp_path / "rows.yaml").write_text(json.dumps(task))
    config = LmEvalConfig(
        tasks=(name,), sampler={"type": "hf", "model": {"device": "cpu"}}, gen_kwargs={"max_gen_toks": 8}
    )
    with pytest.raises(LarpoError, match=problem):
        run(config, policy=tiny_policy, own_tasks=tmp_path, evaluation=tmp_path / "out")
