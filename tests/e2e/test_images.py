"""The images, built from HEAD: what runs in each, and what is not in them."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from services.docker_engine import ROOT, Container, Engine, build_images, docker_engine
from services.processes import free_port
from tiny_world import files

from larpo_lib.playground.policy import make_policy
from larpo_lib.playground.problems import vocabulary
from larpo_lib.tables import read_table

LARPO_IMAGES = ("base", "sampler", "trainer", "evaluator")


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with docker_engine() as started:
        yield started


@pytest.fixture(scope="module")
def images(engine: Engine) -> dict[str, str]:
    return build_images(engine, *LARPO_IMAGES, "mlflow")


@pytest.fixture
def world(prepared_world: Path, tmp_path: Path) -> Path:
    """A copy of the prepared world that the images' user may write to."""
    copy = tmp_path / "world"
    shutil.copytree(prepared_world, copy)
    open_to_all(copy)
    return copy


@pytest.fixture
def larpo(engine: Engine, images: dict[str, str], world: Path) -> Callable[..., Container]:
    """Runs larpo in an image, in the world's folder."""

    def run(target: str, *arguments: str) -> Container:
        options = ["--volume", f"{world}:/work", "--shm-size", "1g"]
        for variable in ("OMP_NUM_THREADS=1", "VLLM_CPU_KVCACHE_SPACE=1", "MLFLOW_TRACKING_URI=sqlite:////tmp/m.db"):
            options += ["--env", variable]
        return engine.run(images[target], "larpo", *arguments, options=tuple(options))

    return run


def open_to_all(folder: Path) -> None:
    """Let the images' user read and write a folder and what is in it."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)


def results(artifact: Path) -> dict[str, bytes]:
    """The files of an artifact but for its manifest, which names versions of Python and of libraries."""
    return {name: content for name, content in files(artifact).items() if name != "artifact.json"}


def here(world: Path, *arguments: str) -> None:
    """Run larpo on this machine, in the world's folder."""
    environment = {"PATH": str(Path(sys.executable).parent), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "larpo_lib", *arguments]
    subprocess.run(command, check=True, cwd=world, env=environment, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize("target", LARPO_IMAGES)
def test_an_image_runs_components_as_a_user_without_rights(engine: Engine, images: dict[str, str], target: str) -> None:
    script = """
        set -eu
        test "$(id -u):$(id -g)" = 1000:1000
        test "$(command -v larpo)" = /opt/venv/bin/larpo
        test "$(command -v python3)" = /opt/venv/bin/python3
        test "$PWD:$LARPO_CACHE" = /work:/cache
        touch /work/x /cache/x "$HOME/x"
        if touch /opt/venv/x 2>/dev/null; then exit 1; fi
        _KFP_RUNTIME=true python3 -c 'import kfp.dsl.executor_main'
        larpo --help | grep -q build-lists
    """
    ended = engine.run(images[target], "sh", "-c", script)
    assert ended == Container(0, "")


@pytest.mark.parametrize("target", [*LARPO_IMAGES, "mlflow"])
def test_an_image_says_what_it_was_built_from_and_keeps_no_secret(
    engine: Engine, images: dict[str, str], target: str
) -> None:
    (inspected,) = json.loads(engine.output("image", "inspect", images[target]))
    labels = inspected["Config"]["Labels"]
    assert labels["org.opencontainers.image.revision"] == images[target].rpartition(":")[2]
    assert labels["org.opencontainers.image.title"] == f"larpo-{target}"
    assert inspected["Config"]["User"] == "1000:1000"
    assert not [variable for variable in inspected["Config"]["Env"] if "INDEX" in variable or "CERT" in variable]
    history = engine.output("history", "--no-trunc", images[target])
    assert "127.0.0.1" not in history
    left = engine.run(images[target], "-c", "ls /etc/pip.conf /run/secrets/ca.pem", options=("--entrypoint", "sh"))
    assert left.out.count("No such file") == 2


def test_compilers_are_only_where_something_compiles(engine: Engine, images: dict[str, str]) -> None:
    having = {
        target
        for target in (*LARPO_IMAGES, "mlflow")
        if not engine.run(images[target], "-c", "command -v g++", options=("--entrypoint", "sh")).code
    }
    assert having == {"sampler", "trainer"}


def test_the_base_image_builds_the_same_lists(larpo: Callable[..., Container], world: Path) -> None:
    arguments = ("build-lists", "--config", "larpo.toml", "--prompts", "prompts", "--ranked", "ranked", "--lists")
    here(world, *arguments, "lists-here")
    ended = larpo("base", *arguments, "lists-there")
    assert ended.code == 0, ended.out
    assert results(world / "lists-there") == results(world / "lists-here")


def test_the_sampler_samples_with_vllm(larpo: Callable[..., Container], world: Path) -> None:
    make_policy(world / "wide", vocabulary(), 0, hidden=64, layers=2, heads=2)  # as vLLM's attention on CPUs takes it
    open_to_all(world / "wide")
    ended = larpo(
        "sampler", "sample", "--config", "larpo.toml", "--policy", "wide", "--prompts", "prompts",
        "--candidates", "drawn", "--set", "sample.sampler.type=vllm", "--set", "sample.sampler.enforce_eager=true",
    )  # fmt: skip
    assert ended.code == 0, ended.out
    drawn = read_table(world / "drawn", "candidates")
    assert 30 < len(drawn) <= 40  # of 10 prompts, 4 each; empty ones are dropped
    assert all(len(row["token_ids"]) == row["num_tokens"] <= 16 for row in drawn)


def test_the_trainer_trains_with_two_processes_of_deepspeed(larpo: Callable[..., Container], world: Path) -> None:
    arguments = (
        "train", "--config", "larpo.toml", "--policy", "policy", "--lists", "lists",
        "--launcher", "deepspeed", "--nproc", "2", "--set", "train.launch.zero_stage=2", "--trained",
    )  # fmt: skip
    here(world, *arguments, "trained-here")
    ended = larpo("trainer", *arguments, "trained-there")
    assert ended.code == 0, ended.out
    weights = "model.safetensors"
    assert (world / "trained-there" / weights).read_bytes() == (world / "trained-here" / weights).read_bytes()
    assert (world / "trained-there" / weights).read_bytes() != (world / "policy" / weights).read_bytes()


def test_the_evaluator_evaluates_and_has_the_alpacaeval_client(
    engine: Engine, images: dict[str, str], larpo: Callable[..., Container], world: Path
) -> None:
    arguments = ("evaluate", "--config", "larpo.toml", "--policy", "policy", "--prompts", "heldout", "--evaluation")
    ended = larpo("evaluator", *arguments, "evaluated-there")
    assert ended.code == 0, ended.out
    assert results(world / "evaluated-there") == results(world / "evaluated")
    imported = engine.run(images["evaluator"], "python3", "-c", "import alpaca_eval, sentence_transformers")
    assert imported.code == 0, imported.out


def test_the_mlflow_image_serves(engine: Engine, images: dict[str, str]) -> None:
    port = free_port()
    script = f"""
        set -eu
        python3 -c 'import psycopg2, boto3'
        mlflow server --port {port} --backend-store-uri sqlite:////tmp/m.db --workers 1 >/tmp/log 2>&1 &
        for attempt in $(seq 120); do
            if python3 -c 'import urllib.request as r; r.urlopen("http://127.0.0.1:{port}/health")' 2>/dev/null; then
                exit 0
            fi
            sleep 1
        done
        tail -n 30 /tmp/log
        exit 1
    """
    ended = engine.run(images["mlflow"], "-c", script, options=("--entrypoint", "sh"))
    assert ended.code == 0, ended.out
