"""The step: who is asked what, how often, what is refused, and what is published."""

import gzip
import json

import pytest
from mixeval_questions import (
    FREE_FORM,
    MULTIPLE_CHOICE,
    RESPONSES,
    asked_about,
    completion,
    lines,
    verdict,
    write_answers,
    write_questions,
)
from server_double import Reply, serve

from larpo_lib.artifacts import read_metrics
from larpo_lib.config import LlmJudgeConfig
from larpo_lib.errors import ConfigError, EndpointError
from larpo_lib.evaluation.mixeval import step as mixeval
from larpo_lib.evaluation.mixeval.scoring import rescore
from larpo_lib.evaluation.mixeval.settings import MixEvalConfig
from larpo_lib.reporting.benchmark import read_values
from larpo_lib.steps.edge import at_edge


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
    assert {name: len(values) for name, values in read_values(evaluation).items()} == {
        "overall": 5, "free_form": 3, "multiple_choice": 2
    }  # fmt: skip
    assert rescore(judged=[evaluation / "judged.jsonl"])["overall"] == metrics["overall"]
    assert len(lines(evaluation / "decisions.jsonl")) == 5
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
    row = lines(published[0])[1]
    assert row == {
        **FREE_FORM["1"],
        "id": "1",
        "formated_input": "Question: Ann has 3 pens.\nHow many pens?\nAnswer the question shortly.",
        "response": "[[0.2]]",
    }
    assert lines(published[1])[1]["formated_input"] == (
        "How to dry a cup\nWhich solution is correct?\nA. With a towel\nB. With water\n"
        "Answer with the option letter from the given choices directly."
    )


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
    rows = lines(tmp_path / "evaluation" / "free-form.answers.jsonl")
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
