"""Tasks of lm-eval by larpo's command, beside lm-eval called directly on the same policy and on the same responses."""

import json
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from lm_eval_world import SAMPLER, SETTINGS, TASKS
from small_punkt import write_punkt
from tiny_world import files, write_jsonl

from larpo_lib.artifacts import read_manifest
from larpo_lib.errors import DataError
from larpo_lib.evaluation.lm_eval.settings import LmEvalConfig
from larpo_lib.evaluation.lm_eval.step import run
from larpo_lib.evaluation.run_benchmarks import require_values
from larpo_lib.files import read_json_lines
from larpo_lib.rewards.rules.ifeval import followed, read_instructions
from larpo_lib.steps.promote import read_judgement
from larpo_lib.tables import read_table

pytestmark = pytest.mark.usefixtures("punkt")


@pytest.fixture(scope="module")
def evaluated(data: Path, tiny_policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All tasks, by the step; not to be written to."""
    import nltk

    root = tmp_path_factory.mktemp("evaluated")
    before, nltk.data.path[:] = [*nltk.data.path], [str(write_punkt(root / "nltk"))]
    run(LmEvalConfig(**SETTINGS), policy=tiny_policy, data=data, evaluation=root / "whole")
    nltk.data.path[:] = before
    return root / "whole"


def samples(evaluation: Path, task: str) -> list[dict[str, Any]]:
    return read_json_lines(evaluation / "samples" / f"{task}.jsonl")


def items(evaluation: Path, metric: str) -> dict[str, float]:
    return {row["item_id"]: row["value"] for row in read_table(evaluation, "scores") if row["metric"] == metric}


@pytest.fixture
def directly(data: Path, tiny_policy: Path, tmp_path: Path) -> Mapping[str, Any]:
    """What lm-eval says when it is called by itself, with definitions that name the files as their data."""
    import lm_eval
    from lm_eval.tasks import TaskManager

    own = tmp_path / "definitions"
    own.mkdir()
    for task, folder in zip(
        TASKS, ("google/IFEval", "openai/gsm8k/main", *["truthfulqa/truthful_qa/multiple_choice"] * 2), strict=True
    ):
        theirs = next(Path(lm_eval.__file__).parent.glob(f"tasks/{task.partition('_')[0]}/{task}.yaml"))
        of_splits = {path.stem: str(path) for path in (data / folder).iterdir()}
        told = {"include": str(theirs), "task": task, "dataset_path": "json", "dataset_name": None}
        (own / f"{task}.yaml").write_text(json.dumps({**told, "dataset_kwargs": {"data_files": of_splits}}))
    found: Mapping[str, Any] = lm_eval.simple_evaluate(
        "hf",
        {"pretrained": str(tiny_policy), "dtype": "float32"},
        [*TASKS],
        num_fewshot=2,
        batch_size=3,
        device="cpu",
        bootstrap_iters=0,
        apply_chat_template=True,
        gen_kwargs={"max_gen_toks": 12},
        task_manager=TaskManager(include_path=str(own), include_defaults=False),
    )
    return found


def test_numbers_and_samples_are_those_of_lm_eval(evaluated: Path, directly: Mapping[str, Any]) -> None:
    metrics = json.loads((evaluated / "metrics.json").read_text())
    seen = set()
    for task in TASKS:
        for key, number in directly["results"][task].items():
            metric, comma, read_by = key.partition(",")
            if comma and not metric.endswith("_stderr"):
                name = f"{task}.{metric}" if read_by == "none" else f"{task}.{metric}.{read_by}"
                assert metrics[name] == pytest.approx(number, abs=1e-6), name
                assert fmean(items(evaluated, name).values()) == pytest.approx(number, abs=1e-6)
                seen.add(name)
        for ours, theirs in zip(samples(evaluated, task), directly["samples"][task], strict=True):
            for same in ("doc_id", "doc_hash", "prompt_hash", "target_hash", "filter"):
                assert ours[same] == theirs[same], (task, same)
            assert json.dumps(ours["arguments"]) == json.dumps(theirs["arguments"])
            if task in ("ifeval", "gsm8k"):
                assert ours["filtered_resps"] == theirs["filtered_resps"]
    assert seen == {
        *(f"ifeval.{level}_level_{way}_acc" for level in ("prompt", "inst") for way in ("strict", "loose")),
        "gsm8k.exact_match.strict-match",
        "gsm8k.exact_match.flexible-extract",
        "truthfulqa_mc1.acc",
        "truthfulqa_mc2.acc",
    }


def test_verdicts_of_ifeval_are_those_on_the_stored_responses_by_lm_eval_and_by_larpos_rules(evaluated: Path) -> None:
    from lm_eval.tasks.ifeval.utils import process_results

    told = set()
    by_item = items(evaluated, "ifeval.inst_level_strict_acc")
    for sample in samples(evaluated, "ifeval"):
        doc, response = sample["doc"], sample["filtered_resps"][0]
        theirs = process_results(doc, [response])
        assert {name: sample[name] for name in theirs} == theirs
        rules = read_instructions(doc["instruction_id_list"], doc["kwargs"])
        assert followed(rules, response, loose=False) == theirs["inst_level_strict_acc"]
        assert followed(rules, response, loose=True) == theirs["inst_level_loose_acc"]
        item = f"ifeval.{sample['doc_id']:06d}-{sample['doc_hash'][:12]}"
        assert [by_item[f"{item}.{i}"] for i in range(len(rules))] == theirs["inst_level_strict_acc"]
        told.update(theirs["inst_level_strict_acc"])
    assert told == {True, False}


def test_the_report_names_the_main_number_of_each_task(evaluated: Path) -> None:
    told = json.loads((evaluated / "report.json").read_text())
    main = ["ifeval.prompt_level_strict_acc", "gsm8k.exact_match.strict-match", "truthfulqa_mc1.acc"]
    assert told["headline"] == [score["name"] for score in told["scores"]][:4] == [*main, "truthfulqa_mc2.acc"]
    rows = [row[:5] for row in told["tables"][0]["rows"]]
    assert rows[0] == ["ifeval", "4.0", 0, 4, main[0]]  # whose definition says that it has no examples
    assert rows[1] == ["gsm8k", "3.0", 2, 4, main[1]]
    assert "ifeval 4.0 with 0 examples, gsm8k 3.0 with 2 examples" in told["version"]
    assert read_judgement(evaluated).values.keys() >= {*main}
    assert {*read_manifest(evaluated)["arguments"]["tasks"]["gsm8k"]} == {"version", "documents", "examples"}
    counts = {"documents": 14, "over_limit_dropped": 0, "requests": 4 + 4 + 9 + 9, "prompts_cut": 0}
    assert counts.items() <= told["counts"].items()


def test_a_killed_run_goes_on_behind_what_is_kept(
    evaluated: Path, data: Path, tiny_policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lm_eval.models.huggingface import HFLM

    whole, asked = HFLM.loglikelihood, []

    def stopped(self: Any, requests: list[Any], **more: Any) -> Any:
        asked.extend(requests)
        if len(asked) == 18:  # the last of mc2's; eight requests are kept at a time
            raise KeyboardInterrupt
        return whole(self, requests, **more)

    again: dict[str, Any] = {"policy": tiny_policy, "data": data, "evaluation": tmp_path / "again"}
    with monkeypatch.context() as patch:
        patch.setattr(HFLM, "loglikelihood", stopped)
        with pytest.raises(KeyboardInterrupt):
            run(LmEvalConfig(**SETTINGS), **again)
    assert not (tmp_path / "again").exists()
    asked.clear()
    monkeypatch.setattr(HFLM, "loglikelihood", lambda *args, **more: asked.extend(args[1]) or whole(*args, **more))
    monkeypatch.setattr(HFLM, "generate_until", None)  # ifeval and gsm8k are done
    run(LmEvalConfig(**SETTINGS), **again)
    assert len(asked) == 1
    assert files(tmp_path / "again") == files(evaluated)


def test_groups_and_numbers_without_items(
    data: Path, tiny_policy: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A task of one's own has an accuracy, an F1 and a Brier score over all documents, and a share of mistakes.

    Its documents hold what ends lines in Unicode, but not in JSON lines.
    """
    ends = "\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e"
    (tmp_path / "own").mkdir()
    for name, rows in {"one": 2, "two": 3}.items():
        found = [{"q": f"How many pens{ends} {i}", "gold": i % 2} for i in range(rows)]
        task: dict[str, Any] = {
            "task": f"choice_{name}", "dataset_path": "json", "output_type": "multiple_choice", "test_split": "test",
            "dataset_kwargs": {"data_files": {"test": str(write_jsonl(tmp_path / f"{name}.jsonl", found))}},
            "doc_to_text": "{{q}} ?", "doc_to_choice": ["Ann", "Ben"], "doc_to_target": "gold",
            "metric_list": [
                {"metric": "acc"}, {"metric": "f1"}, {"metric": "brier_score"},
                {"metric": "acc_norm", "aggregation": "mean", "higher_is_better": False},
            ],
        }  # fmt: skip
        (tmp_path / "own" / f"{name}.yaml").write_text(json.dumps(task))
    group = {"group": "choices", "task": ["choice_one", "choice_two"], "aggregate_metric_list": [{"metric": "acc"}]}
    (tmp_path / "own" / "choices.yaml").write_text(json.dumps(group))
    config = LmEvalConfig(tasks=("choices",), sampler=SAMPLER, limit=2, resamples=20)
    given: dict[str, Any] = {"policy": tiny_policy, "data": data, "own_tasks": tmp_path / "own"}
    metrics = run(config, **given, evaluation=tmp_path / "out")
    assert capfd.readouterr() == ("", "")
    told = json.loads((tmp_path / "out" / "report.json").read_text())
    values = items(tmp_path / "out", "choices.acc")
    assert [*values.values()] == [
        *items(tmp_path / "out", "choice_one.acc").values(),
        *items(tmp_path / "out", "choice_two.acc").values(),
    ]
    assert metrics["choices.acc"] == fmean(values.values())
    assert (metrics["documents"], metrics["over_limit_dropped"], len(values)) == (4, 1, 4)
    assert told["headline"] == ["choices.acc", "choice_one.acc", "choice_two.acc"]
    assert all(f"pens{ends} " in sample["arguments"][0][0] for sample in samples(tmp_path / "out", "choice_one"))
    assert "choice_one.f1, choice_one.brier_score, choice_two.f1, choice_two.brier_score" in told["caveats"][0]
    falling = ["choice_one.acc_norm", "choice_two.acc_norm"]
    assert told["falling"] == falling
    assert {row["metric"] for row in read_table(tmp_path / "out", "scores")} == {*told["headline"], *falling}
    judgement = read_judgement(tmp_path / "out")
    assert [judgement.lower_is_better(f"choice_one.{name}") for name in ("acc", "acc_norm")] == [False, True]
    with pytest.raises(DataError, match=r"no choice_one\.f1 for each item, .*, because it is computed over all items"):
        require_values(tmp_path / "out", ["choice_one.f1"])


def test_sampled_responses_do_not_depend_on_where_a_run_was_stopped(
    data: Path, tiny_policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lm_eval.models.huggingface import HFLM

    drawn = {"max_gen_toks": 6, "do_sample": True, "temperature": 1.0}
    settings = {**SETTINGS, "tasks": ("gsm8k",), "examples": 0, "gen_kwargs": drawn, "seed": 5}
    monkeypatch.setattr("larpo_lib.evaluation.lm_eval.policy._BATCHES", 2)
    config, whole = LmEvalConfig(**settings), HFLM.generate_until
    given: dict[str, Any] = {"policy": tiny_policy, "data": data}
    run(config, **given, evaluation=tmp_path / "a")
    calls = []

    def stopped(*args: Any, **more: Any) -> Any:
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return whole(*args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(HFLM, "generate_until", stopped)
        with pytest.raises(KeyboardInterrupt):
            run(config, **given, evaluation=tmp_path / "b")
    run(config, **given, evaluation=tmp_path / "b")
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert len({row["resps"][0][0] for row in samples(tmp_path / "a", "gsm8k")}) > 1
