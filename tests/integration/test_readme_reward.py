"""The way of the README from a function in a file to a run with it, on a hub that has a tiny policy by that name."""

import json
import re
import shlex
from pathlib import Path

import pytest
from hub_double import HubDouble
from tiny_world import Larpo

from larpo_lib.artifacts import read_manifest
from larpo_lib.tables import read_table

ROOT = Path(__file__).parents[2]
SECTION = (ROOT / "README.md").read_text("utf-8").partition("## Your own reward\n")[2].partition("\n## ")[0]
MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
SMALL = (
    "prepare.limit=8", "prepare.heldout=2", "sample.prompts_per_iteration=6", "sample.max_new_tokens=8",
    "loop.iterations=1", "train.batch_size=2", "evaluate.resamples=20", "promote.resamples=20",
)  # fmt: skip
"""Settings for a test; the others are those of the README."""


def commands() -> list[list[str]]:
    (block,) = re.findall(r"```bash\n(.*?)```", SECTION, re.DOTALL)
    return [shlex.split(line) for line in block.replace("\\\n", " ").splitlines()]


def test_three_commands_lead_to_a_run_with_a_reward_of_ones_own(
    hub: HubDouble, larpo: Larpo, tiny_policy: Path, tmp_path: Path, mlflow_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)
    assert len(code.splitlines()) <= 8
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    Path("my_rewards.py").write_text(code)
    Path("examples").symlink_to(ROOT / "examples")
    install, tried, run = commands()
    assert install == ["pip", "install", "."]

    shown = larpo(*tried[1:])
    assert shown.code == 0, shown.err
    scores = [float(line.split()[0]) for line in shown.out.splitlines() if line.startswith("  ")]
    rows = [json.loads(line) for line in (ROOT / "examples" / "responses.jsonl").read_text("utf-8").splitlines()]
    assert scores == [-abs(len(row["response"].split()) - 20) for row in rows]

    commit = hub.push(MODEL, tiny_policy)
    out = Path(run[run.index("--out") + 1])
    out.mkdir(parents=True)
    mlflow_store.rename(out / "mlflow")
    done = larpo(*run[1:], *(word for setting in SMALL for word in ("--set", setting)))
    assert done.code == 0, done.err
    assert "brevity version 1 is now " in done.out
    ranked = read_table(out / "iteration-1" / "ranked", "ranked")
    assert len(ranked) > 6
    assert all(row["reward"] == -abs(len(row["response"].split()) - 20) for row in ranked)
    assert len({row["reward"] for row in ranked}) > 1
    assert read_manifest(out / "iteration-1" / "policy")["inputs"]["policy"] == f"{MODEL}@{commit}"
