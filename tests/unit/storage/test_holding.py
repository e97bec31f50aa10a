"""Runs in a store and the processes at work on them, against moto's S3 server over HTTP."""

import json
import subprocess
import sys
from dataclasses import asdict, replace
from typing import Any

import pytest
from stored_artifacts import BUCKET, keys

from larpo_lib.errors import HeldError
from larpo_lib.holder import Holder
from larpo_lib.storage import holding
from larpo_lib.storage.failures import ConditionalPutError
from larpo_lib.storage.holding import exclusive_run

URI, KEY = f"s3://{BUCKET}/runs/x", "runs/x/.run.holder"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock of a store ticks once a second."""
    monkeypatch.setattr(holding, "BEAT_S", 0.3)
    monkeypatch.setattr(holding, "STALE_S", 2.0)


def left_by(s3: Any, **changes: Any) -> Holder:
    holder = replace(Holder.here(), **changes)
    s3.put_object(Bucket=BUCKET, Key=KEY, Body=json.dumps(asdict(holder)).encode())
    return holder


def dead_pid() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def test_a_second_process_is_refused_and_told_of_the_first(s3: Any) -> None:
    with exclusive_run(URI) as lock:
        for _ in range(2):
            with pytest.raises(HeldError) as caught, exclusive_run(URI):
                raise AssertionError
            assert str(caught.value).startswith(f"{URI}: another process is writing it ({lock.holder}). Wait until")
        assert keys(s3) == {KEY}
    assert keys(s3) == set()
    with exclusive_run(URI):
        pass


def test_a_killed_process_of_this_machine_is_not_waited_for(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    left_by(s3, pid=dead_pid())
    monkeypatch.setattr(holding, "STALE_S", 3600.0)
    with exclusive_run(URI) as lock:
        assert not lock.is_lost()


def test_another_machine_is_waited_for_until_it_gives_no_sign_of_life(s3: Any) -> None:
    other = left_by(s3, machine="there", host="there")
    with exclusive_run(URI) as lock:
        assert lock.holder != other
        left_by(s3, machine="there")
        assert lock.is_lost()
    assert keys(s3) == {KEY}  # of the other one, which began anew


def test_another_machine_at_work_is_told(s3: Any) -> None:
    """A process that renews what it holds, here from a machine of another name."""
    with exclusive_run(URI) as lock:
        there = replace(lock.holder, machine="there", host="there")
        object.__setattr__(lock, "holder", there)
        note: Any = lock.note
        note.renew = lambda _text: note._put(json.dumps(asdict(there)))
        note.renew("")
        with pytest.raises(HeldError, match=r"runs/x: another process is writing it \(process \d+ on there, since"), \
             exclusive_run(URI):  # fmt: skip
            raise AssertionError
        s3.delete_object(Bucket=BUCKET, Key=KEY)


def test_a_store_without_conditions_is_used_without_them(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    put = holding._StoreNote._put

    def refuse(note: Any, text: str, *, only_new: bool = False) -> None:
        if only_new:
            raise ConditionalPutError("not known")
        put(note, text)

    monkeypatch.setattr(holding._StoreNote, "_put", refuse)
    with exclusive_run(URI), pytest.raises(HeldError), exclusive_run(URI):
        raise AssertionError
    assert keys(s3) == set()
