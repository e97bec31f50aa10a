"""What is refused, and when."""

import pytest
from arena_hard_world import answers_of, judge_answers, likes_even
from judge_double import answered
from server_double import Reply, serve
from tiny_world import write_jsonl

from larpo_lib.config import LarpoConfig
from larpo_lib.errors import ConfigError, DataError, LarpoError
from larpo_lib.evaluation.arena_hard import step
from larpo_lib.evaluation.run_benchmarks import check_run_benchmarks


def test_a_judge_without_verdicts_ends_the_step(files, tmp_path):
    with serve(lambda _: answered("Both are fine.")) as server, pytest.raises(LarpoError, match="none of the 24 judge"):
        judge_answers(server, files, tmp_path)
    refusal = Reply({"error": {"message": "maximum context length is 9", "code": "context_length_exceeded"}}, 400)
    with serve(lambda _: refusal) as server, pytest.raises(LarpoError, match="rejects all 24 requests as too long"):
        judge_answers(server, files, tmp_path, "long", judge_max_tokens=9)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"answers": None}, "needs either a policy or answers"),
        ({"hard_prompt_baseline": None, "creative_writing_baseline": None}, "needs a baseline"),
        ({"partial": False}, "6 questions of hard_prompt are not the 500 of Arena-Hard v2.0"),
        ({"answers": "few"}, "mine has no answer to 11 of 12 questions, such as hard_prompt-1"),
        ({"hard_prompt_baseline": "few"}, "mine has no answer to 5 of 6 questions"),
    ],
)
def test_what_is_missing_is_told_before_any_call(files, tmp_path, change, problem, monkeypatch):
    monkeypatch.setattr(step, "check_set", step.check_set if "partial" in change else lambda *_, **__: None)
    write_jsonl(tmp_path / "few.jsonl", answers_of("mine")[:1])
    given = {name: tmp_path / "few.jsonl" if value == "few" else value for name, value in change.items()}
    settings = {"partial": given.pop("partial", False)}
    with serve(likes_even) as server, pytest.raises(ConfigError, match=problem):
        judge_answers(server, {**files, **given}, tmp_path, **settings)
    assert not server.asked


SHORT = {"token_len": 1, "header_count": {"h1": 0}, "list_count": {"ordered": 0}, "bold_count": {"**": 0}}
"""What is counted of a text of one token."""


def _row(text, role="assistant", **more):
    return {"uid": "q", "model": "m", "messages": [{"role": role, "content": {"answer": text}}], **more}


@pytest.mark.parametrize(
    ("name", "row", "problem"),
    [
        ("questions", {"uid": "q", "category": "arena-hard-v0.1", "prompt": "p"}, "category.*is 'arena-hard-v0.1'"),
        ("questions", {"uid": "q", "category": "hard_prompt"}, "prompt.*is not text"),
        ("answers", {"uid": "q", "model": "m", "messages": []}, "messages.*does not end with an answer"),
        (
            "answers",
            _row("a", role="user"),
            r"answers\.jsonl, row 1, field 'messages': .*with a message of the role 'user'",
        ),
        ("answers", _row("a", metadata={}), "metadata.*does not ho"),
        ("answers", _row("a", metadata={**SHORT, "token_len": True}), "metadata.*does not hold the whole numbers"),
        (
            "answers",
            _row("short", metadata={**SHORT, "token_len": 812}),
            r"answers\.jsonl, row 1, field 'metadata': says that token_len is 812, but .* text has 1\. Remove it",
        ),
        (
            "hard_prompt_baseline",
            _row("**b**", metadata=SHORT),
            "says that token_len is 1, but the answer's text has 3",
        ),
    ],
)
def test_malformed_rows_are_refused_at_their_place(files, tmp_path, name, row, problem):
    write_jsonl(files[name], [row])
    with serve(likes_even) as server, pytest.raises(DataError, match=problem):
        judge_answers(server, files, tmp_path)


def test_a_run_whose_gate_asks_for_it_needs_a_baseline_before_it_begins():
    files = {"questions": "question.jsonl"}
    tree = {"policy": "p", "prepare": {"source": "s", "heldout": 2}, "rerank": {"reranker": {"type": "verifier"}}}
    tree |= {"arena_hard": {"judge": {"base_url": "http://x/v1", "model": "big"}}}
    asked = {"must_improve": [{"metric": "arena_hard.hard_prompt_equal_style"}]}
    tree |= {"loop": {"benchmark_files": {"arena_hard": files}}}
    with pytest.raises(ConfigError, match=r"Set loop\.benchmark_files\.arena_hard\.hard_prompt_baseline"):
        check_run_benchmarks(LarpoConfig.model_validate({**tree, "promote": asked}))
    files["hard_prompt_baseline"] = "o3-mini-2025-01-31.jsonl"
    check_run_benchmarks(LarpoConfig.model_validate({**tree, "promote": asked}))
