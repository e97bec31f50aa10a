"""vLLM's own server as a judge: what it says is noise, how it is asked, read and kept is not."""

import json
import math
import subprocess
import sys
import time
import urllib.request

import pytest
from safetensors.torch import load_file, save_file
from served_model import served
from tiny_world import write_jsonl

from larpo_lib.config import LlmJudgeConfig
from larpo_lib.evaluation.arena_hard import step as arena_hard
from larpo_lib.evaluation.arena_hard.prompts import label
from larpo_lib.evaluation.arena_hard.settings import ArenaHardConfig
from larpo_lib.evaluation.mixeval import step as mixeval
from larpo_lib.evaluation.mixeval.parsing import judged_option, judged_score
from larpo_lib.evaluation.mixeval.settings import MixEvalConfig
from larpo_lib.playground.policy import make_policy, make_tokenizer
from larpo_lib.playground.problems import vocabulary
from larpo_lib.rewards.answers import Scorable
from larpo_lib.rewards.rerankers import make_reranker
from larpo_lib.rewards.rerankers.llm_judge import LlmJudgeRerankerConfig

CONTEXT, ITEMS, ATTEMPTS = 4096, 16, 2
JUDGE_TOKENS = 999
WORDS = [*vocabulary(), "[[A]]", "[[0.5]]", "m", "M", "[[A>B]]", "[[B>>A]]"]
PAIRS = 40
FREE_FORM = {
    str(i): {"context": None, "prompt": f"What is {i} plus one?", "target": [str(i + 1)], "benchmark_name": "MATH"}
    for i in range(ITEMS)
}
MULTIPLE_CHOICE = {
    str(i): {
        "context": None,
        "prompt": f"Which is {i}?",
        "options": [str(i), "x"],
        "target": [0],
        "benchmark_name": "X",
    }
    for i in range(ITEMS)
}


@pytest.fixture(scope="module")
def judge_url(tmp_path_factory):
    """A judge of random weights, half of whose texts come to hold a verdict before they end."""
    with _serve(tmp_path_factory.mktemp("judge"), 5) as url:
        yield url


@pytest.fixture
def sure_judge_url(tmp_path):
    """A judge that mostly says m or M."""
    with _serve(tmp_path / "judge", 60) as url:
        yield url


def _serve(directory, preference):
    make_policy(directory / "model", WORDS, 0, hidden=64, layers=2, heads=2)
    _prefer_m(directory / "model" / "model.safetensors", preference)
    for file, setting in (("config", "max_position_embeddings"), ("tokenizer_config", "model_max_length")):
        path = directory / "model" / f"{file}.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {setting: CONTEXT}))
    return served(directory / "model", directory / "log", "--max-model-len", str(CONTEXT))


def _prefer_m(weights, times):
    """m or M is the most probable first token, by which is shown first and the rest of the question."""
    tensors = load_file(weights)
    first, second = (make_tokenizer(WORDS).convert_tokens_to_ids(word) for word in "mM")
    tensors["lm_head.weight"][first] *= times
    tensors["lm_head.weight"][second] = -tensors["lm_head.weight"][first]
    save_file(tensors, weights, {"format": "pt"})


@pytest.fixture
def run(tmp_path):
    def run(url, name, longest=0):
        answers = tmp_path / f"{name}.jsonl"
        rows = [{**row, "id": number} for part in (FREE_FORM, MULTIPLE_CHOICE) for number, row in part.items()]
        rows = [{**row, "response": "A" if i else "A " + "many " * longest} for i, row in enumerate(rows)]
        answers.write_text(json.dumps(rows))
        for file, questions in (("free", FREE_FORM), ("choice", MULTIPLE_CHOICE)):
            (tmp_path / f"{file}.json").write_text(json.dumps(questions))
        judge = LlmJudgeConfig(base_url=f"{url}/v1", model="tiny", retries=0)
        return mixeval.run(
            MixEvalConfig(judge=judge, attempts=ATTEMPTS), free_form=tmp_path / "free.json",
            multiple_choice=tmp_path / "choice.json", answers=[answers], evaluation=tmp_path / name,
            decisions=tmp_path / "decisions.jsonl",
        )  # fmt: skip

    return run


