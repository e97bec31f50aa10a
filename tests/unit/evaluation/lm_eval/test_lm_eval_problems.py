"""What of lm-eval's tasks, data and settings is told once a policy is there, with the remedy."""

import json
from pathlib import Path
from typing import Any

import pytest
from lm_eval_world import SAMPLER, SETTINGS
from tiny_world import write_jsonl

from larpo_lib.errors import ConfigError, DataError
from larpo_lib.evaluation.lm_eval.settings import LmEvalConfig
from larpo_lib.evaluation.lm_eval.step import run

pytestmark = pytest.mark.usefixtures("punkt")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"tasks": ("ifevall",)}, r"lm-eval has no task 'ifevall'\. Did you mean ifeval"),
        ({"tasks": ("ifeval",), "gen_kwargs": {}}, r"ifeval: its responses may have 1280 tokens, which leaves no room"),
        ({"gen_kwargs": {"max_gen_toks": 8, "nosuch": 1}}, r"ifeval: its responses cannot be generated: .*'nosuch'"),
        (
            {"gen_kwargs": {"max_gen_toks": 8, "do_sample": True, "temperature": -1}},
            r"ifeval: its responses cannot be generated: `temperature` \(=-1",
        ),
        (
            {"tasks": ("gsm8k",), "examples": 6},
            r"gsm8k: cannot be evaluated: ValueError: Sample larger than population",
        ),
    ],
)
def test_what_cannot_be_evaluated_is_told(
    changes: dict[str, Any],
    problem: str,
    data: Path,
    tiny_policy: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from lm_eval.tasks._index import TaskIndex

    some = TaskIndex._iter_yaml_files  # of 14,000 files, which take seconds to read
    monkeypatch.setattr(
        TaskIndex, "_iter_yaml_files", lambda root: some(root / "ifeval" if root.name == "tasks" else root)
    )
    config = LmEvalConfig(**{**SETTINGS, "max_length": 600, **changes})
    with pytest.raises(ConfigError, match=problem):
        run(config, policy=tiny_policy, data=data, evaluation=tmp_path / "out")


@pytest.mark.parametrize("given", [True, False])
def test_missing_data_name_the_task_and_the_remedy(given: bool, tiny_policy: Path, tmp_path: Path) -> None:
    """With a folder nothing is fetched; without one, the hub is not reached here."""
    place = {"data": tmp_path} if given else {}
    with pytest.raises(
        DataError, match=r"google/IFEval: the data set of the task ifeval .* DATA/google/IFEval and pass"
    ):
        run(
            LmEvalConfig(**{**SETTINGS, "tasks": ("ifeval",)}), policy=tiny_policy, **place, evaluation=tmp_path / "out"
        )


def test_without_nltks_model_sentences_are_not_counted(
    data: Path, tiny_policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import nltk

    monkeypatch.setattr(nltk.data, "path", [str(tmp_path)])
    with pytest.raises(ConfigError, match=r"ifeval: counts sentences .* Run python -m nltk\.downloader punkt_tab"):
        run(
            LmEvalConfig(**{**SETTINGS, "tasks": ("ifeval",)}), policy=tiny_policy, data=data, evaluation=tmp_path / "a"
        )


def test_a_task_that_runs_what_the_policy_writes_is_refused(data: Path, tiny_policy: Path, tmp_path: Path) -> None:
    rows = write_jsonl(tmp_path / "rows.jsonl", [{"q": "2 + 2"}])
    task = {
        "task": "codes", "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(rows)}},
        "test_split": "test", "doc_to_text": "{{q}}", "doc_to_target": "q", "unsafe_code": True,
        "metric_list": [{"metric": "exact_match"}],
    }  # fmt: skip
    (tmp_path / "codes.yaml").write_text(json.dumps(task))
    config = LmEvalConfig(tasks=("codes",), sampler=SAMPLER)
    with pytest.raises(ConfigError, match=r"codes: runs code that the policy writes, which larpo does not\. Leave"):
        run(config, policy=tiny_policy, own_tasks=tmp_path, evaluation=tmp_path / "out")
