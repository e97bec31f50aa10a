"""Values of kept columns arrive as they stand in the source, with their types, whatever one type Arrow has for them."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from table_rows import candidate, with_table

from larpo_lib import Artifact
from larpo_lib.config import PrepareConfig, RerankConfig
from larpo_lib.errors import DataError
from larpo_lib.metadata import Asked, kept_columns
from larpo_lib.rewards.references import require_references
from larpo_lib.rewards.rerankers.function import FunctionRerankerConfig
from larpo_lib.rewards.rerankers.ifeval import IfevalConfig
from larpo_lib.steps import prepare, rerank
from larpo_lib.tables import read_table, write_table

COLUMNS: dict[str, str] = {
    "objects": '[{"a": 1}, {"b": "x"}, {}]',
    "order": '[{"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": 1, "b": 2}]',
    "numbers": "[42, 2.5, 7]",
    "in_lists": "[[1], [2.5, 1], []]",
    "several_types": '[1, "hard", [true]]',
    "truths": "[true, 1, 0]",
    "empty": "[{}, {}, {}]",
    "empty_in_lists": "[[{}], [{}], [{}]]",
    "large": "[18446744073709551616, 1, 2]",
    "larger_than_a_fraction_holds": "[9007199254740993, 0.5, 1]",
    "not_a_number": "[NaN, 1, null]",
    "infinite": "[Infinity, -Infinity, -0.0]",
    "half_a_pair": '["\\ud800", "a", null]',
    "schema": '[{"properties": {"x": {"type": "string"}}}, {"properties": {"y": {"type": "integer"}}}, null]',
    "nothing": "[null, null, null]",
    "plain": "[12345678901234567, 1, -3]",
    "text": '["007", "{}", "null"]',
    "same_keys": '[{"a": 1, "b": [1]}, {"a": 2, "b": []}, {"a": 3, "b": [4, 5]}]',
}
"""Three values of a column, as JSON."""

TYPED = {"infinite", "nothing", "plain", "text", "same_keys"}


def prepared(place: Path, rows: list[dict[str, Any]], keep: Any = "all") -> Path:
    place.mkdir()
    (place / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = {"source": str(place / "rows.jsonl"), "columns": {"keep": keep}}
    prepare.run(PrepareConfig.model_validate(source), prompts=place / "prompts")
    return place / "prompts"


def given(prompts: Path) -> dict[str, dict[str, Any]]:
    """What functions are given, by the prompt's text."""
    rows = Asked(prompts).of([row["prompt_id"] for row in read_table(prompts, "prompts")])
    return {row["messages"][-1]["content"]: row["columns"] for row in rows.values()}


def test_every_value_arrives_as_json_has_it(tmp_path: Path) -> None:
    by_name = {name: json.loads(text) for name, text in COLUMNS.items()}
    rows = [{"prompt": f"p{i}", **{name: values[i] for name, values in by_name.items()}} for i in range(3)]
    prompts = prepared(tmp_path / "p", rows)
    found = given(prompts)
    for name, values in by_name.items():
        # As repr tells them: it knows 1, 1.0 and True apart, and the order of keys.
        assert [repr(found[f"p{i}"][name]) for i in range(3)] == [repr(value) for value in values], name
    fields = pq.read_schema(prompts / "metadata.parquet").field("columns").type
    assert {field.name for field in fields if not field.metadata} == TYPED
    assert kept_columns(prompts) == [*COLUMNS]
    frame = Artifact.open(prompts).table("metadata")
    texts = {row["prompt_id"]: row["messages"][-1]["content"] for row in read_table(prompts, "prompts")}
    for prompt_id, columns in zip(frame["prompt_id"], frame["columns"], strict=True):
        for name in ("objects", "numbers", "empty", "text"):
            assert repr(columns[name]) == repr(found[texts[prompt_id]][name])


@pytest.mark.parametrize(
    ("body", "column", "values", "responses"),
    [
        (  # the share of the expected fields that a response states
            "[sum(f'{k}={v}' in r for k, v in e.items()) / len(e) for r, e in zip(responses, expected)]",
            "expected",
            [{"f0": 0}, {"f1": 1}, {"f2": 2}, {"f3": 3}],
            ["f0=0", "f1=1", "f2=2", "f3=3"],
        ),
        (
            "[float(str(e) in r.split()) for r, e in zip(responses, expected)]",
            "expected",
            [42, 7, 2.5],
            ["It is 42", "It is 7", "It is 2.5"],
        ),
    ],
)
def test_rewards_are_those_of_the_values_in_the_file(
    tmp_path: Path, body: str, column: str, values: list[Any], responses: list[str]
) -> None:
    prompts = prepared(tmp_path / "p", [{"prompt": f"p{i}", column: value} for i, value in enumerate(values)])
    ids = {row["messages"][-1]["content"]: row["prompt_id"] for row in read_table(prompts, "prompts")}
    rows = [candidate(ids[f"p{i}"], text, 0) for i, text in enumerate(responses)]
    candidates = with_table(tmp_path / "candidates", "candidates", sorted(rows, key=lambda row: row["prompt_id"]))
    (tmp_path / "r.py").write_text(f"def f(responses, {column}):\n    return {body}\n")
    reranker = FunctionRerankerConfig(target=f"{tmp_path}/r.py:f")
    rerank.run(RerankConfig(reranker=reranker), prompts=prompts, candidates=[candidates], ranked=tmp_path / "ranked")
    assert [row["reward"] for row in read_table(tmp_path / "ranked", "ranked")] == [1.0] * len(values)


