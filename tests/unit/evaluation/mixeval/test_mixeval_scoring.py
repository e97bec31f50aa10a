import gzip
import json
import random
import statistics

import numpy as np
import pytest

from larpo_lib.errors import DataError
from larpo_lib.evaluation.mixeval.scoring import question_values, read_judged, rescore, standard_error

PUBLISHED = {
    "mixeval.deepseek-llm-67b-chat": (0.7915, 0.826, 0.757, 2000, 11),
    "mixeval-hard.dbrx-instruct": (0.4845, 0.559, 0.41, 500, 10),
    "mixeval-hard.mixtral-8x22b": (0.512, 0.662, 0.362, 500, 11),
}
FF = {"kind": "ff", "id": "0", "benchmark": "DROP", "judge": "[[0.5]]", "score": 0.5}
MP = {"kind": "mp", "id": "0", "benchmark": "MMLU", "judge": "[[B]]", "n": 4, "target": 1, "option": "B"}


def _file(tmp_path, *rows):
    path = tmp_path / "judged.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [path]


@pytest.mark.parametrize(("name", "expected"), PUBLISHED.items(), ids=PUBLISHED)
def test_published_judgements_give_the_published_scores(name, expected, shared_data):
    found = rescore(judged=[shared_data(f"mixeval/judged.{name}.jsonl.gz")])
    overall, free_form, multiple_choice, items, unparsed = expected
    assert (found["overall"], found["free_form"], found["multiple_choice"]) == (overall, free_form, multiple_choice)
    assert found["free_form_items"] == found["multiple_choice_items"] == items
    assert (found["free_form_unparsed"], found["multiple_choice_unparsed"]) == (0, unparsed)
    assert (found["left_out"], found["parsed_otherwise"]) == (0, 0)
    assert found["benchmarks"]["free_form"].keys() == {"TriviaQA", "DROP", "GSM8k", "BBH", "MATH", "AGIEval"}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_same_scores_by_another_way(name, shared_data):
    """In numpy, from the recorded parses alone, with rows in another order."""
    with gzip.open(shared_data(f"mixeval/judged.{name}.jsonl.gz"), "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    found = rescore(judged=[shared_data(f"mixeval/judged.{name}.jsonl.gz")])
    random.Random(0).shuffle(rows)
    for kind, part, value in (
        ("ff", "free_form", lambda row: row["score"]),
        ("mp", "multiple_choice", lambda row: row["option"] == "ABCDEFGHIJ"[row["target"]]),
    ):
        for benchmark, published in found["benchmarks"][part].items():
            values = [value(row) for row in rows if row["kind"] == kind and row["benchmark"] == benchmark]
            assert published == pytest.approx(np.mean(values), abs=5.01e-4)


def test_kinds_of_different_size_are_weighted_after_rounding(tmp_path):
    thirds = [{**FF, "id": str(i), "judge": f"[[{value}]]", "score": value} for i, value in enumerate([1.0, 0.0, 0.0])]
    found = rescore(judged=_file(tmp_path, *thirds, MP))
    assert found["free_form"] == 0.333
    assert found["overall"] == (3 * 0.333 + 1 * 1.0) / 4


def test_the_text_decides_and_what_it_does_not_say_the_record_does(tmp_path):
    rows = [
        {**FF, "id": "says", "judge": "[[0.8]]", "score": 0.2},
        {**FF, "id": "silent", "judge": "no idea", "score": 0.4},
        {**FF, "id": "nothing", "judge": "no idea", "score": None},
        {**FF, "id": "no text", "judge": None, "score": 0.6},
        {**MP, "id": "says", "judge": "[[B]]", "option": "C"},
        {**MP, "id": "silent", "judge": "[[None]]", "option": "A"},
        {**MP, "id": "by rule", "judge": None, "option": "B", "parsed": True},
        {**MP, "id": "beyond", "judge": "[[Z]]", "option": "Z"},
    ]
    found = rescore(judged=_file(tmp_path, *rows))
    assert found["free_form"] == pytest.approx(0.6)  # of .8, .4, .6
    assert found["multiple_choice"] == 0.5
    assert (found["free_form_unparsed"], found["multiple_choice_unparsed"], found["unparsed"]) == (3, 1, 4)
    assert (found["left_out"], found["parsed_otherwise"]) == (1, 2)


def test_one_kind_alone_has_no_overall_score(tmp_path):
    found = rescore(judged=_file(tmp_path, FF))
    assert (found["overall"], found["free_form"], found["multiple_choice"]) == (None, 0.5, None)


def test_official_judge_files_are_read(tmp_path):
    row = {"prompt": "p", "context": None, "id": "7", "response": "r"}
    ff = {**row, "target": ["x"], "benchmark_name": "DROP", "judge_response": "[[0.9]]", "judge_score": 0.9}
    mp = {**row, "target": [2], "options": ["x", "y", "z"], "benchmark_name": "ARC", "judge_response": "?"}
    found = rescore(judged=_file(tmp_path, ff, {**mp, "judge_option": "C"}))
    assert (found["free_form"], found["multiple_choice"], found["multiple_choice_unparsed"]) == (0.9, 1.0, 1)
    assert found["benchmarks"] == {"free_form": {"DROP": 0.9}, "multiple_choice": {"ARC": 1.0}}


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({**FF, "kind": "free"}, "row 2, field 'kind': is neither 'ff' nor 'mp'"),
        ({**FF, "id": 3}, "row 2, field 'id': is not a text"),
        ({**FF, "id": "0"}, "row 2, field 'id': judges ff '0' again"),
        ({**FF, "id": "1", "score": 1.5}, "field 'score': is not between 0 and 1"),
        ({**FF, "id": "1", "score": True}, "field 'score': is not a number or null"),
        ({**FF, "id": "1", "judge": 3}, "field 'judge': is not a text or null"),
        ({**MP, "target": 4}, "field 'target': is not the number of one of 4 options"),
        ({**MP, "target": [1]}, "field 'target': is not a whole number"),
        ({**MP, "n": 27}, "field 'n': is not a number of options that can have letters: 27"),
        ({**MP, "option": 1}, "field 'option': is not a letter or null"),
        ([], "row 2: is not an object"),
    ],
)
def test_a_bad_row_is_named(tmp_path, row, problem):
    with pytest.raises(DataError, match=r"judged\.jsonl, .*") as raised:
        read_judged(_file(tmp_path, FF, row))
    assert problem in str(raised.value)


