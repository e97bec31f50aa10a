import pytest
from mixeval_questions import (
    RESPONSES,
    write_answers,
    write_questions,
)

from larpo_lib.config import LlmJudgeConfig
from larpo_lib.evaluation.mixeval import step as mixeval
from larpo_lib.evaluation.mixeval.settings import MixEvalConfig


@pytest.fixture
def run(tmp_path):
    def run(server, responses=RESPONSES, name="evaluation", *, judge=None, **changes):
        settings = {"base_url": server.url, "model": "judge", "retries": 0} | (judge or {})
        files = write_questions(tmp_path)
        answers = [write_answers(tmp_path / "answers.jsonl", responses)]
        config = MixEvalConfig(judge=LlmJudgeConfig(**settings), **changes)
        return mixeval.run(config, **files, answers=answers, evaluation=tmp_path / name)

    return run