def _decisions(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_request_is_answered_by_the_real_protocol_and_kept(judge_url, run, tmp_path):
    metrics = run(judge_url, "first")
    kept = _decisions(tmp_path / "decisions.jsonl")
    assert len(kept) == 2 * ITEMS + metrics["judged_again"]
    assert metrics["judged_again"] > 0
    for decision in kept:
        answer = decision["answer"]
        assert (answer["object"], answer["model"]) == ("chat.completion", "tiny")
        assert 0 < answer["usage"]["completion_tokens"] <= JUDGE_TOKENS
        assert answer["usage"]["prompt_tokens"] > 300  # the examples of the official prompts
        assert answer["choices"][0]["finish_reason"] in ("stop", "length")
    unread = {"ff": 0, "mp": 0}
    for row in _decisions(tmp_path / "first" / "judged.jsonl"):
        read = judged_score(row["judge"]) if row["kind"] == "ff" else judged_option(row["judge"])
        unread[row["kind"]] += read is None
    assert (metrics["free_form_unparsed"], metrics["multiple_choice_unparsed"]) == (unread["ff"], unread["mp"])
    assert 0 < metrics["unparsed"] < 2 * ITEMS  # else this test's judge is of no use
    assert metrics["too_long_for_judge"] == 0


def test_what_was_decided_needs_no_server_again(judge_url, run):
    first = run(judge_url, "first")
    assert run("http://127.0.0.1:9", "again") == first


def test_an_answer_longer_than_the_judges_context_is_told_apart(judge_url, run):
    metrics = run(judge_url, "long", longest=CONTEXT)
    assert metrics["too_long_for_judge"] == 1
    assert metrics["free_form_unparsed"] >= 1


def _answered(url):
    """Requests that the server has answered, by its own count."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=30) as answer:  # noqa: S310 - on loopback
        lines = answer.read().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("vllm:request_success_total"))


def _alpaca_eval(folder, url):
    for name, last in (("reference", "no"), ("answers", "yes")):
        rows = [{"instruction": f"What is {i} plus one?", "output": f"{i + 1} {last}"} for i in range(PAIRS)]
        (folder / f"{name}.json").write_text(json.dumps(rows))
    settings = {"partial": "true", "judge.base_url": f'"{url}/v1"', "judge.model": '"tiny"', "judge.concurrency": "1"}
    options = [part for name, value in settings.items() for part in ("--set", f"alpaca_eval.{name}={value}")]
    files = ["--reference", "reference.json", "--answers", "answers.json", "--evaluation", "evaluation"]
    return [sys.executable, "-m", "larpo_lib", "benchmark", "alpaca-eval", *files, *options]


def test_alpaca_eval_is_killed_and_goes_on_and_the_server_answers_nothing_twice(sure_judge_url, tmp_path):
    before, kept = _answered(sure_judge_url), tmp_path / "evaluation.decisions.jsonl"
    command = _alpaca_eval(tmp_path, sure_judge_url)
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log)
        deadline = time.monotonic() + 120
        while not kept.exists() or kept.read_bytes().count(b"\n") < 5:
            assert process.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.002)
        process.kill()
        process.wait()
        stored = kept.read_bytes().count(b"\n")
        assert stored < PAIRS
        again = subprocess.run(command, cwd=tmp_path, stdout=log, stderr=log, check=False)
    assert again.returncode == 0, (tmp_path / "log").read_text()
    decided = _decisions(kept)
    assert len({one["key"] for one in decided}) == len(decided) == PAIRS
    assert _answered(sure_judge_url) - before <= PAIRS + 2  # in flight, and not yet taken, when it was killed
    by_question = {one["request"]["messages"][1]["content"]: one["answer"]["choices"][0] for one in decided}
    rows = json.loads((tmp_path / "evaluation" / "annotations.json").read_text())
    assert len(rows) == PAIRS
    for row in rows:
        (choice,) = (one for text, one in by_question.items() if f'"{row["instruction"]}"' in text.replace('""', ""))
        found = {one["token"]: math.exp(one["logprob"]) for one in choice["logprobs"]["content"][0]["top_logprobs"]}
        named = found.get("m", 0.0) + found.get("M", 0.0)
        if named < 0.5:  # something else is more likely than both
            assert row["preference"] is None
            continue
        first = found.get("m", 0.0) / named  # which is shown first
        expected = 1 + first if row["is_switched_outputs"] else 2 - first
        assert row["preference"] == pytest.approx(expected, abs=1e-6)


@pytest.fixture
def compare(tmp_path):
    """Compare answers with a baseline's, twice each."""

    def compare(url, name):
        rows = [{"uid": str(i), "category": "hard_prompt", "prompt": f"What is {i} plus one?"} for i in range(ITEMS)]
        write_jsonl(tmp_path / "questions.jsonl", rows)
        for model in ("baseline", "mine"):
            said = [[{"role": "assistant", "content": {"answer": f"{model} is {i + 1}"}}] for i in range(ITEMS)]
            rows = [{"uid": str(i), "model": model, "messages": messages} for i, messages in enumerate(said)]
            write_jsonl(tmp_path / f"{model}.jsonl", rows)
        judge = LlmJudgeConfig(base_url=f"{url}/v1", model="tiny", retries=0)
        settings = {"judge_temperature": 1.0, "judge_max_tokens": JUDGE_TOKENS, "unparsed": "tie", "partial": True}
        return arena_hard.run(
            ArenaHardConfig(judge=judge, **settings), questions=tmp_path / "questions.jsonl",
            hard_prompt_baseline=tmp_path / "baseline.jsonl", answers=tmp_path / "mine.jsonl",
            evaluation=tmp_path / name, decisions=tmp_path / "decisions.jsonl",
        )  # fmt: skip

    return compare


def test_answers_are_compared_twice_and_what_a_crash_left_is_not_bought_again(judge_url, compare, tmp_path):
    compare(judge_url, "first")
    kept = tmp_path / "decisions.jsonl"
    lines = kept.read_bytes().splitlines(keepends=True)
    assert len(lines) == 2 * ITEMS
    for decision in _decisions(kept):
        assert decision["answer"]["object"] == "chat.completion"
        assert decision["answer"]["usage"]["prompt_tokens"] > 300  # of the official prompt
    kept.write_bytes(b"".join(lines[:ITEMS]) + lines[ITEMS][:99])
    again = compare(judge_url, "again")
    assert kept.read_bytes().splitlines(keepends=True)[:ITEMS] == lines[:ITEMS]
    assert len(_decisions(kept)) == 2 * ITEMS
    texts = [decision["answer"]["choices"][0]["message"]["content"] or "" for decision in _decisions(kept)]
    assert 0 < sum(label(text) is not None for text in texts) < 2 * ITEMS  # else this test's judge is of no use
    judged = _decisions(tmp_path / "again" / "judgments.jsonl")
    assert again["unparsed"] == sum(None in [game["score"] for game in row["games"]] for row in judged)
    assert (again["questions"], again["too_long_for_judge"]) == (ITEMS, 0)
    assert compare("http://127.0.0.1:9", "third") == again


def test_grades_are_read_from_the_probabilities_that_the_server_gives(judge_url, tmp_path):
    """A bias makes every reply a grade; what its token might have been is as unlikely as to a model of noise."""
    tokenizer = make_tokenizer(WORDS)
    bias = {str(tokenizer.convert_tokens_to_ids(str(grade))): 100 for grade in range(1, 6)}
    config = LlmJudgeRerankerConfig(
        base_url=f"{judge_url}/v1", model="tiny", decisions=str(tmp_path), retries=0, max_tokens=1,
        request={"logit_bias": bias},
    )  # fmt: skip
    config.check()
    reranker = make_reranker(config)
    responses = [f"1 + {number} = {number + 1}" for number in range(6)]
    items = [Scorable("p", [{"role": "user", "content": "What is 1 + 1?"}], response) for response in responses]
    scores, counts = reranker.score(items), reranker.cut(items)
    (file,) = tmp_path.rglob("*.jsonl")
    expected, unread = [], 0
    for decision in _decisions(file):
        (token,) = decision["answer"]["choices"][0]["logprobs"]["content"]
        assert len(token["top_logprobs"]) in (20, 21)  # vLLM adds the sampled token where it is not among them
        found = {each["token"]: math.exp(each["logprob"]) for each in [*token["top_logprobs"], token]}
        grades = {name: chance for name, chance in found.items() if name in set("12345")}
        expected.append(sum(int(name) * chance for name, chance in grades.items()) / sum(grades.values()))
        unread += round((1 - sum(grades.values())) * 1_000_000)
    assert sorted(scores) == pytest.approx(sorted(expected))
    assert counts["judge_decisions"] == len(responses)
    assert counts["judge_grades_without_probabilities"] == 0
    assert counts["judge_unread_probability_millionths"] == pytest.approx(unread, abs=len(responses))
    assert make_reranker(config.model_copy(update={"base_url": "http://127.0.0.1:9"})).score(items) == scores
