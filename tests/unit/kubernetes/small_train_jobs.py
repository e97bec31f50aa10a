"""A training on two nodes, and what happens to it in the double of a cluster."""

import threading
from typing import Any

from kubernetes_double import Api, Pod

from larpo_lib.config import LaunchConfig, TrainConfig
from larpo_lib.kubernetes import train_on_nodes
from larpo_lib.kubernetes.manifests import Uris, train_job

CONFIG = TrainConfig(launch=LaunchConfig(launcher="deepspeed", nproc=8, nodes=2, zero_stage=3))
URIS = {"policy": "s3://b/policy", "lists": "s3://b/lists", "trained": "s3://b/trained", "reference": None}
NAME = "larpo-abc-train-1"


def train(**changes: Any) -> None:
    train_on_nodes(a_job(**changes), poll_s=0.05)


def a_job(**changes: Any) -> dict[str, Any]:
    arguments = {"config": CONFIG, **URIS, "name": NAME, "run": "run-1", "image": "larpo-trainer:1", **changes}
    return train_job(uris=Uris(**{key: arguments.pop(key) for key in URIS}), **arguments)


def play(api: Api, scene: Any) -> None:
    """Have `scene` happen in the cluster once a TrainJob is created."""
    api.on_create = lambda name: threading.Thread(target=scene, args=(name,), daemon=True).start()


def two_nodes(api: Api, job: str) -> tuple[Pod, Pod]:
    nodes = api.add_pod(job, 0), api.add_pod(job, 1)
    for node in nodes:
        node.starts()
    return nodes


def complete(api: Api, job: str, *nodes: Pod) -> None:
    for node in nodes:
        node.ends()
    api.ends(job, "Complete")
