"""Sources that are larger than what is held of them: the same rows come out, and few are in memory."""

import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from raw_rows import USUAL, user

from larpo_lib.artifacts import read_metrics
from larpo_lib.config import PrepareConfig
from larpo_lib.row_groups import RowsOnDisk
from larpo_lib.schemas import prompt_id
from larpo_lib.sources.conversion import ranked
from larpo_lib.sources.locating import locate
from larpo_lib.sources.reading import Raw, RawRow, Streamed
from larpo_lib.steps import prepare

PROMPTS, RESPONSES = 50, 12


def rows() -> list[dict[str, Any]]:
    """Responses to many prompts, in any order; every 30th repeats an earlier one with another reward."""
    draw = random.Random(7)
    found = [
        {"prompt": f"p{p}", "response": f"r{r}", "reward": r % 5} for p in range(PROMPTS) for r in range(RESPONSES)
    ]
    draw.shuffle(found)
    return found + [{**row, "reward": 9} for row in found[::30]]


def test_responses_that_stand_apart_are_put_together_by_prompt(tmp_path: Path) -> None:
    source = tmp_path / "rows.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows()))
    metrics = prepare.ranked(PrepareConfig(source=str(source)), prompts=tmp_path / "p", ranked=tmp_path / "r")
    expected: dict[str, dict[str, float]] = {}
    for row in rows():
        expected.setdefault(prompt_id(user(row["prompt"])), {}).setdefault(row["response"], row["reward"])
    found = pq.read_table(tmp_path / "r" / "ranked.parquet").to_pylist()
    assert [(row["prompt_id"], row["response"], row["reward"]) for row in found] == [
        (name, response, reward) for name in sorted(expected) for response, reward in expected[name].items()
    ]
    assert {(row["reward"], row["rank"]) for row in found} == {(4, 1), (3, 3), (2, 5), (1, 7), (0, 10)}
    assert metrics == read_metrics(tmp_path / "p")
    counted = {"rows_read": 620, "duplicates_dropped": 20, "reward_conflicts": 20, "prompts": 50, "responses": 600}
    assert counted.items() <= metrics.items()


def test_rows_are_read_one_after_another_and_held_nowhere(tmp_path: Path) -> None:
    alive = most = 0

    class Watched(dict[str, Any]):
        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    def read() -> Any:
        nonlocal alive, most
        for number in range(1000):
            alive, most = alive + 1, max(most, alive + 1)
            yield RawRow(number, Watched(prompt=f"p{number}", responses=["a", "b"], rewards=[1, 0]))

    found = ranked(Raw("x", "x", Streamed(read)), USUAL)
    assert (len(found.tables["prompts"]), len(found.tables["ranked"]), most < 4) == (1000, 2000, True)


def test_a_file_is_read_when_its_rows_are(tmp_path: Path) -> None:
    source = tmp_path / "rows.jsonl"
    source.write_text('{"prompt": "a"}\n' * 3)
    raw = locate(str(source), source, "train").read()
    source.write_text('{"prompt": "b"}\n')
    assert [[row.values["prompt"] for row in raw.rows] for _ in range(2)] == [["b"], ["b"]]


def test_rows_on_disk_are_read_by_their_numbers() -> None:
    schema = pa.schema([("n", pa.int64()), ("texts", pa.list_(pa.string()))])
    kept, whole = RowsOnDisk(schema), [{"n": n, "texts": [str(n)] * (n % 3)} for n in range(1000)]
    for row in whole:
        kept.append(row)
    assert len(kept) == 1000
    assert len(kept._last) < 64
    assert [*kept.rows(0, 1000)] == whole
    assert [*kept.rows(63, 65)] == whole[63:65]
    assert [*kept.rows(950, 1000)] == whole[950:]
    assert [kept.at(n) for n in (999, 5, 960, 64, 0)] == [whole[n] for n in (999, 5, 960, 64, 0)]


def test_the_identity_of_a_data_set_is_that_of_all_its_rows_at_once() -> None:
    found = ranked(Raw("x", "x", [RawRow(n, row) for n, row in enumerate(rows())]), USUAL)
    tables = {name: [*table] for name, table in found.tables.items()}
    whole = json.dumps([tables, found.counts], sort_keys=True, default=repr)
    assert "".join(prepare._as_json(found)) == whole
