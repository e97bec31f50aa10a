"""The step: who is asked what, how often, and what is published."""

import json

import pytest
from arena_hard_world import CATEGORIES, COUNT, judge_answers, likes_even, places
from judge_double import answered
from server_double import Reply, serve
from tiny_world import write_jsonl

from larpo_lib.artifacts import read_metrics
from larpo_lib.errors import ConfigError, DataError
from larpo_lib.evaluation.arena_hard import scoring
from larpo_lib.evaluation.arena_hard.rescore import run as rescore
from larpo_lib.evaluation.judge_check import step as judge_check
from larpo_lib.evaluation.judge_check.reading import read_annotations
from larpo_lib.evaluation.judge_check.settings import JudgeCheckConfig
from larpo_lib.evaluation.run_benchmarks import require_values
from larpo_lib.reporting.benchmark import read_values
from larpo_lib.studies.benchmarks import load_benchmarks


@pytest.mark.usefixtures("few")
def test_each_answer_is_judged_in_both_orders_and_scored(files, tmp_path):
    with serve(likes_even) as server:
        metrics = judge_answers(server, files, tmp_path)
        payloads = server.payloads("/v1/chat/completions")
    assert len(payloads) == 2 * 2 * COUNT
    assert {(one["model"], one["temperature"], one["max_tokens"]) for one in payloads} == {("big", 0.0, 16000)}
    assert sum(places(one)[1] for one in payloads) == 2 * COUNT
    for category in CATEGORIES:  # of 3 x 6 + 3 x 2 battles 18 are won
        assert metrics[f"{category}_win_rate"] == pytest.approx(75.0)
        assert metrics[f"{category}_win_rate_standard_error"] > 0
        assert metrics[f"{category}_style_controlled"] == pytest.approx(75.0, abs=3)
    assert {name: metrics[name] for name in ("questions", "not_asked", "unparsed", "too_long_for_judge")} == {
        "questions": 12, "not_asked": 0, "unparsed": 0, "too_long_for_judge": 0,
    }  # fmt: skip
    assert {*load_benchmarks(["arena-hard"], {})["arena-hard"].measures.values()} <= metrics.keys()
    report = json.loads((tmp_path / "evaluation" / "report.json").read_text())
    assert report["judged_by"] == "big by arena_hard_v2.0 in both orders"
    assert report["version"] == "v2.0 against o3, flash"
    assert report["tables"][0]["rows"] == [["coding", 6, 0, 100.0, 100.0, 100.0], ["math", 6, 0, 0.0, 0.0, 0.0]]
    assert any("answers of o3, not of o3-mini-2025-01-31" in caveat for caveat in report["caveats"])
    for name, values in read_values(tmp_path / "evaluation").items():
        assert sum(values.values()) / len(values) == pytest.approx(metrics[name])


@pytest.mark.usefixtures("few")
def test_what_is_published_scores_the_same_again(files, tmp_path):
    with serve(likes_even) as server:
        metrics = judge_answers(server, files, tmp_path)
    published = tmp_path / "evaluation"
    answers = [published / "answers.jsonl", files["hard_prompt_baseline"], files["creative_writing_baseline"]]
    found = rescore(judgments=[published / "judgments.jsonl"], answers=answers, ensemble=False)
    for category in CATEGORIES:
        for name in ("win_rate", "style_controlled", "equal_style", "win_rate_standard_error"):
            assert found["big"][category]["mine"][name] == pytest.approx(metrics[f"{category}_{name}"])
    alone = rescore(judgments=[published / "judgments.jsonl"], answers=[], ensemble=True)
    assert alone["big"]["hard_prompt"]["mine"]["style_controlled"] is None
    with pytest.raises(ConfigError, match="there is no answer of flash to creative_writing-0"):
        rescore(judgments=[published / "judgments.jsonl"], answers=answers[:1], ensemble=False)
    with pytest.raises(DataError, match="has a second judgement of big on the answer of mine to hard_prompt-0"):
        rescore(judgments=[published / "judgments.jsonl"] * 2, answers=answers, ensemble=False)


def test_a_check_of_the_judge_stands_beside_its_scores(files, tmp_path):
    """Against a judge that always prefers the first one clearly, so that all its means are draws."""
    with serve(likes_even) as server:
        judge_answers(server, files, tmp_path)
    with serve(lambda _: answered("[[A>>B]]")) as server:
        judge_answers(server, files, tmp_path, "reference", resamples=2, judge_temperature=1.0)
    (rows, reference) = (
        [*read_annotations([tmp_path / name]).by_pair.values()] for name in ("evaluation", "reference")
    )
    assert {one.orders for one in rows} == {(2.0, 2.0), (1.25, 1.25)}
    assert {one.orders for one in reference} == {(1.0, 2.0)}
    check = judge_check.run(
        JudgeCheckConfig(resamples=20), reference=[tmp_path / "reference"], judged=[tmp_path / "evaluation"],
        evaluation=tmp_path / "check",
    )  # fmt: skip
    assert (check["pairs"], check["changed_by_order"], check["agreement"]) == (12, 0.0, 0.0)
    assert check["agreement_one_order"] == 0.5
    with serve(likes_even) as server:
        judge_answers(server, files, tmp_path, "beside", judge_check=tmp_path / "check")
        assert not server.asked
    summary = (tmp_path / "beside" / "summary.txt").read_text()
    whose = f"big by arena_hard_v2.0 in {tmp_path.name}/reference"
    assert f"this judge, on 12 pairs that {whose} annotated: Agreement in both orders" in summary


