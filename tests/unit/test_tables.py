from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from larpo_lib.errors import ArtifactError, DataError
from larpo_lib.schemas import SCHEMAS, candidate_id, prompt_id
from larpo_lib.tables import concat_tables, read_table, write_table


def prompt(number: int, **changes: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": f"What is {number}? — {chr(0x1F600)}"}]
    return {"prompt_id": f"p{number}", "messages": messages, "reference": str(number), "source": "test"} | changes


ROWS = [prompt(0), prompt(1, reference=None), prompt(2, messages=[])]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.parquet"
    write_table(path, "prompts", ROWS)
    return path


def test_rows_come_back_as_they_were_written(table: Path) -> None:
    assert read_table(table, "prompts") == ROWS
    assert read_table(table.parent, "prompts") == ROWS
    assert read_table(table, "prompts", ["reference", "prompt_id"])[1] == {"reference": None, "prompt_id": "p1"}


@pytest.mark.parametrize("schema", sorted(SCHEMAS))
def test_a_table_without_rows_is_a_table(tmp_path: Path, schema: str) -> None:
    write_table(tmp_path / "t.parquet", schema, [])
    assert read_table(tmp_path / "t.parquet", schema) == []


def test_same_rows_give_the_same_bytes(table: Path) -> None:
    again = table.with_name("again.parquet")
    write_table(again, "prompts", [dict(reversed(row.items())) for row in ROWS])
    assert again.read_bytes() == table.read_bytes()


def test_parts_are_joined_in_their_order(tmp_path: Path) -> None:
    parts = [tmp_path / f"part-{i}.parquet" for i in range(3)]
    for part, rows in zip(parts, ([prompt(3)], [], [prompt(1), prompt(2)]), strict=True):
        write_table(part, "prompts", rows)
    assert concat_tables(parts, "prompts", tmp_path / "whole.parquet") == 3
    assert read_table(tmp_path / "whole.parquet", "prompts") == [prompt(3), prompt(1), prompt(2)]
    concat_tables([], "prompts", tmp_path / "none.parquet")
    assert read_table(tmp_path / "none.parquet", "prompts") == []


@pytest.mark.parametrize(
    ("row", "field"),
    [
        (prompt(1, prompt_id=None), "prompt_id"),
        ({"prompt_id": "p1"}, "messages"),
        (prompt(1, messages=None), "messages"),
    ],
)
def test_null_is_refused_with_its_place(tmp_path: Path, row: dict[str, Any], field: str) -> None:
    with pytest.raises(DataError) as caught:
        write_table(tmp_path / "t.parquet", "prompts", [prompt(0), row])
    assert (caught.value.row, caught.value.field) == (1, field)
    assert not (tmp_path / "t.parquet").exists()


def rewritten(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    pq.write_table(change(pq.read_table(path)), path)


def test_missing_file_is_told_with_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"nowhere: no such file\. Expected .* holds prompts\.parquet"):
        read_table(tmp_path / "nowhere", "prompts")
    with pytest.raises(ArtifactError, match=r"lists\.parquet: no such file"):
        read_table(tmp_path, "lists")


@pytest.mark.parametrize("content", [b"", b"PAR1", b"no parquet at all", b"PAR1" + bytes(100) + b"PAR1"])
def test_file_that_is_no_parquet_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "prompts.parquet").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"prompts\.parquet: cannot be read as Parquet"):
        read_table(tmp_path, "prompts")


def test_every_torn_file_is_told(table: Path) -> None:
    whole = table.read_bytes()
    for length in range(0, len(whole), 97):
        table.write_bytes(whole[:length])
        with pytest.raises(ArtifactError, match="cannot be read as Parquet"):
            read_table(table, "prompts")


def test_no_flipped_bit_goes_unnoticed(table: Path) -> None:
    whole = table.read_bytes()
    refused = 0
    for place in range(0, len(whole), 5):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8  # every bit has its turn
        table.write_bytes(damaged)
        try:
            assert read_table(table, "prompts") == ROWS
        except ArtifactError:
            refused += 1
    assert refused > len(whole) / 10


def test_other_table_is_refused(table: Path) -> None:
    with pytest.raises(ArtifactError, match=r"holds 'prompts', not 'lists'\. Give the artifact of the step before"):
        read_table(table, "lists")


def test_other_schema_version_is_refused(table: Path) -> None:
    metadata = {b"larpo.schema": b"prompts", b"larpo.version": b"99"}
    rewritten(table, lambda content: content.replace_schema_metadata(metadata))
    with pytest.raises(ArtifactError, match=r"schema version 99, but this larpo reads version 1\. Make"):
        read_table(table, "prompts")


def test_parquet_from_elsewhere_is_refused(table: Path) -> None:
    rewritten(table, lambda content: content.replace_schema_metadata(None))
    with pytest.raises(ArtifactError, match="holds 'none', not 'prompts'"):
        read_table(table, "prompts")


def test_other_columns_are_refused(table: Path) -> None:
    rewritten(table, lambda content: content.drop_columns(["source"]))
    with pytest.raises(ArtifactError, match=r"columns \['prompt_id', 'messages', 'reference'\] are not those"):
        read_table(table, "prompts")


def test_identity_tells_prompts_and_responses_apart() -> None:
    one = [{"role": "user", "content": "a"}]
    assert prompt_id(one) == prompt_id([{"content": "a", "role": "user"}])
    others = ([{"role": "system", "content": "a"}], [{"role": "user", "content": "b"}], one * 2, [])
    assert len({prompt_id(messages) for messages in (one, *others)}) == 5
    assert candidate_id("p", "x") == candidate_id("p", "x")
    assert len({candidate_id("p", "x"), candidate_id("p", "y"), candidate_id("q", "x")}) == 3
