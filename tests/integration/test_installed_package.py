"""The wheel and the clone, in a folder that has `components` and `pipelines` of its own."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from larpo_lib import __version__
from larpo_lib.presets import preset_file, preset_names

ROOT = Path(__file__).parents[2]
Larpo = Callable[..., str]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder], check=True, cwd=ROOT)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command of an environment with the wheel, which takes all that larpo needs from this one."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel]
    subprocess.run(pip, check=True)
    own = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    (own / "needed.pth").write_text(sysconfig.get_path("purelib") + "\n", "utf-8")
    return folder / "bin" / "larpo"


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder with packages of those names that end whoever imports them."""
    for name in ("components", "pipelines"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('the wrong package')\n", "utf-8")
    return tmp_path


@pytest.fixture(params=["wheel", "clone"])
def larpo(request: pytest.FixtureRequest, elsewhere: Path) -> Larpo:
    """Runs the command there; the folder's own packages come first of all."""
    if request.param == "wheel":
        command, paths = [request.getfixturevalue("installed")], [elsewhere]
    else:
        command, paths = [sys.executable, "-m", "larpo_lib"], [elsewhere, ROOT]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}

    def run(*arguments: str) -> str:
        line = [*command, *arguments]
        done = subprocess.run(line, capture_output=True, text=True, check=False, cwd=elsewhere, env=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_the_wheel_brings_no_top_level_name_that_others_may_have(wheel: Path) -> None:
    files = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in files} == {
        "larpo_lib",
        "larpo_kubeflow",
        f"larpo-{__version__}.dist-info",
    }
    places = {
        "larpo_lib": "larpo_lib",
        "components": "larpo_kubeflow/components",
        "pipelines": "larpo_kubeflow/pipelines",
    }
    for folder, place in places.items():
        held = {path.relative_to(ROOT / folder).as_posix() for path in (ROOT / folder).rglob("*") if path.is_file()}
        there = {name.removeprefix(f"{place}/") for name in files if name.startswith(f"{place}/")}
        assert there == {name for name in held if "__pycache__" not in name}


def test_the_command_works_beside_packages_of_the_same_names(larpo: Larpo, elsewhere: Path) -> None:
    assert larpo("--version").strip() == __version__
    assert "--preset" in larpo("run", "--help")
    assert [line.split()[0] for line in larpo("presets").splitlines()] == preset_names()
    assert larpo("presets", "quickstart") == preset_file("quickstart").read_text("utf-8")
    larpo("compile", "--output", "larpo.yaml")
    assert (elsewhere / "larpo.yaml").read_bytes() == (ROOT / "pipelines" / "compiled" / "larpo.yaml").read_bytes()
