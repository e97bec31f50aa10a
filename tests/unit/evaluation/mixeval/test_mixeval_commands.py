import json

import pytest
from mixeval_questions import verdict, write_answers, write_questions
from server_double import serve

RESPONSES = ["[[1.0]]", "[[0.2]]", "[[0.6]]", "[[1.0]]", "[[B]]", "[[B]]"]
OVERALL = (4 * 0.7 + 2 * 0.5) / 6


@pytest.fixture
def evaluate(larpo, tmp_path):
    def evaluate(server, *more):
        files = write_questions(tmp_path)
        given = [
            *("--free-form", files["free_form"], "--multiple-choice", files["multiple_choice"]),
            *("--answers", write_answers(tmp_path / "answers.jsonl", RESPONSES)),
            *("--evaluation", tmp_path / "evaluation", "--set", "mixeval.judge.model=judge"),
            *("--set", f"mixeval.judge.base_url={server.url}"),
        ]
        return larpo("mixeval", *given, *more)

    return evaluate


def test_published_judgements_are_scored_as_published(larpo, shared_data):
    judged = shared_data("mixeval/judged.mixeval-hard.mixtral-8x22b.jsonl.gz")
    done = larpo("score", "mixeval", "--judged", judged)
    assert (done.code, json.loads(done.out)["overall"]) == (0, 0.512)


def test_an_evaluation_prints_what_its_judgements_score(evaluate, larpo, tmp_path):
    with serve(verdict) as server:
        done = evaluate(server)
    assert (done.code, json.loads(done.out)["overall"]) == (0, OVERALL)
    scored = larpo("score", "mixeval", "--judged", tmp_path / "evaluation" / "judged.jsonl")
    assert json.loads(scored.out)["overall"] == OVERALL
    assert (tmp_path / "evaluation.decisions.jsonl").exists()


def test_calls_are_bounded_and_decisions_may_stand_elsewhere(evaluate, tmp_path):
    elsewhere = ("--decisions", tmp_path / "bought" / "decisions.jsonl")
    with serve(verdict) as server:
        done = evaluate(server, "--max-judge-calls", 4, *elsewhere)
        assert done.code == 2
        assert "needs 5 judge calls" in done.err
        assert "--max-judge-calls" in done.err
        assert evaluate(server, "--max-judge-calls", 5, *elsewhere).code == 0
    assert len((tmp_path / "bought" / "decisions.jsonl").read_text().splitlines()) == 5


def test_a_judge_must_be_named(larpo, tmp_path):
    files = write_questions(tmp_path)
    done = larpo(
        *("mixeval", "--free-form", files["free_form"], "--multiple-choice", files["multiple_choice"]),
        *("--answers", tmp_path / "answers.jsonl", "--evaluation", tmp_path / "evaluation"),
    )
    assert done.code == 2
    assert "mixeval.judge" in done.err


def test_help_explains_the_numbers(larpo):
    done = larpo("mixeval", "--help")
    assert done.code == 0
    for name in ("overall", "free_form", "multiple_choice", "unparsed", "judged_again", "Do not compare"):
        assert name in done.out
