"""What a campaign of faults counts as survived and as lost, what it draws, and what its servers do."""

import http.client
import random
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from chaos.__main__ import _drawn, _needed
from chaos.attempts import Attempt, End, Reference, conclude
from chaos.faults import KINDS
from chaos.outages import Switch, served
from chaos.sabotage import Sabotage
from chaos.steps import ALL, LISTS, LOCAL, TRAIN
from small_artifacts import OneSetting

from larpo_lib.artifacts import Metrics, WorkDir, produce


@pytest.mark.parametrize(
    ("end", "fault"),
    [
        (End(0, "12 rows\n"), ""),
        (End(-9, ""), ""),
        (End(143, "train: stopped.\n"), ""),
        (End(2, "larpo: out: the disk is full. Free some.\n"), ""),
        (End(2, "larpo: one\nlarpo: two\n"), "exit code 2 with 2 lines"),
        (End(2, "Usage: larpo\n"), "exit code 2 with 0 lines"),
        (End(1, "larpo: one\n"), "exit code 1"),
        (End(-11, ""), "exit code -11"),
        (End(None, ""), "no end"),
        (End(2, "Traceback (most recent call last):\nValueError: x\n"), "a traceback: ValueError: x"),
    ],
)
def test_a_process_must_go_on_or_be_stopped_or_refuse_in_one_line(end: End, fault: str) -> None:
    assert end.fault.startswith(fault)
    assert bool(end.fault) == bool(fault)


@dataclass
class Scripted(Attempt):
    """Writes an artifact in place of a step, and what else it is told to."""

    content: str = "right"
    stray: str = ""
    computed: int = 10

    def run(self, sabotage: Sabotage) -> End:
        def make(work: WorkDir) -> Metrics:
            (work.data / "file").write_text(self.content, "utf-8")
            return {}

        produce("scripted", OneSetting(), {}, self.here / self.step.output[1], make)
        if self.stray:
            (self.here / self.stray).mkdir()
        self.ends.append(End(0, ""))
        return self.ends[-1]

    def work(self) -> int:
        return self.computed


def scripted(folder: Path, reference: Reference | None, **what: object) -> Scripted:
    (folder / "here").mkdir(parents=True)
    nobody = Switch(lambda _environ, _start: [])
    return Scripted(1, TRAIN, random.Random(0), folder, folder, nobody, nobody, reference, **what)  # type: ignore[arg-type]


@pytest.fixture
def reference(tmp_path: Path) -> Reference:
    undisturbed = scripted(tmp_path / "undisturbed", None)
    undisturbed.run(Sabotage())
    return Reference(undisturbed.digests(), 100, 10, 1.0, 0)


@pytest.mark.parametrize(
    ("what", "lost"),
    [
        ({}, None),
        ({"computed": 15}, None),
        ({"computed": 16}, "60% of the work, where a stop may cost 50%"),
        ({"content": "other"}, "policy-1"),
        ({"stray": ".policy-1.partial"}, ".policy-1.partial is left"),
        ({"stray": ".policy-1.lock.holder"}, ".policy-1.lock.holder is left"),
    ],
)
def test_other_bytes_work_done_again_and_what_is_left_are_losses(
    tmp_path: Path, reference: Reference, what: dict[str, object], lost: str | None
) -> None:
    attempt = scripted(tmp_path / "fault", reference, **what)
    attempt.ends.append(End(-9, ""))
    assert conclude(attempt).lost == ([] if lost is None else [lost])


def test_a_fault_that_is_told_badly_is_not_survived(tmp_path: Path, reference: Reference) -> None:
    attempt = scripted(tmp_path / "fault", reference)
    attempt.ends.append(End(1, "Traceback\nKeyError: 'x'\n"))
    assert conclude(attempt).problem == "a traceback: KeyError: 'x'"


def test_a_damaged_output_is_a_loss(tmp_path: Path, reference: Reference) -> None:
    attempt = scripted(tmp_path / "fault", reference)
    attempt.run(Sabotage())
    (attempt.here / "policy-1" / "file").write_text("wrong", "utf-8")
    (lost,) = conclude(attempt).lost
    assert "policy-1/file: is missing or differs from its checksum" in lost


def test_two_hundred_faults_are_of_every_kind_in_every_step() -> None:
    drawn = _drawn(list(KINDS), list(ALL), 200, random.Random(0))
    assert len(drawn) == 200
    assert {kind.name for kind, _ in drawn} == {kind.name for kind in KINDS}
    assert {step.name for _, step in drawn} == {step.name for step in ALL}
    assert all(kind.happens_to(step) for kind, step in drawn)


def test_a_step_needs_those_that_make_what_it_reads() -> None:
    assert [step.name for step in _needed([LISTS])] == [
        "prepare", "prepare demonstrations", "sft", "sample", "rerank", "build-lists",
    ]  # fmt: skip
    assert _needed([LOCAL[-1]]) == [LOCAL[-1]]


@pytest.mark.parametrize(("how", "least_s"), [("busy", 0.0), ("hang", 0.1), ("cut", 0.0)])
def test_an_outage_begins_at_its_request_and_ends(how: str, least_s: float) -> None:
    def answer(_environ, start):
        start("200 OK", [("Content-Length", "4")])
        return [b"whole"[:4]]

    with served(answer) as switch:
        address = switch.url.removeprefix("http://")

        def ask() -> str:
            connection = http.client.HTTPConnection(address, timeout=5)
            try:
                connection.request("GET", "/")
                given = connection.getresponse()
                return f"{given.status} {given.read().decode()}"
            except (http.client.IncompleteRead, ConnectionError) as error:
                return type(error).__name__
            finally:
                connection.close()

        switch.set(how, at=2, seconds=0.1)
        assert ask() == "200 whol"
        start = time.monotonic()
        assert ask() == ("503 " if how == "busy" else "IncompleteRead")
        assert time.monotonic() - start >= least_s
        time.sleep(0.12)
        assert ask() == "200 whol"
        assert switch.requests == 3