def test_ifeval_reads_keywords_that_are_all_empty(tmp_path: Path) -> None:
    """`[{}]` is what its authors' file has for instructions without keywords."""
    row = {"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
    prompts = prepared(tmp_path / "p", [{"prompt": f"p{i}", **row} for i in range(2)], sorted(row))
    require_references(prompts, IfevalConfig())
    assert [*given(prompts).values()] == [row, row]


NANOSECONDS = {
    "naive": [pd.Timestamp(2_001), None],
    "in_berlin": [pd.Timestamp(2_001, tz="Europe/Berlin"), pd.Timestamp(1, tz="Europe/Berlin")],
    "duration": [pd.Timedelta(2_001), pd.Timedelta(0)],
    "whole": [pd.Timestamp(2_000), pd.Timestamp(0)],
}


def test_times_keep_their_nanoseconds(tmp_path: Path) -> None:
    """Arrow infers microseconds; pandas' times have nanoseconds."""
    columns = {name: pa.Array.from_pandas(pd.Series(values)) for name, values in NANOSECONDS.items()}
    assert all("[ns" in str(column.type) for column in columns.values())
    pq.write_table(pa.table({"prompt": ["p0", "p1"], **columns}), tmp_path / "rows.parquet")
    source = {"source": str(tmp_path / "rows.parquet"), "columns": {"keep": "all"}}
    prepare.run(PrepareConfig.model_validate(source), prompts=tmp_path / "prompts")
    found = given(tmp_path / "prompts")
    assert {name: [found["p0"][name], found["p1"][name]] for name in NANOSECONDS} == NANOSECONDS


def test_what_neither_arrow_nor_json_gives_back_is_left_out_and_told_unless_it_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Arrow infers microseconds for times in lists, too."""
    caplog.set_level("INFO")
    times = pa.array([[pd.Timestamp(2_001)]], pa.list_(pa.timestamp("ns")))
    pq.write_table(pa.table({"prompt": ["p0"], "at": times, "level": [1]}), tmp_path / "some.parquet")
    pq.write_table(pa.table({"prompt": ["p0"], "at": times}), tmp_path / "all.parquet")
    for name, kept in (("some", ["level"]), ("all", [])):
        source = {"source": str(tmp_path / f"{name}.parquet"), "columns": {"keep": "all"}}
        metrics = prepare.run(PrepareConfig.model_validate(source), prompts=tmp_path / name)
        assert (metrics["columns_kept"], metrics["columns_that_cannot_be_kept"]) == (len(kept), 1)
        assert kept_columns(tmp_path / name) == kept
        record = json.loads((tmp_path / name / "columns.json").read_text())
        assert (record["kept"], record["cannot_be_kept"]) == (kept, ["at"])
        assert f"{name}.parquet: columns left out for values that cannot be kept" in caplog.text
    assert given(tmp_path / "some") == {"p0": {"level": 1}}
    source = {"source": str(tmp_path / "some.parquet"), "columns": {"keep": ["level", "at"]}}
    told = r"some\.parquet, field 'at': its values cannot be kept as they are.*columns\.keep"
    with pytest.raises(DataError, match=told):
        prepare.run(PrepareConfig.model_validate(source), prompts=tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_columns_of_a_table_without_json_are_read_as_they_are(tmp_path: Path) -> None:
    """As tables were written that typed every column."""
    type_ = pa.struct([pa.field("about", pa.struct([pa.field("by", pa.string())])), pa.field("text", pa.string())])
    row = {"prompt_id": "a", "messages": [{"role": "user", "content": "p0"}], "reference": None, "source": "s"}
    write_table(tmp_path / "prompts.parquet", "prompts", [row])
    columns = {"about": {"by": None}, "text": "{}"}
    write_table(tmp_path / "metadata.parquet", "metadata", [{"prompt_id": "a", "columns": columns}], columns=type_)
    assert given(tmp_path) == {"p0": columns}
