import errno
import resource
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from table_rows import ranked

from larpo_lib.errors import ArtifactError, DataError, StorageError
from larpo_lib.row_groups import RowGroups
from larpo_lib.schemas import SCHEMAS, candidate_id, prompt_id
from larpo_lib.tables import ROW_GROUP, PromptTable, concat_tables, read_table, rewards_and_lengths, write_table
from larpo_lib.thinking import without_thoughts


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


def test_lengths_are_counted_in_characters(tmp_path: Path) -> None:
    rows = [ranked("x", text, reward) for text, reward in (("", 0.5), ("äöü", -1.0), ("a 😀 b", 2.0))]
    write_table(tmp_path / "ranked.parquet", "ranked", rows)
    assert [found.tolist() for found in rewards_and_lengths(tmp_path, str)] == [[0.5, -1.0, 2.0], [0, 3, 5]]


def test_lengths_are_those_of_what_was_scored(tmp_path: Path) -> None:
    rows = [ranked("x", text, 0.5) for text in ("<think>long</think>\nno", "<think>cut", "äöü")]
    write_table(tmp_path / "ranked.parquet", "ranked", rows)
    assert rewards_and_lengths(tmp_path, without_thoughts)[1].tolist() == [2, 0, 3]


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
        write_table(part, "prompts", rows, {"dropped": len(rows)})
    assert concat_tables(parts, "prompts", tmp_path / "whole.parquet") == {"dropped": 3}
    assert read_table(tmp_path / "whole.parquet", "prompts") == [prompt(3), prompt(1), prompt(2)]
    concat_tables([], "prompts", tmp_path / "none.parquet")
    assert read_table(tmp_path / "none.parquet", "prompts") == []


def test_counts_are_summed_and_kept_for_the_next_join(tmp_path: Path) -> None:
    parts = [tmp_path / f"part-{i}.parquet" for i in range(2)]
    write_table(parts[0], "prompts", [prompt(0)], {"a": 1})
    write_table(parts[1], "prompts", [prompt(1)], {"a": 2, "b": 0})
    joined = tmp_path / "joined.parquet"
    assert concat_tables(parts, "prompts", joined) == {"a": 3, "b": 0}
    assert concat_tables([joined, joined], "prompts", tmp_path / "again.parquet") == {"a": 6, "b": 0}


