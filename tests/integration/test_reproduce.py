"""A study from the command line: killed, gone on with, and what it leaves behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "unit" / "studies"))
from small_study import write_study


def _command(tmp_path: Path, *options: str) -> list[str]:
    study = tmp_path / "small.toml"
    return [
        sys.executable,
        "-m",
        "larpo_lib",
        "reproduce",
        str(study),
        "--out",
        str(tmp_path / "out"),
        "--seeds",
        "1",
        *options,
    ]


def _digests(results: Path) -> dict[str, str]:
    found = json.loads((results / "results.json").read_text())
    return {name: found[name] for name in ("rows", "orderings", "search", "start")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    place = tmp_path_factory.mktemp("whole")
    write_study(place)
    done = subprocess.run(_command(place), capture_output=True, text=True, check=True, env=os.environ)
    return place, done.stdout


def test_it_writes_a_table_figures_a_page_and_all_numbers(whole):
    place, printed = whole
    results = place / "out" / "results"
    assert sorted(path.name for path in results.iterdir()) == [
        "figure.png",
        "figure.svg",
        "results.json",
        "study.html",
        "table.txt",
    ]
    assert (results / "table.txt").read_text() in printed
    head, start, *rows = (results / "table.txt").read_text().splitlines()
    assert head.split()[:2] == ["objective", "accuracy"]
    assert start.startswith("start")
    assert [row.split()[0] for row in rows] == ["pairwise", "ListMLE"]
    found = json.loads((results / "results.json").read_text())
    assert found["seeds"] == 1
    assert {cell["chosen"] for cell in found["search"]["cells"]} <= {1e-5, 1e-4}
    page = (results / "study.html").read_text()
    assert "ListMLE above pairwise" in page
    assert "1.5" in (results / "table.txt").read_text()  # what the paper says of it


def test_what_cells_have_in_common_is_made_once(whole):
    place, _ = whole
    runs = place / "out" / "runs"
    first, second = (runs / f"{name}-seed0" / "sft" / "model.safetensors" for name in ("pairwise", "listmle"))
    assert first.samefile(second)
    searched = place / "out" / "search" / "runs" / "pairwise-1e_05-seed1000" / "sft" / "model.safetensors"
    assert not searched.samefile(first)  # another seed's


def test_killed_and_run_again_it_ends_with_the_same_numbers(whole, tmp_path):
    place, _ = whole
    write_study(tmp_path)
    process = subprocess.Popen(_command(tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 400
    while not list((tmp_path / "out" / "search" / "runs").glob("*/summary.json")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    subprocess.run(_command(tmp_path, "--jobs", "2"), capture_output=True, check=True)
    assert _digests(tmp_path / "out" / "results") == _digests(place / "out" / "results")


def test_a_dry_run_lists_the_runs_and_runs_none(tmp_path):
    write_study(tmp_path)
    done = subprocess.run(_command(tmp_path, "--dry-run"), capture_output=True, text=True, check=True)
    assert "2 runs" in done.stdout
    assert "chosen for each cell among 1e-05, 0.0001, with seed 1000" in done.stdout
    assert not (tmp_path / "out").exists()


def test_an_unknown_study_is_one_line(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "larpo_lib", "reproduce", "table9"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("larpo: there is no study 'table9'. Name one of fig3a")
