"""Files that prompts cannot be read from."""

import gzip
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from spoiling import PREPARE, RANKED, RUN, Spoil, case, forbid_weights, refused, rows, sets, text
from tiny_world import Larpo

GOOD = {"question": "Ann has 3 apples.", "answer": "#### 3"}


def no_utf8_parquet(here: Path) -> None:
    values = pa.array([b"\xff\xfe"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"question": values}), here / "prompts.parquet")


CASES = [
    case(
        "broken JSONL line",
        text("prompts.jsonl", '{"prompt": "?"}\n{"prompt": \n'),
        PREPARE,
        "prompts.jsonl, row 2: broken JSON ... Fix or remove the line",
    ),
    case(
        "empty prompt",
        rows("prompts.jsonl", GOOD, {"question": "  "}),
        PREPARE,
        "prompts.jsonl, row 2, field 'question': is empty",
    ),
    case(
        "not UTF-8 in Parquet",
        no_utf8_parquet,
        [*PREPARE, *sets("prepare.source=prompts.parquet")],
        "prompts.parquet: cannot be read ... Check that the file is complete",
    ),
    case(
        "missing file",
        None,
        [*PREPARE, *sets("prepare.source=no.jsonl")],
        "no.jsonl: is neither an existing file ... Check the path",
    ),
    case(
        "directory as a source",
        None,
        [*PREPARE, *sets("prepare.source=policy")],
        "policy/config.json: is JSON, but not an array of rows",
    ),
    case(
        "torn compressed file",
        text("prompts.jsonl.gz", gzip.compress(b"{}" * 999, mtime=0)[:-9]),
        [*PREPARE, *sets("prepare.source=prompts.jsonl.gz")],
        "prompts.jsonl.gz: cannot be read ... complete",
    ),
    case(
        "NaN as a reward",
        text("ranked.jsonl", '{"prompt": "?", "responses": ["a", "b"], "rewards": [1, NaN]}'),
        RANKED,
        "ranked.jsonl, row 1, field 'rewards[1]': is nan, not a finite number",
    ),
    case(
        "no reference for the verifier",
        rows("heldout.jsonl", {"question": "Ann?"}),
        RUN,
        "run/heldout, row 0, field 'reference' ... reference None ... prepare.columns.reference",
    ),
    case(
        "reference without a number",
        rows("prompts.jsonl", {"question": "Ann?", "answer": "many"}),
        RUN,
        "run/prompts, row 0, field 'reference' ... 'many' ... needs a number",
    ),
]


@pytest.mark.parametrize(("spoil", "arguments", "told"), CASES)
def test_bad_source_is_told(
    larpo: Larpo, here: Path, monkeypatch: pytest.MonkeyPatch, spoil: Spoil, arguments: Sequence[str], told: str
) -> None:
    forbid_weights(monkeypatch)
    refused(larpo, here, spoil, arguments, told)
