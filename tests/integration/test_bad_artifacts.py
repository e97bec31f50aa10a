"""Artifacts that are damaged, of another kind, or do not fit together."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from spoiling import LISTS, RERANK, SAMPLE, Spoil, case, column, cut, forbid_weights, refused
from tiny_world import Larpo

REPORT = ["report", "--prompts", "heldout", "--ranked", "ranked", "--lists", "lists", "--policies", "policy"]
REPORT += ["--report", "out"]

CASES = [
    case(
        "missing artifact",
        None,
        [*RERANK, "--candidates", "nowhere"],
        "nowhere: no such file or directory ... Run the step that makes it first",
    ),
    case(
        "raw file where an artifact is wanted",
        None,
        [*SAMPLE, "--prompts", "prompts.jsonl"],
        "prompts.jsonl: cannot be read as Parquet",
    ),
    case(
        "torn Parquet",
        cut("candidates/candidates.parquet"),
        RERANK,
        "candidates/candidates.parquet: is missing or differs from its checksum ... make it again",
    ),
    case(
        "damaged manifest",
        cut("prompts/artifact.json"),
        RERANK,
        "prompts/artifact.json: cannot be read ... make it again",
    ),
    case(
        "candidates of unknown prompts",
        None,
        [*RERANK, "--prompts", "heldout"],
        "candidates, row 0, field 'prompt_id': prompt ... is not in the prompts ... Pass the prompts artifact",
    ),
    case(
        "all responses equal",
        column("ranked", "candidate_id", "same"),
        LISTS,
        "no list is left ... 10 only one distinct response ... at a higher temperature",
    ),
    case(
        "no reference at rerank",
        column("prompts", "reference", None),
        RERANK,
        "reference None, but the verifier needs a number ... prepare.columns.reference",
    ),
    case(
        "policy without history",
        None,
        [*REPORT, "--evaluations", "evaluated", "--evaluations", "evaluated"],
        "policy/history.jsonl: no such file ... Use a directory that `larpo train` wrote",
    ),
]


@pytest.mark.parametrize(("spoil", "arguments", "told"), CASES)
def test_bad_artifact_is_told(
    larpo: Larpo, here: Path, monkeypatch: pytest.MonkeyPatch, spoil: Spoil, arguments: Sequence[str], told: str
) -> None:
    forbid_weights(monkeypatch)
    refused(larpo, here, spoil, arguments, told)
