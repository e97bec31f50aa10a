"""A TrainJob's command, run as Kubeflow Trainer runs it, trains what one machine does; a lost node costs little.

The nodes are processes of this machine with a cache of their own each, and S3 is moto's server.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from forked import Forked, forked_larpo
from kubernetes_double import Api, Pod, kubernetes_api
from safetensors.torch import load_file
from services.processes import free_port

from larpo_lib import storage
from larpo_lib.config import LaunchConfig, ModelConfig, TrainConfig
from larpo_lib.kubernetes import Uris, train_job, train_on_nodes
from larpo_lib.steps import train
from larpo_lib.training import checkpoints
from larpo_lib.training.history import read_history

BUCKET = "s3://larpo-bucket"
RUNTIME = Path(__file__).parents[2] / "k8s" / "training" / "runtime.yaml"
SETTINGS: dict[str, Any] = {
    "model": ModelConfig(device="cpu"),
    "learning_rate": 1e-3,
    "warmup_ratio": 0.0,
    "batch_size": 2,
    "max_steps": 24,
    "epochs": 100,
    "save_steps": 4,
    "max_prompt_tokens": 64,
    "max_tokens": 96,
}
LAUNCH = LaunchConfig(launcher="torchrun", nodes=2)


class Trainer:
    """Does with TrainJobs what Kubeflow Trainer and JobSet do, by the runtime of the manifests."""

    def __init__(self, api: Api, disks: Path) -> None:
        self._api, self._disks = api, disks
        disks.mkdir()
        spec = yaml.safe_load(RUNTIME.read_text())["spec"]["template"]["spec"]
        self.restarts_left: int = spec["failurePolicy"]["maxRestarts"]
        self.attempts: list[list[Forked]] = []
        self.before_restart: Callable[[], None] = lambda: None
        api.on_create = lambda name: threading.Thread(target=self._run, args=(name,), daemon=True).start()

    def stop(self) -> None:
        self.restarts_left = 0
        for processes in self.attempts:
            for process in processes:
                process.kill()

    def _run(self, name: str) -> None:
        trainer = self._api.jobs[name]["spec"]["trainer"]
        while True:
            pods = [self._api.add_pod(name, rank) for rank in range(trainer["numNodes"])]
            if self._attempt(trainer, pods):
                self._api.ends(name, "Complete")
                return
            if not self.restarts_left:
                self._api.ends(name, "Failed", "jobset failed due to reaching max number of restarts")
                return
            self.restarts_left -= 1
            self.before_restart()
            for pod in pods:
                self._api.remove_pod(pod)

    def _attempt(self, trainer: dict[str, Any], pods: list[Pod]) -> bool:
        """One start of all nodes; when one fails the others go too."""
        assert trainer["command"][0] == "larpo"
        meeting = {
            "PET_NNODES": str(trainer["numNodes"]),
            "PET_NPROC_PER_NODE": str(trainer["numProcPerNode"]),
            "PET_MASTER_ADDR": "127.0.0.1",
            "PET_MASTER_PORT": str(free_port()),
        }
        number, nodes = len(self.attempts), []
        for rank, pod in enumerate(pods):
            own = {"PET_NODE_RANK": str(rank), "LARPO_CACHE": str(self._disks / f"{number}-{rank}")}
            environment = {**os.environ, **meeting, **own, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
            command, output = [*trainer["command"][1:], *trainer["args"]], self._disks / f"{number}-{rank}.log"
            output.touch()
            nodes.append((pod, forked_larpo(*command, output=output, environment=environment), output))
            pod.starts()
        self.attempts.append([process for _, process, _ in nodes])
        running = dict(enumerate(nodes))
        while running:
            time.sleep(0.05)
            for rank, (pod, process, output) in [*running.items()]:
                code = process.poll()
                whole, end, _ = output.read_text("utf-8").rpartition("\n")
                pod.writes(*(whole + end).splitlines()[len(pod.lines) :])
                if code is not None:
                    del running[rank]
                    pod.ends(code if code >= 0 else 128 - code)
                    for _, other, _ in running.values() if code else ():
                        other.terminate()
        return all(process.poll() == 0 for process in self.attempts[-1])


@pytest.fixture
def trainer(s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Api, Trainer]]:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("LARPO_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with kubernetes_api() as api:
        monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig(tmp_path)))
        machines = Trainer(api, tmp_path / "disks")
        yield api, machines
        machines.stop()


@pytest.fixture
def uris(s3: Any, prepared_world: Path) -> dict[str, Any]:
    """The policy and the lists in S3, and where to publish."""
    for name in ("policy", "lists"):
        for file in (prepared_world / name).iterdir():
            s3.upload_file(str(file), "larpo-bucket", f"run/{name}/{file.name}")
    places = {name: f"{BUCKET}/run/{name}" for name in ("policy", "lists")}
    return {**places, "trained": f"{BUCKET}/run/iteration-1/policy", "reference": None}


def _checkpoints(s3: Any) -> list[str]:
    """Directories of the whole checkpoints in S3."""
    found = s3.list_objects_v2(Bucket="larpo-bucket", Prefix="run/iteration-1/policy.checkpoints/").get("Contents", [])
    return [key["Key"].rpartition("/")[0] for key in found if key["Key"].endswith("/checkpoint.json")]


def _kill_node_1_once_there_is_a_checkpoint(s3: Any, api: Api, trainer: Trainer) -> None:
    api.wait_for(lambda: _checkpoints(s3), 240)
    trainer.attempts[0][1].kill()  # and with it the process that trains


def test_a_lost_node_costs_what_came_after_the_last_checkpoint(
    trainer: tuple[Api, Trainer], s3: Any, uris: dict[str, Any], prepared_world: Path, tmp_path: Path
) -> None:
    api, machines = trainer
    config = TrainConfig(**SETTINGS)
    policy, lists = prepared_world / "policy", prepared_world / "lists"
    train.run(config, policy=policy, lists=lists, trained=tmp_path / "alone")
    marked: list[int] = []

    def mark() -> None:
        """Make the checkpoint tell by its history that it was read."""
        uri = f"{BUCKET}/{_checkpoints(s3)[-1]}"
        checkpoint = storage.fetch(uri, tmp_path / "looked-at")
        index = json.loads((checkpoint / "checkpoint.json").read_text())
        index["history"][0]["kl"] = 123.0
        del index["checksum"]
        (checkpoint / "checkpoint.json").write_text(json.dumps({**index, "checksum": checkpoints._checksum(index)}))
        storage.upload(checkpoint, uri, last="checkpoint.json")
        marked.append(index["step"])

    machines.before_restart = mark
    arguments = (s3, api, machines)
    threading.Thread(target=_kill_node_1_once_there_is_a_checkpoint, args=arguments, daemon=True).start()
    launched = config.model_copy(update={"launch": LAUNCH})
    job = train_job(launched, Uris(**uris), name="larpo-t-train-1", run="r", image="i")
    train_on_nodes(job, poll_s=0.2)

    assert len(machines.attempts) == 2
    assert 0 < marked[0] < 24
    published = storage.fetch(uris["trained"], tmp_path / "fetched")
    expected = load_file(tmp_path / "alone" / "model.safetensors")
    for name, value in load_file(published / "model.safetensors").items():
        torch.testing.assert_close(value, expected[name], atol=2e-6, rtol=1e-4)
    history, whole = read_history(published), read_history(tmp_path / "alone")
    assert history[0]["kl"] == 123.0  # it went on from the checkpoint in S3
    for row, same in zip(history[1:], whole[1:], strict=True):
        assert row == pytest.approx(same, rel=1e-4, abs=1e-5)
    assert _checkpoints(s3) == []
    assert api.jobs == {}
