"""The pipeline with every step in its image: S3 and MLflow are real servers, and the policies those of `larpo run`."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from docker.types import Mount
from harness import QUICK, SMALL, as_options, run_locally
from kfp import local
from services.docker_engine import ROOT, Engine, build_images, docker_engine
from services.mlflow_server import mlflow_server, postgres
from services.radosgw import Gateway, radosgw

from larpo_kubeflow.components.images import Images
from larpo_kubeflow.pipelines.larpo import larpo_pipeline

pytestmark = pytest.mark.timeout(3600)

ROUNDS = 2
SETTINGS: dict[str, Any] = {
    **SMALL,
    "loop": {"iterations": ROUNDS},
    "train": {"learning_rate": 1e-4},
    "promote": {"resamples": 100, "metric": "reward", "confidence": 0.6},
}
"""So few steps make little progress: the gate asks for less than it does by default."""


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with docker_engine() as started:
        yield started


@pytest.fixture(scope="module")
def images(engine: Engine) -> Images:
    names = build_images(engine, "base", "sampler", "trainer", "evaluator")
    return Images(tag=names["sampler"].rpartition(":")[2])


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with radosgw() as started:
        for bucket in ("larpo", "mlflow"):
            started.client().create_bucket(Bucket=bucket)
        yield started


@pytest.fixture(scope="module")
def mlflow_uri(gateway: Gateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("mlflow")
    with (
        postgres() as database,
        mlflow_server(database, folder, artifacts="s3://mlflow", environment=gateway.environment) as uri,
    ):
        yield uri


def test_two_rounds_in_containers_make_the_policies_of_one_machine(
    images: Images, gateway: Gateway, mlflow_uri: str, tmp_path: Path
) -> None:
    expected = on_this_machine(tmp_path)

    cache, folder = tmp_path / "cache", tmp_path / "kfp"
    for path in (cache, folder):
        path.mkdir()
        path.chmod(0o777)  # the images' user is not the one who runs this
    runner = local.DockerRunner(
        network_mode="host",
        environment={**gateway.environment, "MLFLOW_TRACKING_URI": mlflow_uri, "OMP_NUM_THREADS": "1"},
        mounts=[Mount("/cache", str(cache), type="bind")],
        shm_size="1g",
    )
    outcome = run_locally(
        larpo_pipeline(images=images, limits=QUICK),
        {
            "root": "s3://larpo/runs",
            "run_id": "docker",
            "preset": "quickstart",
            "settings": json.dumps(SETTINGS),
            "shards": 2,
        },
        folder,
        runner,
    )
    assert outcome.error == "", outcome.log[-5000:]
    for target in ("base", "sampler", "trainer", "evaluator"):
        assert f"Found image '{images.reference(target)}'" in outcome.log

    made = policies(gateway, "runs/docker/")
    assert made == expected
    assert len(set(made.values())) == ROUNDS + 1

    from mlflow import MlflowClient

    champion = MlflowClient(tracking_uri=mlflow_uri).get_model_version_by_alias("larpo-quickstart", "champion")
    assert champion.version == "1"
    assert champion.source.startswith("s3://larpo/runs/docker/iteration-")  # it stays where it was made
    stored = {item["Key"] for item in gateway.client().list_objects_v2(Bucket="mlflow")["Contents"]}
    assert any(key.endswith("/evaluation.json") for key in stored)
    assert not any(key.endswith(".safetensors") for key in stored)


def on_this_machine(folder: Path) -> dict[str, bytes]:
    """Weights of the policies that `larpo run` makes, by the names of their artifacts."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment.pop("MLFLOW_TRACKING_URI", None)

    command = [sys.executable, "-m", "larpo_lib", "quickstart", "--out", str(folder / "run"), *as_options(SETTINGS)]
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    found = {path.parent.relative_to(folder / "run"): path for path in (folder / "run").rglob("model.safetensors")}
    return {
        artifact.as_posix(): path.read_bytes()
        for artifact, path in found.items()
        if artifact.parts[0] not in {"world", "mlflow"}
    }


def policies(gateway: Gateway, prefix: str) -> dict[str, bytes]:
    """Weights of the policies of a run in the bucket, by the names of their artifacts."""
    client = gateway.client()
    pages = client.get_paginator("list_objects_v2").paginate(Bucket="larpo", Prefix=prefix)
    keys = [item["Key"] for page in pages for item in page.get("Contents", [])]
    found = [key for key in keys if key.endswith("/model.safetensors") and "/world/" not in key]
    return {
        key.removeprefix(prefix).removesuffix("/model.safetensors"): client.get_object(Bucket="larpo", Key=key)[
            "Body"
        ].read()
        for key in found
    }
