import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_double import TOKEN, HubDouble
from loopback import Handler, served

from larpo_lib import doctor
from larpo_lib.config import ObjectiveConfig
from larpo_lib.doctor import Finding, servers

SECRETS = {"AWS_ACCESS_KEY_ID": "AKIA-not-to-be-shown", "AWS_SECRET_ACCESS_KEY": "hush-not-to-be-shown"}


class Server(Handler):
    """Healthy at /health, forbidden at /, and out of order elsewhere."""

    def answer(self) -> None:
        self.send({"/health": 200, "/": 403}.get(self.path, 503), b"", {})


@pytest.fixture
def server() -> Iterator[str]:
    with served(Server) as http:
        yield f"127.0.0.1:{http.server_port}"


@pytest.fixture
def silent() -> Iterator[str]:
    """Accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("MLFLOW_TRACKING_URI", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE", *SECRETS):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def found(findings: list[Finding], name: str) -> Finding:
    return next(finding for finding in findings if finding.name == name)


def test_the_hub_is_asked_unless_it_must_not_be(hub: HubDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    assert servers.hub({"HF_ENDPOINT": hub.url}).detail.startswith(f"{hub.url} answers; cache ")
    hub.status = 503
    down = servers.hub({"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN})
    assert not down.ok
    assert "answers with status 503" in down.detail
    assert down.detail.endswith("token set")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert servers.hub({}).detail.startswith("HF_HUB_OFFLINE is set")
    assert len(hub.asked) == 2


def command(directory: Path, script: str) -> None:
    path = directory / "docker"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_everything_is_looked_at_in_less_than_ten_seconds(monkeypatch, silent):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://{silent}")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://{silent}")
    start = time.monotonic()
    findings = doctor.diagnose()
    assert time.monotonic() - start < 10
    names = [finding.name for finding in findings]
    assert names[:3] == ["Python", "larpo", "PyTorch"]
    assert {"transformers", "vllm", "deepspeed", "peft", "alpaca_eval", "Docker", "S3", "MLflow", "kfp"} <= set(names)
    assert names[-9:-7] == ["memory", "disk"]
    assert names[-7:-4] == ["samplers", "rerankers", "judges"]
    assert names[-4:] == ["objectives", "selections", "related prompts", "launchers"]
    assert not found(findings, "MLflow").ok
    assert not doctor.ok_for_main_job(findings)


def test_this_machine_can_run_the_main_job_without_servers():
    findings = doctor.diagnose()
    assert found(findings, "MLflow").detail.endswith("SQLite store in the run's directory")
    needed = {finding.name for finding in findings if finding.needed}
    assert {"Python", "PyTorch", "transformers", "MLflow", "memory", "disk"} <= needed
    assert {"GPU", "vllm", "Docker", "S3", "kfp"} & needed == set()


def test_mlflow_must_be_healthy(monkeypatch, server):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://{server}/")
    assert found(doctor.diagnose(), "MLflow").ok
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://{server}/elsewhere")
    sick = found(doctor.diagnose(), "MLflow")
    assert not sick.ok
    assert "answers with status 503" in sick.detail
    assert "unset MLFLOW_TRACKING_URI" in sick.remedy


def test_a_store_that_refuses_is_reachable_and_credentials_are_counted_not_shown(monkeypatch, server):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://{server}/")
    without = found(doctor.diagnose(), "S3")
    assert (without.ok, without.detail) == (False, f"http://{server}/ answers; credentials not set")
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    findings = doctor.diagnose()
    assert found(findings, "S3").ok
    assert found(findings, "S3").detail.endswith("credentials set")
    assert "not-to-be-shown" not in doctor.render(findings)


@pytest.mark.parametrize("uri", ["http://me:hush@{}/?token=hush", "postgresql://me:hush@{}/mlflow?password=hush"])
def test_secrets_in_uris_are_not_shown(monkeypatch, server, uri):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri.format(server))
    monkeypatch.setenv("AWS_ENDPOINT_URL", uri.format(server))
    text = doctor.render(doctor.diagnose())
    assert "hush" not in text
    assert server in text


@pytest.mark.parametrize(
    ("script", "ok", "detail"),
    [
        ("echo 27.1", True, "daemon 27.1"),
        ("echo cannot connect >&2; exit 1", False, "cannot connect to the daemon"),
        ("echo", False, "cannot connect to the daemon"),
        ("exec sleep 20", False, "the daemon did not answer within 3 s"),
    ],
)
def test_docker(monkeypatch, tmp_path, script, ok, detail):
    command(tmp_path, script)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    docker = found(doctor.diagnose(), "Docker")
    assert (docker.ok, docker.detail) == (ok, detail)


def test_docker_is_not_there(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    docker = found(doctor.diagnose(), "Docker")
    assert not docker.ok
    assert docker.remedy == "apt-get install docker.io"


def test_missing_packages_are_named_with_what_they_would_enable(monkeypatch):
    def version(name: str) -> str | None:
        missing = ("transformers", "vllm", "tenacity", "deepspeed", "kfp", "kfp-kubernetes", "sentence-transformers")
        return None if name in missing else "1.0"

    monkeypatch.setattr(doctor, "_version", version)
    findings = doctor.diagnose()
    assert found(findings, "transformers").remedy == "pip install transformers"
    assert not {"hf", "vllm", "openai"} & {*found(findings, "samplers").detail.split(", ")}
    assert {"verifier", "ensemble"} <= {*found(findings, "rerankers").detail.split(", ")}
    assert found(findings, "related prompts").detail == "bm25"
    assert "embedding: pip install sentence-transformers" in found(findings, "related prompts").remedy
    assert found(findings, "launchers").detail == "none"
    assert "deepspeed: pip install transformers deepspeed" in found(findings, "launchers").remedy
    assert not doctor.ok_for_main_job(findings)


@pytest.mark.parametrize(("there", "detail"), [(True, "found"), (False, "not found (two of IFEval's instructions)")])
def test_the_model_of_sentences_that_instructions_need(monkeypatch, there, detail):
    monkeypatch.setattr(doctor.sentences, "has_punkt", lambda: there)
    punkt = doctor._punkt()
    assert (punkt.ok, punkt.detail, "nltk.downloader punkt_tab" in punkt.remedy) == (there, detail, not there)


def test_a_gpu_is_told_with_its_memory_and_bfloat16(monkeypatch):
    import torch

    class Device:
        name, total_memory = "Test GPU", 80 * 2**30

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: Device)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: not including_emulation)
    gpu = found(doctor.diagnose(), "GPU")
    assert (gpu.ok, gpu.detail) == (True, "Test GPU, 80 GiB; Test GPU, 80 GiB; bfloat16")


def test_what_every_entry_of_a_kind_needs_is_looked_at(monkeypatch):
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "transformers" else "1")
    findings = doctor.diagnose()
    rerankers = found(findings, "rerankers")
    able = set(rerankers.detail.split(", "))
    assert able & {"verifier", "classifier", "pairrm", "ensemble", "http"} == {"verifier", "ensemble", "http"}
    assert "classifier: pip install transformers; pairrm: pip install transformers" in rerankers.remedy
    assert found(findings, "objectives").detail.split(", ") == [*ObjectiveConfig.entries()]


def test_slow_checks_do_not_hold_up_the_others():
    start = time.monotonic()
    findings = doctor.run_checks(
        {"Slow": lambda: [time.sleep(5), Finding("Slow", True, "")][1:], "Quick": lambda: [Finding("Quick", True, "")]},
        0.3,
    )
    assert time.monotonic() - start < 2
    assert [(finding.name, finding.ok) for finding in findings] == [("Slow", False), ("Quick", True)]
    assert "did not finish within 0.3 s" in findings[0].detail


def test_a_broken_check_is_a_bug_and_keeps_its_error():
    with pytest.raises(ZeroDivisionError):
        doctor.run_checks({"Broken": lambda: [1 // 0]}, 1)


def test_rendering_aligns_and_marks_what_is_missing():
    findings = [
        Finding("Python", True, "3.11", needed=True),
        Finding("GPU", False, "none", "get one"),
        Finding("disk", False, "full", "free some", needed=True),
    ]
    assert doctor.render(findings).splitlines() == [
        "ok  Python  3.11",
        "-   GPU     none",
        "            > get one",
        "NO  disk    full",
        "            > free some",
        "",
        "The main job (sample, rerank, train, evaluate) cannot run on this machine: see disk.",
    ]
    assert doctor.render(findings[:2]).endswith("can run on this machine.")
    assert doctor.ok_for_main_job(findings[:2])
    assert not doctor.ok_for_main_job(findings)
