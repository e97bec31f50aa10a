"""Files that prompts cannot be read from."""

from __future__ import annotations

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
        "missing column",
        rows("prompts.jsonl", {"text": "?"}),
        PREPARE,
        "prompts.jsonl: has none of the columns prompt ... it has text ... columns.prompt",
    ),
    case(
        "named column is missing",
        None,
        [*PREPARE, *sets("prepare.columns.prompt=text")],
        "prompts.jsonl: has no column 'text'; it has question, answer ... Change columns.prompt",
    ),
    case(
        "broken JSONL line",
        text("prompts.jsonl", '{"prompt": "?"}\n{"prompt": \n'),
        PREPARE,
        "prompts.jsonl, row 2: broken JSON ... Mend or remove the line",
    ),
    case("line is no object", rows("prompts.jsonl", GOOD, 3), PREPARE, "prompts.jsonl, row 2: is not a JSON object"),
    case(
        "empty prompt",
        rows("prompts.jsonl", GOOD, {"question": "  "}),
        PREPARE,
        "prompts.jsonl, row 2, field 'question': is empty",
    ),
    case(
        "null prompt",
        rows("prompts.jsonl", {"question": None}),
        PREPARE,
        "prompts.jsonl, row 1, field 'question': is missing or null",
    ),
    case(
        "prompt is a number",
        rows("prompts.jsonl", {"question": 3}),
        PREPARE,
        "prompts.jsonl, row 1, field 'question': is of type int, not text",
    ),
    case(
        "unknown role",
        rows("prompts.jsonl", {"messages": [{"role": "boss", "content": "?"}]}),
        PREPARE,
        "row 1, field 'messages[0].role': is 'boss' ... Known roles",
    ),
    case(
        "not UTF-8",
        text("prompts.jsonl", b'{"question": "\xe9"}\n'),
        PREPARE,
        "prompts.jsonl, row 1: is not UTF-8 ... Convert it",
    ),
    case(
        "not UTF-8 in Parquet",
        no_utf8_parquet,
        [*PREPARE, *sets("prepare.source=prompts.parquet")],
        "prompts.parquet: cannot be read ... Check that the file is whole",
    ),
    case("empty file", text("prompts.jsonl", ""), PREPARE, "prompts.jsonl: holds no rows ... at least one row"),
    case(
        "missing file", None, [*PREPARE, *sets("prepare.source=no.jsonl")], "no.jsonl: no such file ... Check the path"
    ),
    case(
        "directory as a source",
        None,
        [*PREPARE, *sets("prepare.source=policy")],
        "policy/config.json: is JSON, but not an array of rows",
    ),
    case(
        "unknown kind of file",
        text("prompts.txt", "?"),
        [*PREPARE, *sets("prepare.source=prompts.txt")],
        "prompts.txt: is of an unknown kind ... .jsonl",
    ),
    case(
        "torn compressed file",
        text("prompts.jsonl.gz", gzip.compress(b"{}" * 999, mtime=0)[:-9]),
        [*PREPARE, *sets("prepare.source=prompts.jsonl.gz")],
        "prompts.jsonl.gz: cannot be read ... whole",
    ),
    case(
        "CSV row with a field too many",
        text("prompts.csv", "prompt,answer\na,1\nb,2,3\n"),
        [*PREPARE, *sets("prepare.source=prompts.csv")],
        "prompts.csv, row 3: has 3 fields, the header 2",
    ),
    case(
        "NaN as a reward",
        text("ranked.jsonl", '{"prompt": "?", "responses": ["a", "b"], "rewards": [1, NaN]}'),
        RANKED,
        "ranked.jsonl, row 1, field 'rewards[1]': is nan, not a finite number",
    ),
    case(
        "infinite reward",
        text("ranked.jsonl", '{"prompt": "?", "responses": ["a", "b"], "rewards": [-Infinity, 1]}'),
        RANKED,
        "ranked.jsonl, row 1, field 'rewards[0]': is -inf, not a finite number",
    ),
    case(
        "reward is a word",
        rows("ranked.jsonl", {"prompt": "?", "response": "a", "reward": "good"}),
        RANKED,
        "ranked.jsonl, row 1, field 'reward': is 'good', not a number",
    ),
    case(
        "fewer rewards than responses",
        rows("ranked.jsonl", {"prompt": "?", "responses": ["a", "b"], "rewards": [1]}),
        RANKED,
        "row 1, field 'rewards': holds 1 rewards for 2 responses",
    ),
    case(
        "more held out than there are",
        None,
        [*PREPARE, "--heldout", "out-2", *sets("prepare.heldout=10")],
        "prompts.jsonl: holds 10 distinct prompts, of which heldout = 10 ... Lower heldout",
    ),
    case(
        "held out without a place",
        None,
        [*PREPARE, *sets("prepare.heldout=2")],
        "heldout = 2, but no path for held-out prompts ... Give both or neither",
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
