"""What is told of a policy's answers to a benchmark's questions."""

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from larpo_lib.artifacts import Metrics, WorkDir, produce
from larpo_lib.config import AnswersConfig
from larpo_lib.evaluation.answers import asking, replies, with_cut_told
from larpo_lib.reporting.evaluation import EvaluationReport
from larpo_lib.tables import read_table


def test_responses_that_were_cut_are_counted(tiny_policy: Path, tmp_path: Path) -> None:
    """A response is whole if its last token ends it, by the tokenizer of the policy."""
    given = {"sampler": {"type": "hf", "model": {"device": "cpu"}}, "max_new_tokens": 8, "temperature": 1.0}
    config = AnswersConfig.model_validate(given)
    end = AutoTokenizer.from_pretrained(tiny_policy).eos_token_id
    prompts = {str(i): asking(f"{i} + 1", "x") for i in range(20)}
    cut: list[int] = []

    def make(work: WorkDir) -> Metrics:
        said, counts = replies("alpaca_eval", config, tiny_policy, prompts, work)
        ids = [row["token_ids"] for row in read_table(work.scratch / "answers-candidates.parquet", "candidates")]
        assert len(said) == len(ids) == 20
        cut.append(sum(each[-1:] != [end] for each in ids))
        assert all(len(each) == 8 for each in ids if each[-1:] != [end])
        return counts

    counts = produce("prepare", config, {}, tmp_path / "out", make)
    assert 0 < cut[0] < 20
    assert counts["truncated_responses"] == cut[0]


@pytest.mark.parametrize(
    ("counts", "caveats"),
    [
        (
            {"truncated_responses": 3},
            ["a", "3 responses were cut at max_new_tokens = 8, and are judged as far as they go."],
        ),
        ({"truncated_responses": 0}, ["a"]),
        ({}, ["a"]),  # answers that were given
    ],
)
def test_a_report_says_so(counts: dict[str, int], caveats: list[str]) -> None:
    report = EvaluationReport("b", "B", "p", "j", [], counts, {}, caveats=["a"])
    assert with_cut_told(report, AnswersConfig(max_new_tokens=8)).caveats == caveats