def test_a_file_of_nothing_is_refused(tmp_path):
    with pytest.raises(DataError, match="contains no judgement"):
        read_judged(_file(tmp_path))
    broken = tmp_path / "judged.jsonl.gz"
    broken.write_bytes(gzip.compress(json.dumps(FF).encode())[:-12])
    with pytest.raises(DataError, match="cannot be read"):
        read_judged([broken])


def test_the_standard_error_is_the_usual_one_where_questions_differ_and_counts_copies_once():
    one = {"ff": {"a": [1.0], "b": [0.0], "c": [0.0], "d": [1.0]}}
    assert standard_error(one) == pytest.approx((4 / 3 * 0.25 / 4) ** 0.5)  # s / sqrt(n)
    copied = {"ff": {name: scores * 5 for name, scores in one["ff"].items()}}
    assert standard_error(copied) == pytest.approx(standard_error(one))
    both = {"ff": one["ff"], "mp": {"e": [1.0], "f": [0.0]}}
    assert standard_error(both) == pytest.approx(((4 / 6) ** 2 / 12 + (2 / 6) ** 2 / 4) ** 0.5)
    assert standard_error({"ff": {"a": [1.0, 1.0]}}) is None


def test_the_value_of_a_question_says_what_the_mean_would_be_without_its_copies():
    questions = {"a": [1.0], "b": [0.5, 0.5, 0.75], "c": [0.0, 0.0], "d": [1.0], "e": [0.25], "f": [0.0] * 4}
    values = question_values(questions)
    # by hand: the mean is 4/12, and each question's influence is 6/12 of (its sum - its copies times the mean)
    by_hand = {"a": 2 / 3, "b": 17 / 24, "c": 0.0, "d": 2 / 3, "e": 7 / 24, "f": -1 / 3}
    assert values == pytest.approx(by_hand)
    assert statistics.fmean(values.values()) == pytest.approx(1 / 3)
    assert statistics.stdev(values.values()) / 6**0.5 == pytest.approx(standard_error({"ff": questions}))
    once = {"a": [0.1], "b": [0.7], "c": [0.3]}
    assert question_values(once) == {name: score for name, (score,) in once.items()}  # to the last digit
    assert question_values({}) == {}


def test_the_spread_of_values_is_that_of_means_over_drawn_questions():
    random = np.random.default_rng(0)
    questions = {str(i): [float(random.random() < 0.4)] * random.integers(1, 9) for i in range(200)}
    sums, copies = (np.array([kind(scores) for scores in questions.values()]) for kind in (sum, len))
    drawn = random.integers(200, size=(4000, 200))
    drawn_means = sums[drawn].sum(axis=1) / copies[drawn].sum(axis=1)
    values = [*question_values(questions).values()]
    assert np.std(values) / 200**0.5 == pytest.approx(np.std(drawn_means), rel=0.05)
    assert np.mean(values) == pytest.approx(sums.sum() / copies.sum())
