from pathlib import Path

import pytest
from small_models import write_prompts

from larpo_lib.errors import DataError
from larpo_lib.rewards.judges.verifier import VerifierJudgeConfig
from larpo_lib.rewards.references import require_references
from larpo_lib.rewards.rerankers.classifier import ClassifierConfig
from larpo_lib.rewards.rerankers.ensemble import EnsembleConfig, EnsembleMember
from larpo_lib.rewards.rerankers.verifier import VerifierConfig

NUMBERS, MATHEMATICS = VerifierConfig(), VerifierConfig(mode="math")


def _both(config: VerifierConfig) -> EnsembleConfig:
    members = [ClassifierConfig(path="m"), config]
    return EnsembleConfig(members=tuple(EnsembleMember(reranker=member) for member in members))


def _prompts(tmp_path: Path, *references: str | None) -> Path:
    return write_prompts(tmp_path / "prompts", [(f"question {i}", text) for i, text in enumerate(references)])


@pytest.mark.parametrize(
    ("reranker", "judge", "references"),
    [
        (NUMBERS, None, ["#### 5", "1/2", "(2, 3)", "2:30", "18-20", "9{,}500"]),
        (MATHEMATICS, None, ["5", r"3\sqrt{2}", "x^2+1", r"[1,\sqrt{2})", "Monday", r"\text{(C)}", "k\\pi, k \\in Z"]),
        (ClassifierConfig(path="m"), None, [None, ""]),
        (ClassifierConfig(path="m"), VerifierJudgeConfig(mode="math"), ["x"]),
    ],
)
def test_references_that_can_be_read_pass(reranker, judge, references, tmp_path):
    require_references(_prompts(tmp_path, *references), reranker, judge)


@pytest.mark.parametrize(
    ("reranker", "judge"),
    [
        (NUMBERS, None),
        (_both(NUMBERS), None),
        (ClassifierConfig(path="m"), VerifierJudgeConfig()),
        (MATHEMATICS, VerifierJudgeConfig()),
    ],
)
def test_each_row_whose_reference_is_no_number_is_named(reranker, judge, tmp_path):
    prompts = _prompts(tmp_path, "5", "x+1", "6", None, r"\sqrt{2}")
    with pytest.raises(DataError) as refused:
        require_references(prompts, reranker, judge)
    assert (refused.value.row, refused.value.field) == (1, "reference")
    assert "has the reference 'x+1', but the verifier needs a number" in str(refused.value)
    assert r"the same applies to rows 3 (None), 4 ('\\sqrt{2}')" in str(refused.value)
    assert "set the verifier's mode to math" in str(refused.value)


def test_each_row_whose_reference_is_no_mathematics_is_named(tmp_path):
    prompts = _prompts(tmp_path, "5", "(((", "x+1", None)
    with pytest.raises(
        DataError, match=r"row 1, .*'\(\(\('.* an answer that it can read; the same applies to row 3 \(None\)"
    ):
        require_references(prompts, MATHEMATICS)


def test_many_rows_are_counted(tmp_path):
    with pytest.raises(DataError, match=r"row 0, .*rows 1 \(None\), .* 20 \(None\) and 9 more"):
        require_references(_prompts(tmp_path, *[None] * 30), NUMBERS)


def test_only_prompts_that_matter_are_looked_at(tmp_path):
    prompts = _prompts(tmp_path, None, "5")
    require_references(prompts, NUMBERS, among=set())
