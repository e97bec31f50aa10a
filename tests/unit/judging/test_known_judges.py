"""Judges that their vendors have shut down: refused at the vendor's servers alone, and not where nothing is asked."""

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from judge_double import items
from mixeval_questions import verdict, write_answers, write_questions
from server_double import serve

from larpo_lib.artifacts import Metrics
from larpo_lib.config import LlmJudgeConfig
from larpo_lib.errors import ConfigError
from larpo_lib.evaluation.mixeval import step as mixeval
from larpo_lib.evaluation.mixeval.settings import MixEvalConfig
from larpo_lib.judging import known_judges
from larpo_lib.judging.known_judges import JUDGES, refuse_shut_down, require_askable, shut_down_note
from larpo_lib.rewards.rerankers import make_reranker
from larpo_lib.rewards.rerankers.llm_judge import LlmJudgeRerankerConfig

OPENAI = "https://api.openai.com/v1"
LAST, FIRST_WITHOUT = date(2026, 10, 22), date(2026, 10, 23)


def config(model: str, url: str = OPENAI) -> LlmJudgeConfig:
    return LlmJudgeConfig(base_url=url, model=model, retries=0)


@pytest.fixture
def long_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    """All vendors' judges were shut down before any clock of today."""
    past = [replace(one, shut_down=one.shut_down and date(2000, 1, 1)) for one in JUDGES]
    monkeypatch.setattr(known_judges, "JUDGES", past)


@pytest.mark.parametrize("model", ["gpt-4-1106-preview", "gpt-3.5-turbo-0125", "gpt-3.5-turbo"])
def test_the_judges_of_published_scores_can_be_asked_until_their_last_day(model: str) -> None:
    refuse_shut_down(config(model), LAST)
    with pytest.raises(ConfigError) as refused:
        refuse_shut_down(config(model), FIRST_WITHOUT)
    told = str(refused.value)
    assert "OpenAI shut it down on 2026-10-23 (https://developers.openai.com/api/docs/deprecations)" in told
    assert "Name another judge" in told
    assert "larpo score" in told
    assert "\n" not in told


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:8000/v1",
        "https://proxy.example.org/api.openai.com/v1",
        "https://mine.openai.azure.com/openai/v1",
        "https://notapi.openai.com/v1",
    ],
)
def test_another_server_may_have_the_model_under_its_name(url: str) -> None:
    refuse_shut_down(config("gpt-4-1106-preview", url), FIRST_WITHOUT)
    with pytest.raises(ConfigError):
        refuse_shut_down(config("gpt-4-1106-preview", "https://eu.api.openai.com/v1"), FIRST_WITHOUT)


def test_a_day_to_come_is_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    require_askable(config("gpt-4.1"), LAST)
    assert "OpenAI shuts it down on 2027-01-14" in caplog.text
    assert not shut_down_note(config("gpt-99"), LAST)
    assert not shut_down_note(config("meta-llama/Llama-3.3-70B-Instruct"), LAST)


def test_every_judge_has_a_source_and_those_of_vendors_a_day() -> None:
    assert all(one.source.startswith("https://") for one in JUDGES)
    assert all(bool(one.vendor) == (one.shut_down is not None) for one in JUDGES)
    names = [name for one in JUDGES for name in one.names]
    assert len(names) == len(set(names))


@pytest.mark.usefixtures("long_ago")
def test_a_benchmark_is_refused_before_anything_but_reads_what_was_decided(tmp_path: Path) -> None:
    files = write_questions(tmp_path)
    answers = [write_answers(tmp_path / "answers.jsonl", ["[[1.0]]"] * 4 + ["[[B]]"] * 2)]

    def run(url: str, name: str, **changes: Any) -> Metrics:
        settings = MixEvalConfig(judge=config("gpt-3.5-turbo-0125", url), **changes)
        kept = tmp_path / "kept.jsonl"
        return mixeval.run(settings, **files, answers=answers, evaluation=tmp_path / name, decisions=kept)

    with pytest.raises(ConfigError, match="shut it down on 2000-01-01"):
        run(OPENAI, "refused")
    with serve(verdict) as server:
        first = run(server.url, "first")
    assert run(OPENAI, "again", unparsed="leave_out") == first
    write_answers(answers[0], ["[[0.5]]"] * 4 + ["[[B]]"] * 2)
    with pytest.raises(ConfigError, match="shut it down on 2000-01-01"):
        run(OPENAI, "more")


@pytest.mark.usefixtures("long_ago")
def test_a_reranker_is_refused_by_preflight_and_when_it_would_ask(tmp_path: Path) -> None:
    judge = LlmJudgeRerankerConfig(base_url=OPENAI, model="gpt-4", decisions=str(tmp_path), retries=0)
    with pytest.raises(ConfigError, match="shut it down on 2000-01-01"):
        judge.check()
    with pytest.raises(ConfigError, match="shut it down on 2000-01-01"):
        make_reranker(judge).score(items("a", "b"))
