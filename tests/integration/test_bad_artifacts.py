"""Artifacts that are damaged, of another kind, or do not fit together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from spoiling import (
    LISTS,
    RERANK,
    SAMPLE,
    Spoil,
    case,
    changed,
    column,
    cut,
    flipped,
    forbid_weights,
    refused,
    sets,
    version,
)
from tiny_world import Larpo

REPORT = [
    "report",
    "--prompts",
    "heldout",
    "--ranked",
    "ranked",
    "--lists",
    "lists",
    "--policies",
    "policy",
    "--report",
    "out",
]


CASES = [
    case(
        "missing artifact",
        None,
        [*RERANK, "--candidates", "nowhere"],
        "nowhere: no such file or directory ... Run the step that makes it first",
    ),
    case(
        "lists where prompts are wanted",
        None,
        [*SAMPLE, "--prompts", "lists"],
        "lists/prompts.parquet: no such file ... an artifact that holds prompts.parquet",
    ),
    case(
        "table of another kind",
        None,
        [*RERANK, "--candidates", "prompts/prompts.parquet"],
        "prompts/prompts.parquet: holds 'prompts', not 'candidates' ... the artifact of the step before",
    ),
    case(
        "raw file where an artifact is wanted",
        None,
        [*SAMPLE, "--prompts", "prompts.jsonl"],
        "prompts.jsonl: cannot be read as Parquet",
    ),
    case(
        "other schema version",
        version("candidates"),
        RERANK,
        "candidates/candidates.parquet: schema version 99, but this larpo reads version 2 ... Make the artifact again",
    ),
    case(
        "torn Parquet",
        cut("candidates/candidates.parquet"),
        RERANK,
        "candidates/candidates.parquet: cannot be read as Parquet ... make it again",
    ),
    case(
        "flipped bit in Parquet",
        flipped("ranked/ranked.parquet"),
        LISTS,
        "ranked/ranked.parquet: cannot be read as Parquet ... make it again",
    ),
    case(
        "damaged manifest",
        cut("prompts/artifact.json"),
        RERANK,
        "prompts/artifact.json: cannot be read ... make it again",
    ),
    case(
        "manifest of another format",
        changed("prompts/artifact.json", version=7),
        RERANK,
        "prompts/artifact.json: format version 7, but this larpo reads version 1",
    ),
    case(
        "candidates of unknown prompts",
        None,
        [*RERANK, "--prompts", "heldout"],
        "candidates, row 0, field 'prompt_id': prompt ... is not among the prompts ... Give the prompts artifact",
    ),
    case(
        "ranked candidates of unknown prompts",
        None,
        [*LISTS, "--prompts", "heldout"],
        "ranked, row 0, field 'prompt_id' ... is not among the prompts",
    ),
    case(
        "reward that is not a number",
        column("ranked", "reward", float("nan")),
        LISTS,
        "ranked, row 0, field 'reward': nan is not a finite number ... run rerank again",
    ),
    case(
        "all rewards equal",
        column("ranked", "reward", 0.5),
        LISTS,
        "of 10 prompts no list is left ... 10 equal rewards only ... use a reranker that tells them apart",
    ),
    case(
        "all responses equal",
        column("ranked", "candidate_id", "same"),
        LISTS,
        "of 10 prompts no list is left ... 10 a single distinct response ... at a higher temperature",
    ),
    case(
        "no hot candidates known",
        column("ranked", "temperature", None),
        [*LISTS, *sets("lists.negatives.kind=hot")],
        "ranked, row 0, field 'temperature': is null ... set negatives.kind to random",
    ),
    case(
        "no reference at rerank",
        column("prompts", "reference", None),
        RERANK,
        "reference None, but the verifier needs a number ... prepare.columns.reference",
    ),
    case(
        "numbers of artifacts do not fit",
        None,
        [*REPORT, "--evaluations", "evaluated"],
        "report: 1 ranked do not go with 1 evaluations ... one evaluation more",
    ),
    case(
        "policy without history",
        None,
        [*REPORT, "--evaluations", "evaluated", "--evaluations", "evaluated"],
        "policy: is not an artifact (it has no artifact.json) ... Give a directory that a larpo step wrote",
    ),
    case(
        "evaluation has no accuracy",
        column("evaluated", "correct", None),
        [
            "promote",
            "--policy",
            "policy",
            "--evaluation",
            "evaluated",
            "--promotion",
            "out",
            *sets("promote.metric=accuracy"),
        ],
        "evaluated: has no accuracy ... set promote.metric to reward",
    ),
]


@pytest.mark.parametrize(("spoil", "arguments", "told"), CASES)
def test_bad_artifact_is_told(
    larpo: Larpo, here: Path, monkeypatch: pytest.MonkeyPatch, spoil: Spoil, arguments: Sequence[str], told: str
) -> None:
    forbid_weights(monkeypatch)
    refused(larpo, here, spoil, arguments, told)
