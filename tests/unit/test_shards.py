import logging
import os
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from table_rows import candidate

from larpo_lib import progress as progress_module
from larpo_lib.batches import in_batches
from larpo_lib.config.mixins import InParts
from larpo_lib.errors import ConfigError, LarpoError
from larpo_lib.progress import tell
from larpo_lib.shards import Shard, map_in_parts
from larpo_lib.tables import read_table


def _row(item):
    return candidate(f"p{item}", str(item), candidate_id=f"c{item}", token_ids=[item], num_tokens=1)


class Maker:
    """Makes a row of every even item and two of every odd one; fails once it has made `shards`."""

    opened = 0

    @contextmanager
    def open(self):
        self.opened += 1
        yield self

    def __init__(self, shards=100):
        self.made = []
        self._left = shards

    def __call__(self, items):
        if not self._left:
            raise KeyboardInterrupt
        self._left -= 1
        self.made.append(list(items))
        return [_row(item) for item in items for _ in range(1 + item % 2)], {"items": len(items)}


@pytest.fixture
def run(tmp_path):
    def run(make, name="out", items=range(10), size=3):
        scratch, output = tmp_path / f"{name}-scratch", tmp_path / f"{name}.parquet"
        scratch.mkdir(exist_ok=True)
        options = {"schema": "candidates", "scratch": scratch, "output": output}
        run.counts = map_in_parts("test", list(items), InParts(part_prompts=size), make.open, **options)
        return output

    return run


def test_batches_of_a_part_are_shown_and_kept_when_it_is_stopped(run, caplog, monkeypatch):
    monkeypatch.setattr(progress_module, "_LINE_EVERY_S", 0.0)
    caplog.set_level(logging.INFO)
    made = []

    class InBatches(Maker):
        def __call__(self, items):
            def work(batch):
                if len(made) == stop_after:
                    raise KeyboardInterrupt
                made.append(list(batch))
                return [items[i] for i in batch]

            found = in_batches([[0, 1], [2]], work, items.__getitem__)
            return [_row(found[i]) for i in range(3)], {"items": 3}

    stop_after = 3
    with pytest.raises(KeyboardInterrupt):
        run(InBatches(), items=range(6))
    assert [text.split(",")[0] for text in caplog.messages] == [
        *("test: 2/6", "test: 3/6", "test: 3/6", "test: 5/6"),
        "test: stopped. What is finished is kept; the same command goes on from there",
    ]
    stop_after = 100
    output = run(InBatches(), items=range(6))
    assert made == [[0, 1], [2], [0, 1], [2]]  # of the second part one batch is left
    assert [row["candidate_id"] for row in read_table(output, "candidates")] == [f"c{i}" for i in range(6)]


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


def test_a_shard_with_a_flipped_bit_is_made_again(run, tmp_path, caplog):
    expected = run(Maker(), "whole").read_bytes()
    with pytest.raises(KeyboardInterrupt):
        run(Maker(shards=2))
    part = tmp_path / "out-scratch" / "part-000000000.parquet"
    data = part.read_bytes()
    part.write_bytes(data.replace(b"c2", b"c3", 1))  # a text that is as good as the one before, for all Parquet knows
    again = Maker()
    assert run(again).read_bytes() == expected
    assert again.made == [[0, 1, 2], [6, 7, 8], [9]]
    assert f"{part}: differs from its checksum, and is made again" in caplog.messages


def test_finished_shards_are_not_made_again(run):
    run(Maker())
    again = Maker(shards=0)
    run(again)
    assert again.opened == 0
    assert run.counts == {"items": 10}


def test_no_items_give_an_empty_table(run):
    assert read_table(run(Maker(), items=[]), "candidates") == []


def test_parts_without_rows_are_kept_as_such(run):
    class Nothing(Maker):
        def __call__(self, items):
            return [], {"dropped": len(items)}

    assert read_table(run(Nothing()), "candidates") == []
    assert run.counts == {"dropped": 10}


def test_the_bytes_do_not_depend_on_the_size_of_the_parts(run):
    sizes = (7, 500, 5000)
    assert len({run(Maker(1000), str(size), items=range(3000), size=size).read_bytes() for size in sizes}) == 1


def test_progress_counts_what_was_done_before(run, caplog):
    with pytest.raises(KeyboardInterrupt):
        run(Maker(shards=2))
    run(Maker())
    assert caplog.messages[-1].startswith("test: 10/10 in ")


@given(st.integers(0, 40), st.integers(1, 12))
def test_shards_are_all_items_in_order_and_of_like_size(items, count):
    shards = [Shard(i, count).of(range(items)) for i in range(count)]
    assert [item for shard in shards for item in shard] == list(range(items))
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


@pytest.mark.parametrize("text", ["", "1", "4/4", "-1/4", "1/0", "a/b", "0/4/2"])
def test_a_shard_that_is_none_is_refused(text):
    with pytest.raises(ConfigError, match="is not in the form i/n"):
        Shard.parse(text)


def test_a_shard_by_its_name():
    assert Shard.parse("3/8") == Shard(3, 8)
    assert Shard.parse("3/8").argument() == {"shard": "3/8"}
    assert Shard.parse("0/1").argument() == {}


@contextmanager
def working(folder: Path, slow: int):
    """Work in processes of their own; each notes in `folder` that it was opened."""
    (folder / f"opened-{os.getpid()}").touch()
    tell("opened")

    def make(items):
        if slow in items:
            time.sleep(1.5)
        return [_row(item) for item in items], {"items": len(items)}

    yield make


@contextmanager
def refusing(message: str | None):
    def make(items):
        if 6 in items:
            if message is None:
                os._exit(7)
            raise LarpoError(message) if message else ZeroDivisionError("by nothing")
        return [_row(item) for item in items], {}

    yield make


def _in_processes(tmp_path, open_work, processes, name="out"):
    scratch, output = tmp_path / f"{name}-scratch", tmp_path / f"{name}.parquet"
    scratch.mkdir(exist_ok=True)
    options = {"schema": "candidates", "scratch": scratch, "output": output}
    config = InParts(part_prompts=2, processes=processes)
    return map_in_parts("test", list(range(12)), config, open_work, **options), output, scratch


def test_processes_make_the_same_bytes_and_share_the_work(tmp_path, capfd):
    counts, one, _ = _in_processes(tmp_path, partial(working, tmp_path, -1), 1, "one")
    (tmp_path / f"opened-{os.getpid()}").unlink()
    _, two, _ = _in_processes(tmp_path, partial(working, tmp_path, 0), 2, "two")
    assert counts == {"items": 12}
    assert two.read_bytes() == one.read_bytes()
    assert len(list(tmp_path.glob("opened-*"))) == 2
    assert capfd.readouterr().err == "opened\n" * 2, "notices of the processes are shown"


@pytest.mark.parametrize(
    ("message", "error", "told"),
    [
        ("no more", LarpoError, "no more"),
        ("", RuntimeError, "ZeroDivisionError: by nothing"),
        (None, LarpoError, "ended with exit code 7"),
    ],
)
def test_what_a_process_says_when_it_fails_is_told_and_the_rest_stays(tmp_path, message, error, told):
    with pytest.raises(error, match=told):
        _in_processes(tmp_path, partial(refusing, message), 2)
    done = len(list((tmp_path / "out-scratch").glob("part-*")))
    assert done >= 1
    _, output, _ = _in_processes(tmp_path, partial(working, tmp_path, -1), 2)
    assert len(read_table(output, "candidates")) == 12
