"""What MixEval reads: questions as published, and answers to them."""

import json

import pytest
from mixeval_questions import (
    MULTIPLE_CHOICE,
    write_answers,
    write_questions,
)

from larpo_lib.config import LlmJudgeConfig
from larpo_lib.errors import ConfigError, DataError
from larpo_lib.evaluation.mixeval import step as mixeval
from larpo_lib.evaluation.mixeval.settings import MixEvalConfig

NO_JUDGE = MixEvalConfig(judge=LlmJudgeConfig(base_url="http://127.0.0.1:9", model="judge"))


def test_a_policy_or_answers_are_needed(tmp_path, tiny_policy):
    files = write_questions(tmp_path)
    with pytest.raises(ConfigError, match="needs either a policy or answers"):
        mixeval.run(NO_JUDGE, **files, evaluation=tmp_path / "evaluation")
    with pytest.raises(ConfigError, match="needs either a policy or answers"):
        mixeval.run(NO_JUDGE, **files, policy=tiny_policy, answers=[tmp_path], evaluation=tmp_path / "evaluation")


def test_a_file_of_another_benchmark_is_refused(tmp_path, shared_data):
    names = ("free_form", "multiple_choice")
    hard = {name: shared_data(f"mixeval/mixeval-hard.{name.replace('_', '-')}.json.gz") for name in names}
    told = r"contains mixeval-hard 2024-06-01, but the settings name mixeval 2024-06-01"
    with pytest.raises(ConfigError, match=told):
        mixeval.run(NO_JUDGE, **hard, answers=[tmp_path / "none"], evaluation=tmp_path / "evaluation")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"prompt": None}, "field 'prompt': question '0' has no text here"),
        ({"context": 3}, "field 'context': question '0' has neither text nor null here"),
        ({"benchmark_name": ""}, "field 'benchmark_name': question '0' has no text here"),
        ({"target": []}, "field 'target': question '0' has no list here"),
        ({"target": [2]}, "field 'target': question '0' does not have the number of one of its 2 options here"),
        ({"target": [0, 1]}, "field 'target': question '0' does not have the number of one of its 2 options here"),
        ({"options": ["x"]}, "field 'options': question '0' has fewer than two options here"),
        ({"options": [["x"], "y"]}, "field 'options': question '0' has no list of texts here"),
    ],
)
def test_a_question_that_is_not_as_published_is_named(tmp_path, change, problem):
    broken = {"0": {**MULTIPLE_CHOICE["1"], **change}}
    with pytest.raises(DataError, match=r"multiple-choice\.json") as raised:
        _start(tmp_path, write_questions(tmp_path, multiple_choice=broken))
    assert problem in str(raised.value)


def test_files_that_hold_no_questions_are_named(tmp_path):
    files = write_questions(tmp_path)
    swapped = {"free_form": files["multiple_choice"], "multiple_choice": files["free_form"]}
    with pytest.raises(DataError, match="question '0' has options, so it is not free-form"):
        _start(tmp_path, swapped)
    for text, problem in (
        ("[]", "is not an object that maps ids to questions"),
        ("{", "is not valid JSON"),
        ("{}", "is not an object"),
    ):
        files["free_form"].write_text(text)
        with pytest.raises(DataError, match=problem):
            _start(tmp_path, files)
    with pytest.raises(DataError, match="cannot be read"):
        _start(tmp_path, files | {"free_form": tmp_path / "absent.json"})


def test_answers_to_other_questions_are_refused(tmp_path):
    files = write_questions(tmp_path)
    rows = [
        json.loads(line) for line in write_answers(tmp_path / "answers.jsonl", ["[[1.0]]"] * 6).read_text().split("\n")
    ]
    for changed, problem in (
        (rows[:-1], r"1 questions have no answer. The first one is multiple-choice '1'"),
        ([*rows, rows[0]], r"row 7: answers question '0' again"),
        (
            [{**rows[0], "prompt": "Capital of Spain?"}, *rows[1:]],
            r"row 1: does not answer any of the free-form questions \(id '0'\)",
        ),
        ([{**rows[0], "response": None}, *rows[1:]], r"row 1, field 'response': is not text"),
    ):
        (tmp_path / "answers.jsonl").write_text(json.dumps(changed))
        with pytest.raises(DataError, match=problem):
            _start(tmp_path, files)


def _start(tmp_path, files):
    mixeval.run(NO_JUDGE, **files, answers=[tmp_path / "answers.jsonl"], evaluation=tmp_path / "evaluation")