def test_two_judges_are_scored_apart_or_as_one(tmp_path):
    labels = {"j1": [("B>A", "A>B"), ("A=B", "A=B"), ("[[A", "A>B")], "j2": [("A>>B", "A>>B"), ("A>B", "B>A"), None]}
    rows = [
        {"uid": str(i), "category": "creative_writing", "judge": judge, "model": "m", "baseline": "b",
         "games": [None, None] if pair is None else [{"score": label} for label in pair]}
        for judge, pairs in labels.items() for i, pair in enumerate(pairs)
    ]  # fmt: skip
    write_jsonl(tmp_path / "judgments.jsonl", rows)
    apart = rescore(judgments=[tmp_path / "judgments.jsonl"], answers=[], ensemble=False)
    assert [apart[judge]["creative_writing"]["m"]["win_rate"] for judge in labels] == pytest.approx([75.0, 37.5])
    together = rescore(judgments=[tmp_path / "judgments.jsonl"], answers=[], ensemble=True)
    found = together["j1 and j2"]["creative_writing"]["m"]
    assert found["win_rate"] == pytest.approx(100 * (2 + 1 + 3 + 0) / (2 + 2 + 6 + 2))
    assert (found["questions"], found["unparsed"]) == (2, 2)


def test_models_against_different_baselines_are_not_scored_together(tmp_path):
    rows = [
        {"uid": str(i), "category": "hard_prompt", "judge": "j", "model": model, "baseline": baseline,
         "games": [{"score": "A>B"}, {"score": "B>A"}]}
        for model, baseline in (("a", "strong"), ("b", "weak"), ("c", "weak")) for i in range(2)
    ]  # fmt: skip
    both, weak = write_jsonl(tmp_path / "both.jsonl", rows), write_jsonl(tmp_path / "weak.jsonl", rows[2:])
    said = r"both\.jsonl.* on hard_prompt with different baselines \(strong: a; weak: b, c\)"
    for ensemble in (False, True):
        with pytest.raises(DataError, match=said):
            rescore(judgments=[both], answers=[], ensemble=ensemble)
    found = rescore(judgments=[weak], answers=[], ensemble=False)["j"]["hard_prompt"]
    assert {model: row["baseline"] for model, row in found.items()} == {"b": "weak", "c": "weak"}
    other = [{**row, "category": "creative_writing"} for row in rows[:2]]  # of another category, it may be another one
    assert (
        len(rescore(judgments=[write_jsonl(tmp_path / "other.jsonl", other), weak], answers=[], ensemble=False)["j"])
        == 2
    )


def _unread_once(asked):
    """The first hard prompt has no verdict in one order, and the second one is too long in the other."""
    _, second = places(asked.payload)
    if "hard_prompt 0?" in asked.payload["messages"][1]["content"] and second:
        return answered("Both are fine.")
    if "hard_prompt 1?" in asked.payload["messages"][1]["content"] and not second:
        return Reply({"error": {"message": "maximum context length is 9", "code": "context_length_exceeded"}}, 400)
    return likes_even(asked)


def test_what_cannot_be_read_is_counted_and_left_out_or_a_tie(files, tmp_path):
    with serve(_unread_once) as server:
        without = judge_answers(server, files, tmp_path)
        asked = len(server.asked)
        ties = judge_answers(server, files, tmp_path, "ties", unparsed="tie")
        assert len(server.asked) == asked + 1  # decisions are kept; what is too long is none
    assert (without["unparsed"], without["too_long_for_judge"]) == (2, 1)
    assert without["hard_prompt_win_rate"] == pytest.approx(100 * 12 / 16)  # 0, 1 left out
    assert ties["hard_prompt_win_rate"] == pytest.approx(100 * (12 + 3.5 + 0.5) / (16 + 4 + 2))
    assert without["creative_writing_win_rate"] == ties["creative_writing_win_rate"] == pytest.approx(75.0)
    assert len(read_values(tmp_path / "ties")["hard_prompt_win_rate"]) == COUNT


