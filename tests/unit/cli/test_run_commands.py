"""The commands that are more than one step, and how the command line ends."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import figures
import pytest
from matplotlib import image
from stored_artifacts import make_evaluation
from table_rows import ranked
from tiny_world import Larpo, files

import larpo_lib
from larpo_lib.artifacts import read_metrics, verify
from larpo_lib.cli import app
from larpo_lib.config import load_config
from larpo_lib.playground import world as playground_world
from larpo_lib.steps import report


def test_run_makes_everything_and_goes_on_from_what_is_there(
    larpo: Larpo, tiny_world: Path, tmp_path: Path, mlflow_store: Path
) -> None:
    arguments = ["run", "--out", tmp_path / "run", "--config", tiny_world / "larpo.toml"]
    (tmp_path / "run").mkdir()
    mlflow_store.rename(tmp_path / "run" / "mlflow")
    first = larpo(*arguments)
    assert first.code == 0, first.err
    assert "tiny-policy version 1 is now " in first.out
    summary = json.loads((tmp_path / "run" / "summary.json").read_text("utf-8"))
    assert [row["iteration"] for row in summary["iterations"]] == [0, 1]
    made = ["prompts", "heldout", "demonstrations", "sft", "iteration-0/evaluation", "iteration-1/evaluation"]
    made += [f"iteration-1/{name}" for name in ("candidates", "ranked", "lists", "policy")]
    for name in [*made, "promotion", "report"]:
        verify(tmp_path / "run" / name)

    with closing(sqlite3.connect(tmp_path / "run" / "mlflow" / "mlflow.db")) as database:
        steps = database.execute("select distinct step from metrics where key = 'tokens_per_s' order by step")
        assert steps.fetchall() == [(1,), (2,), (3,)]  # of fine-tuning; training has two
        used = database.execute(
            "select runs.name, datasets.name from runs join inputs on destination_id = run_uuid"
            " join datasets on dataset_uuid = source_id order by 1, 2"
        )
        assert used.fetchall() == [
            *(("build_lists-1", "prompts"), ("evaluate-0", "held-out prompts"), ("evaluate-1", "held-out prompts")),
            *(("prepare", "prompts"), ("prepare-demonstrations", "demonstrations")),
            *(("prepare-evaluation", "held-out prompts"), ("sample-1", "prompts"), ("sft", "demonstrations")),
            *(("tiny", name) for name in ("demonstrations", "held-out prompts", "prompts")),
        ]
        sources = dict(database.execute("select name, dataset_source from datasets").fetchall())
        assert json.loads(sources["prompts"]) == {"uri": str(tiny_world / "prompts.jsonl")}
        settings = database.execute(
            "select distinct name, substr(key, 1, instr(key, '.') - 1) from params join runs using (run_uuid)"
            " where name like '%-1' or name = 'prepare-demonstrations' order by 1"
        )
        assert settings.fetchall() == [
            *(("build_lists-1", "lists"), ("evaluate-1", "evaluate"), ("prepare-demonstrations", "demonstrations")),
            *(("rerank-1", "rerank"), ("sample-1", "sample"), ("train-1", "train")),
        ]
        made = database.execute(
            "select runs.name from runs join inputs on source_id = run_uuid where destination_type = 'MODEL_OUTPUT'"
            " order by 1"
        )
        assert made.fetchall() == [("promote",), ("tiny",)]

    assert summary["seconds_by_call"] == [summary["seconds"]]
    assert load_config(tmp_path / "run" / "config.toml") == load_config(tiny_world / "larpo.toml")

    steps = [row["step"] for row in json.loads((tmp_path / "run" / "seconds.json").read_text("utf-8"))["steps"]]
    assert steps[-6:] == ["rerank", "build_lists", "train", "evaluate", "promote", "report"]
    planning = ["plan", "--config", tiny_world / "larpo.toml", "--gpus", 0, "--like", tmp_path / "run"]
    planned = larpo(*planning, "--memory", 8)
    assert planned.code == 0, planned.err
    assert "  all steps: 0.0" in planned.out
    refused = larpo(*planning, "--memory", 1, "--set", "train.micro_batch_tokens=1000000")
    assert refused.code == 1
    assert "> Fits with --set train.micro_batch_tokens=" in refused.out

    before = files(tmp_path / "run")
    second = larpo(*arguments)
    assert (second.code, second.out, second.err) == (0, first.out, "")
    assert files(tmp_path / "run") == before


def test_a_run_that_was_interrupted_goes_on_and_counts_all_its_seconds(
    larpo: Larpo, tiny_world: Path, tmp_path: Path, mlflow_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted before its report; the settings of the next call come from the run's own directory."""
    out, world = tmp_path / "run", tmp_path / "world"
    out.mkdir()
    mlflow_store.rename(out / "mlflow")
    shutil.copytree(tiny_world, world)
    text = (world / "larpo.toml").read_text("utf-8")
    (world / "larpo.toml").write_text(text.replace(str(tiny_world), str(world)), "utf-8")

    def interrupted(*_arguments: Any, **_more: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(report, "run", interrupted)
        assert larpo("run", "--out", out, "--config", world / "larpo.toml").code == 130
    with closing(sqlite3.connect(out / "mlflow" / "mlflow.db")) as database:
        left = database.execute("select name from runs where status = 'KILLED' order by name")
        assert left.fetchall() == [("report",), ("tiny",)]
    assert not (out / "summary.json").exists()
    refused = larpo("run", "--out", out, "--config", out / "config.toml", "--set", "evaluate.n=3")
    assert refused.code == 2
    assert "iteration-0/evaluation: exists already, but was made with config.n 2 instead of 3" in refused.err
    assert load_config(out / "config.toml").evaluate.n == 2

    outcome = larpo("run", "--out", out, "--config", out / "config.toml", "--set", "report.title=Again")
    assert outcome.code == 0, outcome.err
    summary = json.loads((out / "summary.json").read_text("utf-8"))
    first, last = summary["seconds_by_call"]
    assert summary["seconds"] == pytest.approx(first + last)
    assert f"{summary['seconds']} s in 2 calls, {last} s of them in the last one. Report: " in outcome.out
    assert load_config(out / "config.toml").report.title == "Again"


def test_a_run_is_one_machines(larpo: Larpo, tiny_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PET_NODE_RANK", "1")
    outcome = larpo("run", "--out", tmp_path / "run", "--config", tiny_world / "larpo.toml")
    assert outcome.code == 2
    assert "`larpo run` uses one machine" in outcome.err
    monkeypatch.delenv("PET_NODE_RANK")
    several = ("--set", "launch.launcher=torchrun", "--set", "launch.nodes=2")
    outcome = larpo("run", "--out", tmp_path / "run", "--config", tiny_world / "larpo.toml", *several)
    assert outcome.code == 2
    assert (
        "`larpo run` uses one machine, but launch.nodes is greater than 1. Set it to 1, or use the Kubeflow pipeline."
        in outcome.err
    )
    assert not (tmp_path / "run").exists()


def test_quickstart_runs_on_a_world_of_its_own(
    larpo: Larpo, tmp_path: Path, mlflow_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, number in {"DEMONSTRATIONS": 32, "PROMPTS": 8, "HELDOUT": 4}.items():
        monkeypatch.setattr(playground_world, name, number)
    (tmp_path / "out").mkdir()
    mlflow_store.rename(tmp_path / "out" / "mlflow")
    small = {
        "sft.max_steps": 1, "sft.batch_size": 8, "sft.micro_batch_tokens": 512, "loop.iterations": 1, "evaluate.n": 2,
        "train.max_steps": 1, "train.batch_size": 4, "train.micro_batch_tokens": 512,
    }  # fmt: skip
    settings = [argument for name, value in small.items() for argument in ("--set", f"{name}={value}")]
    with figures.saved():
        outcome = larpo("quickstart", "--out", tmp_path / "out", "--objective", "dpo", "--seed", 3, *settings)
    assert outcome.code == 0, outcome.err
    for figure in (tmp_path / "out" / "report" / "figures").iterdir():
        assert image.imread(figure).shape[0] > 500
    assert f"Report: {tmp_path / 'out' / 'report' / 'report.html'}" in outcome.out
    assert json.loads((tmp_path / "out" / "summary.json").read_text("utf-8"))["objective"] == "dpo"
    assert json.loads((tmp_path / "out" / "world" / "world.json").read_text("utf-8")) == {"seed": 3}
    assert read_metrics(tmp_path / "out" / "iteration-1" / "lists")["mean_list_size"] == 2


def test_playground_writes_a_world_to_try_the_steps_on(
    larpo: Larpo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DEMONSTRATIONS", "PROMPTS", "HELDOUT"):
        monkeypatch.setattr(playground_world, name, 5)
    outcome = larpo("playground", "--out", tmp_path / "world", "--seed", 1)
    assert outcome.code == 0
    names = "corpus.jsonl, demonstrations.jsonl, heldout.jsonl, policy, prompts.jsonl, queries.jsonl, quickstart.toml, "
    assert f"world: {names}relevance.tsv, world.json" in outcome.out
    source = f"prepare.source={tmp_path / 'world' / 'prompts.jsonl'}"
    config = tmp_path / "world" / "quickstart.toml"
    prepared = larpo("prepare", "--prompts", tmp_path / "prompts", "--config", config, "--set", source)
    assert json.loads(prepared.out)["prompts"] == 5


def evaluation(path: Path, reward: float) -> Path:
    """What an evaluation holds that gave every response the same reward."""
    return make_evaluation(path, [ranked(prompt, "a", reward, correct=None) for prompt in ("p1", "p2", "p3")])


def test_champion_is_beaten_and_made_champion_again(
    larpo: Larpo, tiny_world: Path, tmp_path: Path, mlflow_store: Path
) -> None:
    shared = ["--store", mlflow_store, "--config", tiny_world / "larpo.toml"]
    decisions = []
    for number, reward in enumerate((1.0, 2.0, 0.5)):
        policy = tmp_path / f"policy-{number}"
        policy.mkdir()
        (policy / "config.json").write_text(json.dumps({"number": number}), "utf-8")
        judged = evaluation(tmp_path / f"evaluation-{number}", reward)
        arguments = ["--policy", policy, "--evaluation", judged, "--promotion", tmp_path / f"promotion-{number}"]
        outcome = larpo("promote", *arguments, *shared)
        assert outcome.code == 0, outcome.err
        decision = json.loads(outcome.out)
        decisions.append((decision["version"], decision["alias"], decision["opponent"]))
    assert decisions == [(1, "champion", None), (2, "champion", "version 1"), (3, "challenger", "version 2")]

    back = larpo("promote", "--rollback", *shared)
    assert (back.code, back.out) == (0, "tiny-policy: champion was version 2, is version 1 again\n")
    further = larpo("promote", "--rollback", *shared)
    assert further.code == 2
    assert further.err.startswith("larpo: version 1 of model 'tiny-policy' did not replace another champion. ")


@pytest.mark.parametrize("command", [["promote", "--rollback"], ["push", "me/mine", "--policy", "models:/m@champion"]])
def test_no_store_is_made_where_one_is_only_read(
    larpo: Larpo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    outcome = larpo(*command)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith(
        "larpo: mlflow: there is no MLflow store here. Set --store to the folder mlflow of a run"
    )
    assert not list(tmp_path.iterdir())


def test_promote_tells_what_it_needs(larpo: Larpo, tmp_path: Path) -> None:
    outcome = larpo("promote", "--policy", tmp_path, "--store", tmp_path / "new")
    assert outcome.code == 2
    assert (
        outcome.err
        == "larpo: promote needs --policy, --evaluation and --promotion. Pass all three, or only --rollback.\n"
    )
    all_of_it = [f"--{name}={tmp_path / name}" for name in ("policy", "evaluation", "promotion")]
    outcome = larpo("promote", *all_of_it, "--store", tmp_path / "new")
    assert outcome.err.startswith(f"larpo: {tmp_path / 'policy'}: no such file or directory. ")
    assert not (tmp_path / "new").exists()


def test_doctor_tells_what_can_run(larpo: Larpo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
    outcome = larpo("doctor")
    assert outcome.code == 0
    assert "torch" in outcome.out
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert larpo("doctor").code == 1


def test_version(larpo: Larpo) -> None:
    outcome = larpo("--version")
    assert (outcome.code, outcome.out) == (0, f"{larpo_lib.__version__}\n")


@pytest.mark.parametrize("arguments", [["rerank"], ["rerank", "--no-such-option"], ["no-such-command"]])
def test_wrong_usage_is_told_on_standard_error(larpo: Larpo, arguments: list[str]) -> None:
    outcome = larpo(*arguments)
    assert outcome.code == 2
    assert outcome.out == ""
    assert "Usage: larpo" in outcome.err


def test_a_bug_keeps_its_traceback(larpo: Larpo, monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(prog_name: str) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(app, "app", bug)
    with pytest.raises(ZeroDivisionError):
        larpo("--version")


@pytest.mark.parametrize("entry", [[sys.executable, "-m", "larpo_lib"], [str(Path(sys.executable).with_name("larpo"))]])
def test_process_ends_with_the_code_and_one_line(entry: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [*entry, "run", "--out", tmp_path / "run", "--config", tmp_path / "no.toml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"larpo: {tmp_path / 'no.toml'}: no such file. Pass an existing TOML file to --config.\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("given", "policy"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")])
def test_threads_wait_without_spinning_unless_the_user_says_otherwise(given: dict[str, str], policy: str) -> None:
    """It counts where torch is loaded later."""
    code = (
        "import atexit, os, sys; sys.argv = ['larpo', '--version']\n"
        "atexit.register(lambda: print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules))\n"
        "from larpo_lib.cli import main; main()"
    )
    rest = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    done = subprocess.run([sys.executable, "-c", code], env=rest | given, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == f"{policy} False"
