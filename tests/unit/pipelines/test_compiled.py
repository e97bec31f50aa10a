"""`larpo compile`: the same bytes each time, the ones in the repository, and mistakes told in one line."""

import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
import yaml
from small_pipeline import nested_twice
from tiny_world import Larpo

from larpo_kubeflow.pipelines.package import read_package
from larpo_lib.cli.pipelines import PipelineName

ROOT = Path(__file__).parents[3]
COMPILED = ROOT / "pipelines" / "compiled"
NAMES = get_args(PipelineName)


def test_the_repository_holds_every_pipeline() -> None:
    assert sorted(path.stem for path in COMPILED.glob("*.yaml")) == sorted(NAMES)


@pytest.mark.parametrize(("name", "seed"), list(zip(NAMES, ("0", "7", "99"), strict=True)))
def test_the_compiled_pipelines_in_the_repository_are_those_of_the_code(
    name: str, seed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compiled in a process of its own, elsewhere and with another order of sets and dictionaries."""
    monkeypatch.chdir(tmp_path)
    path = os.pathsep.join([str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]).rstrip(os.pathsep)
    command = [sys.executable, "-m", "larpo_lib", "compile", "--pipeline", name, "--output", "new/here.yaml"]
    environment = os.environ | {"PYTHONPATH": path, "PYTHONHASHSEED": seed}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "new/here.yaml\n", "")
    golden = COMPILED / f"{name}.yaml"
    same = Path("new/here.yaml").read_bytes() == golden.read_bytes()
    assert same, (
        f"{golden.relative_to(ROOT)} is not what the code compiles to: run make compile, look at the difference"
    )


def test_the_options_reach_the_package(larpo: Larpo, tmp_path: Path) -> None:
    output = tmp_path / "larpo.yaml"
    images = ("--image-prefix", "registry.example.com:5000/team", "--image-tag", "0123abc")
    options = ("--gpu-type", "amd.com/gpu", *images)
    outcome = larpo("compile", "--output", output, *options)
    assert (outcome.code, outcome.out) == (0, f"{output}\n")
    spec = next(yaml.safe_load_all(output.read_text("utf-8")))
    executors = spec["deploymentSpec"]["executors"].values()
    images = {executor["container"]["image"] for executor in executors if "container" in executor}
    assert images >= {f"registry.example.com:5000/team/larpo-{target}:0123abc" for target in ("sampler", "trainer")}
    assert all(image.startswith("registry.example.com:5000/team/larpo-") for image in images)
    assert all(image.endswith(":0123abc") for image in images)
    assert "nvidia.com/gpu" not in output.read_text("utf-8")
    assert read_package(output).name == "larpo"


def test_compiling_loads_no_model_library(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; import larpo_kubeflow.pipelines.compile as c;"
        "c.compile_pipeline('larpo', Path(sys.argv[1]));"
        "print([name for name in ('torch', 'vllm', 'transformers', 'deepspeed', 'mlflow') if name in sys.modules])"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "x.yaml")]
    assert subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout == "[]\n"


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--output", "x.json"], "larpo: x.json: Kubeflow accepts only .yaml files. Use --output FILE.yaml.\n"),
        (["--image-tag", "a b"], "larpo: 'larpo-base:a b' is not a valid image name. Use, for example, --image-prefix"),
        (["--image-prefix", "https://r"], "larpo: 'https://r/larpo-base:"),
        (["--image-prefix", "Team"], "larpo: 'Team/larpo-base:"),
        (
            ["--gpu-type", "8"],
            "larpo: '8' is not valid in Kubernetes. Use --gpu-type with a resource name such as nvidia.com/gpu.\n",
        ),
        (["--cpus", "two"], "larpo: 'two' is not valid in Kubernetes. Use --cpus with an amount such as 8 or 500m.\n"),
        (["--queue", "My Queue"], "larpo: 'My Queue' is not valid in Kubernetes. Use --queue with the name of a"),
        (["--priority-class", "-"], "larpo: '-' is not valid in Kubernetes. Use --priority-class with the name of a"),
        (
            ["--output", "file/x.yaml"],
            "larpo: file/x.yaml: the folder cannot be created, because a file has its name. Choose another "
            "folder with --output.\n",
        ),
        (
            ["--output", "file/a/x.yaml"],
            "larpo: file/a/x.yaml: the folder cannot be created, because a file has its name. Choose another "
            "folder with --output.\n",
        ),
    ],
)
def test_mistakes_are_told_in_one_line(
    options: list[str], problem: str, larpo: Larpo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("", "utf-8")
    outcome = larpo("compile", *(["--output", "x.yaml"] if "--output" not in options else []), *options)
    assert outcome.code == 2
    assert outcome.err.startswith(problem)
    assert outcome.err.count("\n") == 1


def test_without_kfp_the_package_to_install_is_named(
    larpo: Larpo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    outcome = larpo("compile", "--output", tmp_path / "x.yaml")
    assert outcome.code == 2
    assert outcome.err == (
        "larpo: compiling needs the packages kfp and kfp-kubernetes. pip install 'larpo[kubeflow]'.\n"
    )


def test_names_inside_nested_pipelines_survive_being_nested(tmp_path: Path) -> None:
    """Without marks kfp gives two components one executor here; which, differs from process to process."""
    from kfp import compiler

    compiler.Compiler().compile(nested_twice(), str(tmp_path / "outer.yaml"))
    spec = yaml.safe_load((tmp_path / "outer.yaml").read_text("utf-8"))
    labels = [part["executorLabel"] for part in spec["components"].values() if "executorLabel" in part]
    assert len(labels) == len(set(labels)) == 11
    assert set(labels) == set(spec["deploymentSpec"]["executors"])
    assert len(spec["components"]) == 11 + 4 + 2
