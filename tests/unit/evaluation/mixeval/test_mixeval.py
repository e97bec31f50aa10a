import gzip
import json

import pytest
from mixeval_questions import (
    FREE_FORM,
    MULTIPLE_CHOICE,
    asked_about,
    completion,
    verdict,
    write_answers,
    write_questions,
)
from server_double import Reply, serve

from larpo_lib.artifacts import read_metrics
from larpo_lib.config import LlmJudgeConfig
from larpo_lib.errors import ConfigError, EndpointError, LarpoError
from larpo_lib.evaluation.mixeval import step as mixeval
from larpo_lib.evaluation.mixeval.scoring import rescore
from larpo_lib.evaluation.mixeval.settings import MixEvalConfig
from larpo_lib.steps.edge import at_edge

RESPONSES = ["[[1.0]]", "[[0.2]]", "[[0.6]]", "[[1.0]]", "[[B]]", "[[B]]"]
"""The judge says what they say; the two questions about France are one."""


@pytest.fixture
def run(tmp_path):
    def run(server, responses=RESPONSES, name="evaluation", *, judge=None, **changes):
        settings = {"base_url": server.url, "model": "judge", "retries": 0} | (judge or {})
        files = write_questions(tmp_path)
        answers = [write_answers(tmp_path / "answers.jsonl", responses)]
        config = MixEvalConfig(judge=LlmJudgeConfig(**settings), **changes)
        return mixeval.run(config, **files, answers=answers, evaluation=tmp_path / name)

    return run


def _lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_small_set_is_scored_by_hand(run, tmp_path):
    with serve(verdict) as server:
        metrics = run(server)
    assert metrics["free_form"] == 0.7
    assert metrics["multiple_choice"] == 0.5
    assert metrics["overall"] == (4 * 0.7 + 2 * 0.5) / 6
    assert metrics["unparsed"] == metrics["left_out"] == metrics["judged_again"] == metrics["too_long_for_judge"] == 0
    assert len(server.asked) == 5  # one of six is a copy
    assert metrics["free_form_standard_error"] > 0
    evaluation = tmp_path / "evaluation"
    assert rescore(judged=[evaluation / "judged.jsonl"])["overall"] == metrics["overall"]
    assert len(_lines(evaluation / "decisions.jsonl")) == 5
    report = json.loads((evaluation / "report.json").read_text())
    assert report["judged_by"] == "judge with MixEval's prompts"
    assert ["DROP", "free form", 0.2, 1, 0] in report["tables"][0]["rows"]
    assert any("4 free-form and 2 multiple-choice questions were asked instead of 2000" in c for c in report["caveats"])
    assert any("judged by gpt-3.5-turbo-0125, these scores by judge" in caveat for caveat in report["caveats"])


def test_the_judge_is_asked_as_officially(run):
    with serve(verdict) as server:
        run(server)
    payloads = {asked_about(asked.payload): asked.payload for asked in server.asked}
    free_form, options = payloads["How many pens?", "[[0.2]]"], payloads["Which is a fruit?", "[[B]]"]
    assert {asked.path for asked in server.asked} == {"/chat/completions"}
    assert free_form.keys() == {"model", "messages", "max_tokens"}
    assert free_form["max_tokens"] == 999
    assert free_form["messages"][0] == {"role": "system", "content": "In this task, I want you to act as a judge."}
    assert free_form["messages"][1]["content"].endswith(
        "\n\nQuestion: How many pens?\nGolden Answer(s): <answer 1> 3\nModel's Answer: [[0.2]]\nYour Judgment: \n"
    )
    france = payloads["Capital of France?", "[[1.0]]"]["messages"][1]["content"]
    assert "\nGolden Answer(s): <answer 1> Paris; <answer 2> Paname\n" in france
    assert options["messages"][0]["content"] == "In this task, I want you to act as an option extractor."
    assert options["messages"][1]["content"].endswith(
        "\n\nQuestion: Which is a fruit?\nOptions: \nA. stone\nB. apple\nC. car\n"
        "Model's Answer: [[B]]\nYour Judgment: \n"
    )


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
    assert all(row["judge"].startswith("<think>") for row in _lines(judged))
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
    assert [row["judge"] for row in _lines(judged) if row.get("cut")] == [*CUT.values()][: expected[2]]
    assert rescore(judged=[judged])["overall"] == metrics["overall"]


