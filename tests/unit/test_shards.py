from __future__ import annotations

import pytest

from larpo_lib.schemas import STOP
from larpo_lib.shards import in_shards
from larpo_lib.tables import read_table


def _row(item):
    return {
        "prompt_id": f"p{item}",
        "candidate_id": f"c{item}",
        "iteration": 1,
        "sample_index": 0,
        "temperature": 1.0,
        "response": str(item),
        "token_ids": [item],
        "num_tokens": 1,
        "finish_reason": STOP,
        "policy": "policy",
    }


class Maker:
    """Makes a row of every even item and two of every odd one; fails once it has made `shards`."""

    def __init__(self, shards=100):
        self.made = []
        self._left = shards

    def __call__(self, items):
        if not self._left:
            raise KeyboardInterrupt
        self._left -= 1
        self.made.append(list(items))
        return [_row(item) for item in items for _ in range(1 + item % 2)]


@pytest.fixture
def run(tmp_path):
    def run(make, name="out", items=range(10), size=3):
        scratch, output = tmp_path / f"{name}-scratch", tmp_path / f"{name}.parquet"
        scratch.mkdir(exist_ok=True)
        in_shards("test", list(items), size, make, schema="candidates", scratch=scratch, output=output)
        return output

    return run


def test_shards_are_joined_in_order(run):
    make = Maker()
    rows = read_table(run(make), "candidates")
    assert make.made == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]
    assert rows == [_row(item) for item in range(10) for _ in range(1 + item % 2)]


def test_an_interrupted_run_goes_on_behind_its_last_whole_shard(run):
    expected = run(Maker(), "whole").read_bytes()
    first, second = Maker(shards=2), Maker()
    with pytest.raises(KeyboardInterrupt):
        run(first)
    output = run(second)
    assert first.made == [[0, 1, 2], [3, 4, 5]]
    assert second.made == [[6, 7, 8], [9]]
    assert output.read_bytes() == expected


def test_a_torn_shard_is_made_again(run, tmp_path):
    expected = run(Maker(), "whole").read_bytes()
    with pytest.raises(KeyboardInterrupt):
        run(Maker(shards=2))
    (tmp_path / "out-scratch" / ".part-000000006.parquet").write_bytes(b"torn")
    again = Maker()
    assert run(again).read_bytes() == expected
    assert again.made == [[6, 7, 8], [9]]


def test_finished_shards_are_not_made_again(run):
    run(Maker())
    again = Maker(shards=0)
    run(again)
    assert again.made == []


def test_no_items_give_an_empty_table(run):
    assert read_table(run(Maker(), items=[]), "candidates") == []


def test_shards_without_rows_are_kept_as_such(run):
    assert read_table(run(lambda _items: []), "candidates") == []


def test_progress_counts_what_was_done_before(run, capsys):
    with pytest.raises(KeyboardInterrupt):
        run(Maker(shards=2))
    run(Maker())
    assert capsys.readouterr().err.splitlines()[-1].startswith("test: 10/10 in ")
