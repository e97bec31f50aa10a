"""The programs in `examples`: they are short, and they print what docs/examples.md shows."""

import re
import runpy
import shutil
from pathlib import Path

import pytest

from larpo_lib import load_config
from larpo_lib.testing import check_objective

ROOT = Path(__file__).parents[3]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
SHOWN = dict(
    re.findall(
        r"```bash\npython examples/(\w+)\.py\n```\n\n```text\n(.*?)```",
        (ROOT / "docs" / "examples.md").read_text("utf-8"),
        re.DOTALL,
    )
)
"""What the page shows of each, in its order: a later one may read what an earlier one wrote."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, mlflow_database: Path) -> Path:
    """Where all of them run, with an empty MLflow database for the one that runs the loop."""
    here = tmp_path_factory.mktemp("examples")
    store = here / "runs" / "own_reward" / "mlflow"
    store.mkdir(parents=True)
    shutil.copyfile(mlflow_database, store / "mlflow.db")
    return here


def test_every_example_is_short_and_shown() -> None:
    assert sorted(SHOWN) == [path.stem for path in EXAMPLES]
    assert [path.name for path in EXAMPLES if len(path.read_text("utf-8").splitlines()) >= 60] == []


def test_the_objective_of_an_example_is_one_for_runs_too() -> None:
    target = f"{ROOT / 'examples' / 'own_objective.py'}:hinge"
    objective = load_config(
        settings={"policy": "p", "prepare.source": "s", "train.objective": {"type": "function", "target": target}}
    ).train.objective
    objective.check()
    hinge = runpy.run_path(str(ROOT / "examples" / "own_objective.py"))["hinge"]
    check_objective(hinge, {"margin": 0.5}, ties="any", shift_invariant=True)


@pytest.mark.parametrize("name", SHOWN)
def test_an_example_prints_what_the_page_shows(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr("sys.argv", [f"{name}.py"])
    for variable in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID"):
        monkeypatch.delenv(variable, raising=False)
    runpy.run_path(str(ROOT / "examples" / f"{name}.py"), run_name="__main__")
    printed = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    of_libraries = ("{", "[20")  # the end of a training; what DeepSpeed says where it is installed
    assert [line for line in printed if not line.startswith(of_libraries)] == SHOWN[name].splitlines()