def test_rows_of_a_prompt_are_found_wherever_they_lie(tmp_path: Path) -> None:
    """Three rows a prompt, prompts in order but for one of them, over several row groups and across their borders."""
    count = ROW_GROUP + 10
    rows = [prompt(i % count, source=str(i // count)) for i in range(3 * count)]
    table = tmp_path / "prompts.parquet"
    write_table(table, "prompts", [*sorted(rows, key=lambda row: row["prompt_id"])[1:], prompt(0, source="0")])
    assert pq.ParquetFile(table).num_row_groups == 4
    found = PromptTable(table, "prompts")
    assert (len(found), found.num_rows) == (count, 3 * count)
    assert list(found) == sorted(row["prompt_id"] for row in rows[:count])
    for number in (count - 1, 5, 341, 0, 700):
        sources = ["1", "2", "0"] if number == 0 else ["0", "1", "2"]
        assert found[f"p{number}"] == [prompt(number, source=source) for source in sources]
    assert found.row_numbers("p1") == [2, 3, 4]
    assert "stranger" not in found
    assert PromptTable(table, "prompts", ["reference"])["p7"] == 3 * [{"reference": "7"}]


def test_few_row_groups_are_held(tmp_path: Path) -> None:
    table = tmp_path / "prompts.parquet"
    write_table(table, "prompts", (prompt(i) for i in range(10 * ROW_GROUP)))
    found = PromptTable(table, "prompts")
    assert sum(len(found[prompt_id]) for prompt_id in found) == 10 * ROW_GROUP
    assert len(found._groups._groups.kept) < 10


def scattered(table: Path, count: int) -> list[str]:
    """Prompts of a table of `count` rows, in an order in which each lies in another row group than the one before."""
    write_table(table, "prompts", (prompt(i) for i in range(count)))
    return [f"p{number}" for start in range(700) for number in range(start, count, 700)]


def test_rows_in_any_order_do_not_read_the_row_groups_again_and_again(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    asked = scattered(tmp_path / "prompts.parquet", 6 * ROW_GROUP + 10)
    read: list[int] = []
    original = pq.ParquetFile.read_row_group
    monkeypatch.setattr(
        pq.ParquetFile, "read_row_group", lambda *given, **named: read.append(given[1]) or original(*given, **named)
    )
    found = PromptTable(tmp_path / "prompts.parquet", "prompts", ["reference"])
    assert [found[prompt_id] for prompt_id in asked] == [[{"reference": prompt_id[1:]}] for prompt_id in asked]
    assert len(read) < 5 * 7  # once for the ids
    assert not list((tmp_path / "tmp").iterdir())


def test_no_room_for_a_copy_is_told(tmp_path: Path, monkeypatch: Any) -> None:
    asked = scattered(tmp_path / "prompts.parquet", 6 * ROW_GROUP)
    found = PromptTable(tmp_path / "prompts.parquet", "prompts")

    def full(*_: Any, **__: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(StorageError, match=r"no room for a copy .* No space left .* set TMPDIR"):
        _ = [found[prompt_id] for prompt_id in asked]


def test_damage_behind_the_first_rows_is_told_when_it_is_met(tmp_path: Path) -> None:
    table = tmp_path / "prompts.parquet"
    write_table(table, "prompts", [prompt(i, reference=str(i * 7919)) for i in range(3 * ROW_GROUP)])
    group = pq.ParquetFile(table).metadata.row_group(2)
    place = next(c for c in map(group.column, range(group.num_columns)) if c.path_in_schema == "reference")
    data = bytearray(table.read_bytes())
    data[place.data_page_offset + 100] ^= 0xFF  # behind the header of the page
    table.write_bytes(data)
    found = PromptTable(table, "prompts")
    assert found["p0"] == [prompt(0, reference="0")]
    with pytest.raises(ArtifactError, match="cannot be read as Parquet"):
        _ = found[f"p{3 * ROW_GROUP - 1}"]


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
    with pytest.raises(ArtifactError, match=r"nowhere: no such file\. Use .* contains prompts\.parquet"):
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
    with pytest.raises(ArtifactError, match=r"contains 'prompts', not 'lists'\. Use the artifact of the previous step"):
        read_table(table, "lists")


def test_other_schema_version_is_refused(table: Path) -> None:
    metadata = {b"larpo.schema": b"prompts", b"larpo.version": b"99"}
    rewritten(table, lambda content: content.replace_schema_metadata(metadata))
    with pytest.raises(
        ArtifactError, match=r"schema version 99, but this version of larpo reads schema version 2\. Make"
    ):
        read_table(table, "prompts")


def test_parquet_from_elsewhere_is_refused(table: Path) -> None:
    rewritten(table, lambda content: content.replace_schema_metadata(None))
    with pytest.raises(ArtifactError, match="contains 'none', not 'prompts'"):
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


def test_more_parts_than_files_may_be_open_are_joined(tmp_path: Path) -> None:
    parts = [tmp_path / f"part-{i}.parquet" for i in range(40)]
    for i, part in enumerate(parts):
        write_table(part, "prompts", [prompt(i)], {"made": 1})
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    open_now = max(int(file.name) for file in Path("/proc/self/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_now + 20, limits[1]))
    try:
        assert concat_tables(parts, "prompts", tmp_path / "whole.parquet") == {"made": 40}
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert read_table(tmp_path / "whole.parquet", "prompts") == [prompt(i) for i in range(40)]


def test_whether_a_prompt_is_there_is_known_without_its_rows(tmp_path: Path, monkeypatch: Any) -> None:
    write_table(tmp_path / "prompts.parquet", "prompts", ROWS)
    found = PromptTable(tmp_path / "prompts.parquet", "prompts")
    monkeypatch.delattr(RowGroups, "rows")
    assert [name in found for name in ("p0", "p2", "p", "p3", "", 0)] == [True, True, False, False, False, False]
