"""Judgements that hold thoughts, are cut or cannot be read."""

import json

import pytest
from mixeval_questions import (
    RESPONSES,
    asked_about,
    completion,
    lines,
    verdict,
)
from server_double import Reply, serve

from larpo_lib.errors import LarpoError
from larpo_lib.evaluation.mixeval.scoring import rescore

THOUGHTS = {"In this task": 'The form is "[[score]]", such as [[0.0]].', "option extractor": 'The form is "[[C]]".'}


def test_what_a_judge_thinks_is_no_judgement(run, tmp_path):
    """The scores are those of the first test, by hand; the thoughts are kept beside them."""

    def thinking(asked):
        system = asked.payload["messages"][0]["content"]
        thought = THOUGHTS["option extractor" if "option extractor" in system else "In this task"]
        return Reply(completion(f"<think>\n{thought}\n</think>\n\n{asked_about(asked.payload)[1]}"))

    with serve(thinking) as server:
        metrics = run(server, judge_max_tokens=8000)
        assert {payload["max_tokens"] for payload in server.payloads("/chat/completions")} == {8000}
    assert (metrics["free_form"], metrics["multiple_choice"], metrics["unparsed"]) == (0.7, 0.5, 0)
    judged = tmp_path / "evaluation" / "judged.jsonl"
    assert all(row["judge"].startswith("<think>") for row in lines(judged))
    assert rescore(judged=[judged])["overall"] == metrics["overall"]


def test_a_judge_that_never_ends_its_thoughts_is_refused_with_what_to_increase(run):
    with (
        serve(lambda _: Reply(completion("<think>\nSuch as [[0.5]] or [[B]]. Now"))) as server,
        pytest.raises(LarpoError, match=r"none of the .* can be read.* increase mixeval\.judge_max_tokens"),
    ):
        run(server, attempts=1)


CUT = {
    "How many pens?": "The example says [[0.5]] would be partial. Here the model answer",
    "Which is a fruit?": "The form is [[B]], and the answer",
}


@pytest.mark.parametrize(
    ("finish", "end", "expected"),
    [
        ("length", "", (0.65, 0.0, 2)),  # (1 + 0 + .6 + 1) / 4, and the other option is wrong
        ("length", "\n</think>\n\n[[0.2]] [[B]]", (0.7, 0.5, 0)),
        ("stop", "", (0.775, 0.5, 0)),  # (1 + .5 + .6 + 1) / 4
        (None, "", (0.775, 0.5, 0)),  # as published: nothing says that it is cut
    ],
)
def test_a_cut_judgement_that_may_be_all_thoughts_is_not_read(run, tmp_path, finish, end, expected):
    """Its template may have opened `<think>` in the prompt."""

    def cut(asked):
        question, response = asked_about(asked.payload)
        body = completion(CUT[question] + end if question in CUT else response)
        body["choices"][0]["finish_reason"] = finish if question in CUT else "stop"
        return Reply(body)

    with serve(cut) as server:
        metrics = run(server, attempts=2)
        assert len(server.asked) == 5 + expected[2]
    assert (metrics["free_form"], metrics["multiple_choice"], metrics["unparsed"]) == expected
    judged = tmp_path / "evaluation" / "judged.jsonl"
    assert [row["judge"] for row in lines(judged) if row.get("cut")] == [*CUT.values()][: expected[2]]
    assert rescore(judged=[judged])["overall"] == metrics["overall"]


def test_what_cannot_be_read_is_asked_again(run):
    def answer(asked):
        question, _ = asked_about(asked.payload)
        return verdict(asked) if question == "How many pens?" or asked.tries == 3 else Reply(completion("Hm."))

    with serve(answer) as server:
        metrics = run(server, attempts=3)
    assert metrics["overall"] == (4 * 0.7 + 2 * 0.5) / 6
    assert (metrics["unparsed"], metrics["judged_again"]) == (0, 10)
    assert len(server.asked) == 1 + 4 * 3


UNREADABLE = ["[[1.0]]", "Hm.", "[[0.6]]", "[[1.0]]", "[[B]]", "[[None]]"]


