"""A study from the command line: killed, gone on with, and what it leaves behind."""

import functools
import json
import re
import shutil
import sys
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from unittest import mock

import pytest
from forked import forked_larpo
from tiny_world import Larpo

from larpo_lib.playground import world

sys.path.append(str(Path(__file__).parents[1] / "unit" / "studies"))
from mixeval_questions import completion, write_questions
from server_double import Reply, serve
from small_study import STUDY, write_study

pytestmark = pytest.mark.usefixtures("_one_store")


@pytest.fixture
def _one_store(mlflow_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """For all runs: making one for each takes seconds."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_uri)


@pytest.fixture(scope="module")
def small_worlds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder `worlds` of a study, with few problems and small policies; not to be written to."""
    worlds = tmp_path_factory.mktemp("small") / "worlds"
    make_policy = functools.partial(world.make_policy, hidden=32, layers=2, heads=2)
    with mock.patch.multiple(world, DEMONSTRATIONS=300, PROMPTS=48, HELDOUT=24, make_policy=make_policy):
        for seed in (0, 1000):
            world.make_world(worlds / f"seed{seed}", seed)
    return worlds


@pytest.fixture
def place(tmp_path: Path, small_worlds: Path) -> Path:
    """A folder for a study, whose worlds are there."""
    shutil.copytree(small_worlds, tmp_path / "out" / "worlds")
    return tmp_path


def _command(tmp_path: Path, *options: str) -> list[str]:
    study = tmp_path / "small.toml"
    return ["reproduce", str(study), "--out", str(tmp_path / "out"), "--seeds", "1", *options]


def _reproduce(tmp_path: Path, *options: str) -> str:
    """What a process of its own says that comes to its end."""
    output = tmp_path / "output"
    assert forked_larpo(*_command(tmp_path, *options), output=output).wait() == 0, output.read_text()
    return output.read_text()


def _numbers(results: Path) -> dict[str, str]:
    found = json.loads((results / "results.json").read_text())
    return {name: found[name] for name in ("rows", "orderings", "search", "start")}


def test_killed_and_run_again_a_study_ends_as_one_that_was_not(place):
    whole, killed = place / "whole", place / "killed"
    for study in (whole, killed):
        shutil.copytree(place / "out", study / "out")
        write_study(study, STUDY.replace("values = [1e-5, 1e-4]", "values = [1e-4]"))
    _check_results(whole / "out" / "results", _reproduce(whole))
    _check_shared(whole / "out")

    process = forked_larpo(*_command(killed), output=killed / "output")
    deadline = time.monotonic() + 400
    while not list((killed / "out" / "search" / "runs").glob("*/summary.json")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    process.wait()
    _reproduce(killed, "--jobs", "2")
    assert _numbers(killed / "out" / "results") == _numbers(whole / "out" / "results")


def _check_results(results: Path, printed: str) -> None:
    """There are a table, figures, a page and all numbers."""
    assert sorted(path.name for path in results.iterdir()) == [
        "README.md",
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
    assert rows[1].endswith("1.500")  # what the paper says of it
    found = json.loads((results / "results.json").read_text())
    assert found["seeds"] == 1
    assert found["machine"]["cpu"]
    assert abs(datetime.now(UTC).date() - date.fromisoformat(found["date"])) <= timedelta(days=1)
    page = (results / "README.md").read_text()
    assert f"| ListMLE above pairwise | accuracy | {_signed(found['orderings'][0]['difference'])} |" in page
    assert {cell["chosen"] for cell in found["search"]["cells"]} == {1e-4}
    assert "ListMLE above pairwise" in (results / "study.html").read_text()


def _signed(interval: dict[str, float]) -> str:
    return "{mean:+.3f} [{low:+.3f}, {high:+.3f}]".format(**interval)


def _check_shared(out: Path) -> None:
    """What runs of one seed have in common was made once."""
    weights = Path("sft") / "model.safetensors"
    first, second = (out / "runs" / f"{name}-seed0" / weights for name in ("pairwise", "listmle"))
    assert first.samefile(second)
    assert not (out / "search" / "runs" / "pairwise-0.0001-seed1000" / weights).samefile(first)


def test_a_dry_run_lists_the_runs_and_runs_none(tmp_path):
    write_study(tmp_path)
    told = _reproduce(tmp_path, "--dry-run")
    assert "2 runs" in told
    assert "chosen for each cell among 1e-05, 0.0001, with seed 1000" in told
    assert not (tmp_path / "out").exists()


def test_an_unknown_study_is_one_line(larpo: Larpo):
    outcome = larpo("reproduce", "table9")
    assert outcome.code == 2
    assert outcome.err.startswith("larpo: unknown study 'table9'. Use one of fig2, fig3a")


def test_policies_are_measured_as_retrievers_before_and_after_training(place):
    write_study(
        place,
        STUDY[: STUDY.index("[[published]]")]
        .replace('source = "Table 0"', 'source = "Figure 0"\nlayout = "by_n"')
        .replace('orderings = [{ better = "ListMLE", worse = "pairwise" }]', "")
        + STUDY[STUDY.index("[tiny]") : STUDY.index("[tiny.search]")]
        .replace('["accuracy", "reward"]', '["pass_at_1", "pass_at_2", "bm25_recall_at_4"]')
        .replace("seeds = 2", "seeds = 1\nretrieval = { depths = [4] }")
        .replace("iterations = 1", 'iterations = 2, evaluate = "last_iteration"')
        + STUDY[STUDY.index("[paper]") :],
    )
    _reproduce(place)
    results = place / "out" / "results"
    head, *rows = (results / "table.txt").read_text().splitlines()
    assert head.split("  ")[0] == "N"
    assert [row.split()[0] for row in rows] == ["1", "2", "4"]
    found = json.loads((results / "results.json").read_text())
    run = place / "out" / "runs" / "pairwise-seed0"
    for iteration, part in ((0, found["start"]), (2, found["rows"][0]["estimates"])):
        metrics = json.loads((run / f"iteration-{iteration}" / "evaluation" / "metrics.json").read_text())
        assert part["pass_at_2"]["mean"] == pytest.approx(metrics["pass_at_2"])
        assert part["bm25_recall_at_4"] == found["start"]["bm25_recall_at_4"]


def test_policies_are_measured_by_benchmarks_after_the_loop_and_decisions_are_bought_once(place):
    """Our score stands beside the paper's; a study that is run again asks the judge nothing."""

    def judge(asked):
        extracts = "option extractor" in asked.payload["messages"][0]["content"]
        return Reply(completion("[[A]]" if extracts else "[[0.5]]"))

    questions = write_questions(place)
    with serve(judge) as server:
        (place / "mix.toml").write_text(f"""
step = "mixeval"
measures = {{ mixeval = "overall" }}
files = {{ free_form = "{questions["free_form"]}", multiple_choice = "{questions["multiple_choice"]}" }}
settings = {{ answers = {{ max_new_tokens = 8 }}, judge = {{ base_url = "{server.url}", model = "j", retries = 0 }} }}
""")
        write_study(
            place,
            STUDY[: STUDY.index("[tiny.search]")]
            .replace("win_rate = 1.5", "mixeval = 0.7")
            .replace('["accuracy", "reward"]', f'["mixeval", "reward"]\nbenchmarks = ["{place / "mix.toml"}"]')
            + STUDY[STUDY.index("[paper]") :],
        )
        _reproduce(place)
        asked = len(server.asked)
        assert asked > 0
        _reproduce(place)
        assert len(server.asked) == asked
    head, start, *rows = (place / "out" / "results" / "table.txt").read_text().splitlines()
    assert re.split("  +", head) == ["objective", "MixEval", "mean reward", "paper: MixEval"]
    assert start.startswith("start")
    assert [row.split()[-1] for row in rows] == ["\N{EN DASH}", "0.700"]
    found = json.loads((place / "out" / "results" / "results.json").read_text())
    runs = place / "out" / "runs"
    for row, run in zip(found["rows"], ("pairwise-seed0", "listmle-seed0"), strict=True):
        for part, iteration in ((row["estimates"], 1), (found["start"], 0)):
            metrics = json.loads((runs / run / f"iteration-{iteration}" / "mix" / "metrics.json").read_text())
            assert part["mixeval"]["mean"] == pytest.approx(metrics["overall"], abs=1e-3)
    first, second = (runs / run / "iteration-0" / "mix" / "judged.jsonl" for run in ("pairwise-seed0", "listmle-seed0"))
    assert first.samefile(second)