def test_a_limit_may_be_left_to_the_judges_server(run):
    with serve(verdict) as server:
        run(server, judge_max_tokens="server")
        assert all("max_tokens" not in payload for payload in server.payloads("/chat/completions"))


def test_answers_are_published_in_the_official_format_and_can_be_judged_anew(run, tmp_path):
    with serve(verdict) as server:
        first = run(server)
        files = {name: tmp_path / f"{name.replace('_', '-')}.json" for name in ("free_form", "multiple_choice")}
        published = [tmp_path / "evaluation" / f"{name}.answers.jsonl" for name in ("free-form", "multiple-choice")]
        config = MixEvalConfig(judge=LlmJudgeConfig(base_url=server.url, model="judge"))
        again = mixeval.run(
            config,
            **files,
            answers=published,
            evaluation=tmp_path / "again",
            decisions=tmp_path / "evaluation.decisions.jsonl",
        )
        assert len(server.asked) == 5
    assert again == first
    row = _lines(published[0])[1]
    assert row == {
        **FREE_FORM["1"],
        "id": "1",
        "formated_input": "Question: Ann has 3 pens.\nHow many pens?\nAnswer the question shortly.",
        "response": "[[0.2]]",
    }
    assert _lines(published[1])[1]["formated_input"] == (
        "How to dry a cup\nWhich solution is correct?\nA. With a towel\nB. With water\n"
        "Answer with the option letter from the given choices directly."
    )


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
    assert len(_lines(tmp_path / "evaluation.decisions.jsonl")) == 3


def test_further_attempts_end_where_one_of_many_reads_none(run, monkeypatch):
    monkeypatch.setattr("larpo_lib.evaluation.mixeval.judging.MOST_UNREAD", 2)
    with serve(verdict) as server:
        metrics = run(server, UNREADABLE, attempts=10)
    assert (metrics["unparsed"], metrics["judged_again"]) == (2, 2)


def test_options_read_by_rule_cost_nothing(run, tmp_path):
    responses = ["[[1.0]]", "[[0.2]]", "[[0.6]]", "[[1.0]]", "It is B.", "no idea"]
    with serve(verdict) as server:
        metrics = run(server, responses, multiple_choice="rule")
        assert len(server.asked) == 3
    assert (metrics["multiple_choice"], metrics["multiple_choice_unparsed"]) == (0.5, 1)
    assert rescore(judged=[tmp_path / "evaluation" / "judged.jsonl"])["multiple_choice_unparsed"] == 1


def test_an_answer_too_long_for_the_judge_is_counted_and_not_asked_again(run):
    def answer(asked):
        if asked_about(asked.payload)[0] == "How many pens?":
            return Reply({"error": {"message": "maximum context length is 8192 tokens"}}, status=400)
        return verdict(asked)

    with serve(answer) as server:
        metrics = run(server)
        assert len(server.asked) == 5
    assert (metrics["too_long_for_judge"], metrics["unparsed"], metrics["free_form"]) == (1, 1, 0.65)


def test_more_calls_than_allowed_are_told_before_any_is_made(run):
    with serve(verdict) as server:
        with pytest.raises(ConfigError, match="mixeval, judging needs 5 judge calls"):
            run(server, judge={"max_calls": 4})
        assert server.asked == []
        assert run(server, judge={"max_calls": 5})["unparsed"] == 0


def test_an_answer_of_another_form_is_refused_and_not_stored(run, tmp_path):
    with serve(lambda _: Reply({"choices": []})) as server, pytest.raises(EndpointError, match="no choices"):
        run(server)
    assert (tmp_path / "evaluation.decisions.jsonl").read_bytes() == b""


def test_a_trial_takes_the_first_questions_of_each_file(run):
    with serve(verdict) as server:
        metrics = run(server, limit=1)
    assert (metrics["free_form_items"], metrics["multiple_choice_items"]) == (1, 1)
    assert len(server.asked) == 2