@pytest.mark.parametrize(
    ("unparsed", "free_form", "multiple_choice", "left_out"), [("wrong", 0.65, 0.5, 0), ("leave_out", 0.867, 1.0, 2)]
)
def test_what_can_never_be_read_scores_as_the_settings_say(
    run, tmp_path, unparsed, free_form, multiple_choice, left_out
):
    with serve(verdict) as server:
        metrics = run(server, UNREADABLE, unparsed=unparsed, attempts=2)
        assert len(server.asked) == 5 + 2
    assert (metrics["free_form"], metrics["multiple_choice"]) == (free_form, multiple_choice)
    assert (metrics["free_form_unparsed"], metrics["multiple_choice_unparsed"], metrics["unparsed"]) == (1, 1, 2)
    assert metrics["left_out"] == left_out
    found = rescore(judged=[tmp_path / "evaluation" / "judged.jsonl"])
    assert {name: metrics[name] for name in found if name != "benchmarks"} == {
        name: value for name, value in found.items() if name != "benchmarks"
    }
    report = json.loads((tmp_path / "evaluation" / "report.json").read_text())
    assert any(caveat.startswith("2 judgements could not be read; they ") for caveat in report["caveats"])


def test_random_scores_are_given_by_name_only_and_said(run, tmp_path):
    with serve(verdict) as server:
        runs = [run(server, UNREADABLE, f"seed-{seed}", unparsed="official", seed=seed) for seed in range(4)]
        assert run(server, UNREADABLE, "again", unparsed="official", seed=3) == runs[3]
        assert len(server.asked) == 5 * (5 + 2 * 9)  # each evaluation has decisions of its own
    assert {metrics["multiple_choice"] for metrics in runs} <= {0.5, 1.0}
    assert len({metrics["free_form"] for metrics in runs}) > 1
    assert {metrics["left_out"] for metrics in runs} == {0}
    report = json.loads((tmp_path / "seed-3" / "report.json").read_text())
    assert (
        "2 judgements could not be read; they got a random score or option (seed 3), as officially."
        in report["caveats"]
    )


def test_unreadable_judgements_can_be_an_error_and_stay_paid_for(run, tmp_path):
    with serve(verdict) as server:
        problem = r"2 of 6 judgements cannot be read \(up to 2 attempts each\)\. .* free-form question '1'"
        with pytest.raises(LarpoError, match=problem):
            run(server, UNREADABLE, unparsed="fail", attempts=2)
        bought = len(server.asked)
        assert run(server, UNREADABLE, unparsed="wrong", attempts=2)["unparsed"] == 2
        assert len(server.asked) == bought


@pytest.mark.parametrize(
    ("responses", "kind"),
    [(["Hm."] * 4 + ["[[B]]"] * 2, "4 judgements of free-form"), (RESPONSES[:4] + ["Hm."] * 2, "2 judgements of mult")],
)
@pytest.mark.parametrize("unparsed", ["wrong", "leave_out", "official"])
def test_where_no_judgement_of_a_kind_can_be_read_there_is_no_score(run, tmp_path, unparsed, responses, kind):
    with (
        serve(verdict) as server,
        pytest.raises(LarpoError, match=f"none of the {kind}.* questions can be read.*'Hm.'"),
    ):
        run(server, responses, unparsed=unparsed, attempts=2)
    assert not (tmp_path / "evaluation").exists()


def test_a_judge_that_cannot_be_read_costs_a_bounded_number_of_calls(run, monkeypatch, tmp_path):
    monkeypatch.setattr("larpo_lib.evaluation.mixeval.judging.MOST_UNREAD", 3)
    with serve(verdict) as server:
        for _ in range(2):  # the second time finds what the first one bought
            with pytest.raises(LarpoError, match=r"none of the first 3 judgements can be read, for example 'Hm.'"):
                run(server, ["Hm."] * 6, judge={"concurrency": 1})
            assert 3 <= len(server.asked) <= 4  # one may be under way
    assert len(lines(tmp_path / "evaluation.decisions.jsonl")) == 3


def test_further_attempts_end_where_one_of_many_reads_none(run, monkeypatch):
    monkeypatch.setattr("larpo_lib.evaluation.mixeval.judging.MOST_UNREAD", 2)
    with serve(verdict) as server:
        metrics = run(server, UNREADABLE, attempts=10)
    assert (metrics["unparsed"], metrics["judged_again"]) == (2, 2)