THOUGHT = "Let me see. If A were clearly better, the verdict would be [[A>>B]]. But on second thought the code of A has"


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize(
    ("text", "finish", "wins", "battles"),
    [
        (THOUGHT, {"finish_reason": "length"}, 12, 12 + 6),  # question 0 is left out, and 2 and 4 are won clearly twice
        (THOUGHT, {"finish_reason": "stop"}, 12 + 3, 12 + 6 + 6),  # a verdict for the baseline
        (THOUGHT, {}, 12 + 3, 12 + 6 + 6),  # as published: nothing says that it is cut
        (f"{THOUGHT} won.\n</think>\n\n[[B>>A]]", {"finish_reason": "length"}, 12 + 6, 12 + 6 + 6),
    ],
)
def test_a_cut_judgement_that_may_be_all_thoughts_has_no_verdict(files, tmp_path, text, finish, wins, battles):
    """Its template may have opened `<think>` in the prompt."""

    def cut(asked):
        if "hard_prompt 0?" in asked.payload["messages"][1]["content"] and places(asked.payload)[1]:
            return answered({"message": {"role": "assistant", "content": text}, **finish})
        return likes_even(asked)

    with serve(cut) as server:
        metrics = judge_answers(server, files, tmp_path)
    assert metrics["hard_prompt_win_rate"] == pytest.approx(100 * wins / battles)
    assert metrics["unparsed"] == (battles == 18)
    published = [json.loads(line) for line in (tmp_path / "evaluation" / "judgments.jsonl").read_text().splitlines()]
    assert published[0]["games"][0]["judgment"] == {"answer": text}
    again = rescore(judgments=[tmp_path / "evaluation" / "judgments.jsonl"], answers=[], ensemble=False)
    assert again["big"]["hard_prompt"]["mine"]["win_rate"] == pytest.approx(metrics["hard_prompt_win_rate"])


def test_a_report_says_what_few_questions_cannot_tell(files, tmp_path):
    """Of six questions the win rate stays; where no question was read nothing does, and no other reason is told."""

    def some(asked):
        return answered("Hm." if "hard_prompt" in asked.payload["messages"][1]["content"] else "[[A=B]]")

    with serve(some) as server:
        metrics = judge_answers(server, files, tmp_path)
    assert {metrics[f"hard_prompt_{name}"] for name in scoring.RATES} == {None}
    assert [metrics[f"creative_writing_{name}"] for name in scoring.RATES] == [None, None, 50.0]
    caveats = json.loads((tmp_path / "evaluation" / "report.json").read_text())["caveats"]
    names = "Hard prompts, style-controlled win rate, Hard prompts, win rate at equal style, Hard prompts, win rate"
    assert f"Not defined, because no question has two verdicts that could be read: {names}." in caveats
    assert any("6 questions with verdicts are too few to control for style, which needs 20" in one for one in caveats)
    assert "Without an interval, because all questions have the same value: Creative writing, win rate." in caveats
    with pytest.raises(DataError, match=r"hard_prompt_win_rate .* is not defined, see its report's caveats"):
        require_values(tmp_path / "evaluation", ["hard_prompt_win_rate"])


def test_a_category_without_a_baseline_is_not_asked(files, tmp_path):
    del files["creative_writing_baseline"]
    with serve(likes_even) as server:
        metrics = judge_answers(server, files, tmp_path, judge_temperature="server", judge_max_tokens="server")
        assert all(one.keys() == {"model", "messages"} for one in server.payloads("/v1/chat/completions"))
    assert (metrics["questions"], metrics["not_asked"]) == (6, 6)
    assert metrics["answers_without_question_dropped"] == 6
    assert not any(name.startswith("creative") for name in metrics)


def test_a_policy_answers(files, tmp_path, tiny_policy):
    del files["answers"]
    del files["creative_writing_baseline"]
    files["policy"] = tiny_policy
    answers = {"max_prompt_tokens": 64, "max_new_tokens": 4, "sampler": {"type": "hf", "model": {"device": "cpu"}}}
    with serve(lambda _: answered("[[A>B]]")) as server:
        metrics = judge_answers(server, files, tmp_path, answers=answers)
        assert len(server.asked) == 2 * COUNT
    assert metrics["hard_prompt_win_rate"] == pytest.approx(50.0)
    assert "hard_prompt_win_rate_low" not in metrics  # of values that are all the same
    assert read_metrics(tmp_path / "evaluation")["prompts_too_long_dropped"] == 0
    cut = metrics["truncated_responses"]
    assert 0 < cut <= COUNT
    caveats = json.loads((tmp_path / "evaluation" / "report.json").read_text())["caveats"]
    assert f"{cut} responses were cut at max_new_tokens = 4, and are judged as far as they go." in caveats
    rows = [json.loads(line) for line in (tmp_path / "evaluation" / "answers.jsonl").read_text().splitlines()]
    assert [row["uid"] for row in rows] == [f"hard_prompt-{i}" for i in range(COUNT)]