def test_what_a_lost_pod_has_bought_is_in_the_cache_for_the_next_one(s3, tmp_path, monkeypatch):
    """A pod's output is in a store, and it has no disk of its own: the decisions are beside the output in the cache."""
    monkeypatch.setenv("LARPO_CACHE", str(tmp_path / "cache"))
    sold = []

    def judge(asked):
        if broke and len(sold) == 2:
            return Reply({"error": "out of service"}, 500)
        sold.append(json.dumps(asked.payload))
        return verdict(asked)

    def pod(server):
        config = MixEvalConfig(judge=LlmJudgeConfig(base_url=server.url, model="judge", retries=0, concurrency=1))
        with at_edge(config, {}, {"evaluation": "s3://larpo-bucket/iteration-1/mixeval"}) as paths:
            files = write_questions(tmp_path)
            answers = [write_answers(tmp_path / "answers.jsonl", RESPONSES)]
            return mixeval.run(config, **files, answers=answers, evaluation=paths["evaluation"])

    with serve(judge) as server:
        broke = True
        with pytest.raises(EndpointError):
            pod(server)
        broke = False
        assert pod(server)["overall"] == (4 * 0.7 + 2 * 0.5) / 6
    assert len(sold) == len({*sold}) == 5
    published = [item["Key"] for item in s3.list_objects_v2(Bucket="larpo-bucket")["Contents"]]
    assert "iteration-1/mixeval/decisions.jsonl" in published


def test_where_the_judge_is_decides_nothing(run):
    with serve(verdict) as one, serve(verdict) as other:
        assert run(one) == run(other, judge={"concurrency": 2, "max_calls": 100})
        assert other.asked == []


@pytest.fixture
def policy_run(tmp_path, tiny_policy):
    def run(server, files, name="evaluation", **answers):
        limits = {"max_new_tokens": 8, "max_prompt_tokens": 64, "sampler": {"type": "hf", "model": {"device": "cpu"}}}
        settings = {"judge": {"base_url": server.url, "model": "judge"}, "attempts": 1, "answers": limits | answers}
        config = MixEvalConfig.model_validate(settings)
        return mixeval.run(config, **files, policy=tiny_policy, evaluation=tmp_path / name)

    return run


def test_the_playgrounds_policy_answers_published_questions(policy_run, shared_data, tmp_path):
    kinds = {"free_form": "free-form", "multiple_choice": "multiple-choice"}
    cut = {}
    for name, file in kinds.items():
        with gzip.open(shared_data(f"mixeval/mixeval-hard.{file}.json.gz"), "rt", encoding="utf-8") as published:
            rows = json.load(published)
        short = {number: row for number, row in rows.items() if row["context"] is None and len(row["prompt"]) < 80}
        cut[name] = dict(list(short.items())[:8])
    files = write_questions(tmp_path, cut["free_form"], cut["multiple_choice"])
    with serve(lambda _: Reply(completion("[[A]] [[1.0]]"))) as server:
        metrics = policy_run(server, files, max_prompt_tokens=512)
    assert metrics["free_form"] == 1.0
    right = [row["target"] == [0] for row in cut["multiple_choice"].values()]
    assert metrics["multiple_choice"] == round(sum(right) / len(right), 3)
    assert metrics["prompts_too_long_dropped"] == 0
    assert metrics["distinct_questions"] <= 16
    rows = _lines(tmp_path / "evaluation" / "free-form.answers.jsonl")
    assert [row["id"] for row in rows] == list(cut["free_form"])
    assert all(isinstance(row["response"], str) for row in rows)


def test_questions_too_long_to_ask_are_wrong_and_counted(policy_run, tmp_path):
    long = {**FREE_FORM["0"], "prompt": "many " * 70}
    files = write_questions(tmp_path, {**FREE_FORM, "4": long}, MULTIPLE_CHOICE)
    with serve(lambda _: Reply(completion("[[A]] [[1.0]]"))) as server:
        metrics = policy_run(server, files)
    assert (metrics["prompts_too_long_dropped"], metrics["free_form"], metrics["unparsed"]) == (1, 0.8, 0)
    assert metrics["free_form_items"] == 5
    assert read_metrics(tmp_path / "evaluation") == metrics
