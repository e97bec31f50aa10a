"""docker/compose.yaml: what it promises beside being valid."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

FOLDER = Path(__file__).parents[2] / "docker"
TEXT = (FOLDER / "compose.yaml").read_text("utf-8")
EXAMPLE = (FOLDER / ".env.example").read_text("utf-8")
SECRETS = {"POSTGRES_PASSWORD", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}


@pytest.fixture
def services() -> dict[str, Any]:
    return dict(yaml.safe_load(TEXT)["services"])


def test_secrets_are_asked_for_and_have_no_default() -> None:
    asked = set(re.findall(r"\$\{(\w+):\?", TEXT))
    assert asked == SECRETS
    assert set(re.findall(r"^(\w+)=$", EXAMPLE, re.MULTILINE)) == SECRETS


def test_the_example_says_the_defaults() -> None:
    defaults = dict(re.findall(r"\$\{(\w+):-([^}]*)\}", TEXT))
    given = dict(re.findall(r"^(\w+)=(.+)$", EXAMPLE, re.MULTILINE))
    assert given == {name: value for name, value in defaults.items() if name != "MLFLOW_IMAGE"}


def test_ports_are_open_to_this_machine_only(services: dict[str, Any]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert len(ports) == 2
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_images_have_versions_and_what_stores_something_has_a_volume(services: dict[str, Any]) -> None:
    ours = {name for name, service in services.items() if "build" in service}
    assert ours == {"buckets", "mlflow"}
    assert all(re.search(r":v?\d", services[name]["image"]) for name in services.keys() - ours)
    kept = {volume.partition(":")[0] for name in services.keys() - ours for volume in services[name]["volumes"]}
    assert kept == set(yaml.safe_load(TEXT)["volumes"])


def test_mlflow_waits_for_its_database_and_its_bucket(services: dict[str, Any]) -> None:
    waits = {name: how["condition"] for name, how in services["mlflow"]["depends_on"].items()}
    assert waits == {"postgres": "service_healthy", "buckets": "service_completed_successfully"}
    assert "healthcheck" in services["postgres"]
    bucket = services["mlflow"]["environment"]["MLFLOW_ARTIFACTS_DESTINATION"].removeprefix("s3://")
    assert bucket in services["buckets"]["entrypoint"]


def test_docker_compose_takes_it(tmp_path: Path) -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], check=False, capture_output=True).returncode:
        pytest.skip("docker compose is not installed")
    environment = tmp_path / "env"
    environment.write_text("".join(f"{name}=x\n" for name in sorted(SECRETS)))
    command = [docker, "compose", "--env-file", environment, "--file", FOLDER / "compose.yaml", "config", "--quiet"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
