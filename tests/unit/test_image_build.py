"""How the images are built: their lists of packages, and how pip reaches its indexes in a build."""

import ast
import importlib.util
import re
import sys
import urllib.error
import urllib.request
from importlib.metadata import packages_distributions, requires
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from larpo_kubeflow.components.component import Component
from larpo_kubeflow.components.evaluate import evaluate
from larpo_kubeflow.components.final_report import final_report
from larpo_kubeflow.components.rerank import rerank
from larpo_kubeflow.components.sample import sample
from larpo_kubeflow.components.start import start
from larpo_kubeflow.components.train import train
from larpo_lib.evaluation import benchmarks

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "requirements" / "images"


def module(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


build = module(ROOT / "docker" / "build.py")
lock_images = module(ROOT / "requirements" / "lock_images.py")


def packages(path: Path) -> dict[str, str]:
    """Versions by name."""
    lines = [line.partition(" ")[0] for line in path.read_text("utf-8").splitlines() if not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}


def test_the_lists_are_up_to_date() -> None:
    written = {path.name: path.read_text("utf-8") for path in IMAGES.iterdir()}
    assert written == lock_images.locks(), "run .venv/bin/python requirements/lock_images.py"


def test_every_file_that_an_image_installs_is_known_by_its_hash() -> None:
    """But for torch's CPU build: PyPI does not have it."""
    paths = [path for path in sorted(IMAGES.iterdir()) if path.name != "torch-cpu.txt"]
    assert len(paths) == 9
    for line in (line for path in paths for line in path.read_text("utf-8").splitlines()[1:]):
        assert re.fullmatch(r"[\w.-]+==[\w.]+( --hash=sha256:[0-9a-f]{64})+", line), line
    assert packages(IMAGES / "torch-cpu.txt") == {"torch": packages(IMAGES / "base-cuda.txt")["torch"] + "+cpu"}
    dockerfile = (ROOT / "docker" / "Dockerfile").read_text("utf-8").replace("\\\n", " ")
    installed = re.findall(r"pip install [^;&\n]*--requirement[ =]\S+", dockerfile)
    assert len(installed) == 7
    assert [line for line in installed if "--require-hashes" not in line and "/torch-cpu.txt" not in line] == []


@pytest.mark.parametrize("name", ["base", "trainer", "evaluator", "mlflow"])
def test_a_list_has_the_versions_of_the_constraints(name: str) -> None:
    known = packages(ROOT / "requirements" / "constraints.txt")
    path = IMAGES / (f"{name}.txt" if name == "mlflow" else f"{name}-cpu.txt")
    listed = packages(path)
    assert listed == {package: known[package] for package in listed}


@pytest.mark.parametrize("variant", ["cpu", "cuda"])
def test_an_image_changes_what_the_base_has_only_where_vllm_must(variant: str) -> None:
    """Layers are shared, so a package of another version stands twice in an image."""
    base = packages(IMAGES / f"base-{variant}.txt")
    changed = {}
    for name in ("trainer", "evaluator", "sampler"):
        listed = packages(IMAGES / f"{name}-{variant}.txt")
        changed |= {
            (name, package): listed[package] for package in base.keys() & listed if listed[package] != base[package]
        }
    assert {package for _, package in changed} == {"fastapi"} | ({"numpy"} if variant == "cuda" else set())
    assert {name for name, _ in changed} == {"sampler"}


def test_vllm_brings_no_build_of_torch_for_the_other_variant() -> None:
    for path in set(IMAGES.glob("*-cpu.txt")) - {IMAGES / "torch-cpu.txt"}:
        assert not [name for name in packages(path) if re.match("nvidia|cuda|triton|torch", name)]
    for path in IMAGES.glob("*-cuda.txt"):
        assert packages(path)["torch"] + "+cpu" == packages(IMAGES / "torch-cpu.txt")["torch"]
        assert packages(path).keys() >= {
            "nvidia-nccl-cu13",
            "nvidia-ml-py",
        }  # the second is what MLflow reads GPUs with


def test_requirements_of_requirements_are_listed() -> None:
    """By hand: kfp comes alone; alembic needs Mako, which needs MarkupSafe; fire comes with alpaca_eval only."""
    base, evaluator = packages(IMAGES / "base-cpu.txt"), packages(IMAGES / "evaluator-cpu.txt")
    assert {"kfp", "alembic", "mako", "markupsafe", "botocore"} <= base.keys()
    assert not {"kfp-pipeline-spec", "fire", "pytest", "larpo"} & base.keys()
    assert {"alpaca-eval", "fire", "sentence-transformers"} <= evaluator.keys()
    assert Requirement("deepspeed").name not in evaluator


@pytest.mark.parametrize("variant", ["cpu", "cuda"])
def test_images_that_take_benchmarks_have_their_packages(variant: str) -> None:
    """The first task of a pipeline checks the benchmarks of a gate in its image, `evaluate` takes them in another."""
    known = lock_images.pins("constraints.txt")
    remedies = [remedy for one in benchmarks().values() for remedy in one.packages.values()]
    extras = [remedy.removeprefix("pip install '").removesuffix("'") for remedy in remedies]
    needed = lock_images.closure((*extras,), known)
    assert {"alpaca-eval", "fire", "bpe-openai", "lm-eval", "immutabledict"} <= needed
    for image in (evaluate.target, start.target):
        assert needed - packages(IMAGES / f"{image}-{variant}.txt").keys() - {"torch"} == set()


@pytest.mark.parametrize("variant", ["cpu", "cuda"])
@pytest.mark.parametrize("component", [start, sample, rerank, train, evaluate], ids=lambda one: one.target)
def test_every_image_of_a_task_that_loads_a_model_can_merge_adapters_into_it(
    component: Component, variant: str
) -> None:
    """The policy or a reward model may be adapters, by peft; what peft needs, as its own metadata have it."""
    listed = packages(IMAGES / f"{component.target}-{variant}.txt")
    needed = [Requirement(text) for text in ("peft", *(requires("peft") or []))]
    plain = {canonicalize_name(one.name) for one in needed if one.marker is None}
    assert plain >= {"peft", "accelerate", "transformers"}
    assert plain - listed.keys() - {"torch"} == set()


@pytest.mark.parametrize("variant", ["cpu", "cuda"])
@pytest.mark.parametrize("component", [final_report, train], ids=["final report", "train"])
def test_images_of_tasks_that_ask_the_cluster_have_what_that_imports(component: Component, variant: str) -> None:
    modules = [ast.parse(path.read_text("utf-8")) for path in (ROOT / "larpo_lib" / "kubernetes").glob("*.py")]
    froms = [node.module or "" for tree in modules for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    names = {name.partition(".")[0] for name in froms} - {"larpo_lib"} - sys.stdlib_module_names
    assert names >= {"kubernetes", "urllib3", "tenacity"}
    distributions = {canonicalize_name(one) for name in names for one in packages_distributions()[name]}
    needed = lock_images.closure((*distributions,), lock_images.pins("constraints.txt"))
    assert needed - packages(IMAGES / f"{component.target}-{variant}.txt").keys() == set()


def test_a_machine_with_an_index_of_its_own_hands_it_to_the_build_as_a_secret(tmp_path: Path) -> None:
    settings = {
        "index-url": "https://user:secret@index.example.org/simple",
        "cert": "/etc/ca.pem",
        "timeout": "60",
        "constraint": "/etc/constraints.txt",
    }
    with build.pip_access(tmp_path, settings) as options:
        assert options == ["--secret", "id=ca,src=/etc/ca.pem", "--secret", f"id=pip,src={tmp_path / 'pip.conf'}"]
        assert (tmp_path / "pip.conf").stat().st_mode & 0o777 == 0o600
        assert (tmp_path / "pip.conf").read_text().splitlines() == [
            "[global]",
            "index-url = https://user:secret@index.example.org/simple",
            "timeout = 60",
            "cert = /run/secrets/ca.pem",
        ]


def test_a_machine_without_settings_hands_over_nothing(tmp_path: Path) -> None:
    with build.pip_access(tmp_path, {}) as options:
        assert options == []
    assert list(tmp_path.iterdir()) == []


def test_folders_of_wheels_are_served_to_the_build(tmp_path: Path) -> None:
    wheels, index = tmp_path / "wheels", tmp_path / "mirror" / "simple"
    (index / "thing").mkdir(parents=True)
    wheels.mkdir()
    (wheels / "thing-1-py3-none-any.whl").write_bytes(b"wheel")
    (index / "thing" / "index.html").write_text('<a href="../../files/thing-2-py3-none-any.whl">thing</a>')
    (tmp_path / "mirror" / "files").mkdir()
    (tmp_path / "mirror" / "files" / "thing-2-py3-none-any.whl").write_bytes(b"newer")
    (tmp_path / "private").write_text("not served")
    settings = {"find-links": str(wheels), "extra-index-url": f"{index.as_uri()} https://index.example.org/simple"}

    with build.pip_access(tmp_path, settings) as options:
        assert options[-2:] == ["--network", "host"]
        lines = dict(line.split(" = ") for line in (tmp_path / "pip.conf").read_text().splitlines()[1:])
        served, other = lines["extra-index-url"].split()
        assert other == "https://index.example.org/simple"
        assert b"thing-1-py3-none-any.whl" in read(lines["find-links"])
        assert read(f"{lines['find-links']}thing-1-py3-none-any.whl") == b"wheel"
        assert b"../../files/" in read(f"{served}thing/")
        assert read(f"{served}../files/thing-2-py3-none-any.whl") == b"newer"
        with pytest.raises(urllib.error.HTTPError, match="404"):
            read(f"{served}../../private")
        with pytest.raises(urllib.error.HTTPError, match="404"):
            read(f"{lines['find-links']}../private")
    with pytest.raises(urllib.error.URLError):
        read(served)


def read(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as response:  # noqa: S310
        return response.read()
