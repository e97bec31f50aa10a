"""Runs with a pool share what is the same for them, and end as they would without it."""

import shutil
from pathlib import Path

import pytest
from tiny_world import Larpo, files

from larpo_lib.artifacts import MANIFEST

SHARED = (
    "prompts",
    "heldout",
    "demonstrations",
    "sft",
    "iteration-0/evaluation",
    "iteration-1/candidates",
    "iteration-1/ranked",
    "iteration-1/lists",
)
DPO = "train.objective={ type = 'dpo', beta = 0.5 }"


@pytest.fixture
def run(larpo: Larpo, tiny_world: Path, tmp_path: Path, mlflow_database: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs the loop with an MLflow store of the run's own; returns the run's directory, and what was said."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def run(name: str, *arguments: object) -> tuple[Path, str]:
        out = tmp_path / name
        (out / "mlflow").mkdir(parents=True)
        shutil.copyfile(mlflow_database, out / "mlflow" / "mlflow.db")
        outcome = larpo("run", "--config", tiny_world / "larpo.toml", "--out", out, *arguments)
        assert outcome.code == 0, outcome.err
        return out, outcome.err

    return run


def _artifacts(out: Path) -> dict[str, bytes]:
    """All files of a run's own artifacts."""
    made = [path.parent for path in out.rglob(MANIFEST) if "mlflow" not in path.parts]
    return {f"{one.relative_to(out)}/{name}": data for one in made for name, data in files(one).items()}


def test_runs_of_two_objectives_share_what_comes_before_the_first_training(run, tmp_path):
    pool = ("--pool", tmp_path / "pool")
    first, _ = run("listmle", *pool)
    second, told = run("dpo", *pool, "--set", DPO)
    alone, _ = run("alone", "--set", DPO)
    for name in SHARED:
        assert f"{second / name}: linked from the pool" in told
        for file in (first / name).iterdir():
            if file.is_file():
                assert file.samefile(second / name / file.name)
    assert _artifacts(second) == _artifacts(alone)

    policies = [out / "iteration-1" / "policy" / "model.safetensors" for out in (first, second)]
    assert policies[0].read_bytes() != policies[1].read_bytes()
