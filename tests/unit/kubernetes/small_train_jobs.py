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
WORKFLOW = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "name": "larpo-x"}


def train(**changes: Any) -> None:
    train_on_nodes(a_job(**changes), poll_s=0.05)


def a_job(**changes: Any) -> dict[str, Any]:
    arguments = {"config": CONFIG, **URIS, "name": NAME, "run": "run-1", "image": "larpo-trainer:1", **changes}
    return train_job(uris=Uris(**{key: arguments.pop(key) for key in URIS}), **arguments)


def of_workflow(api: Api, uid: str) -> str:
    """Name of a pod of the workflow of that uid, as Argo makes it: the workflow controls it."""
    pod = api.add_pod("a-step", 0, owner={**WORKFLOW, "uid": uid, "controller": True, "blockOwnerDeletion": True})
    return pod.name


def owned(uid: str, **changes: Any) -> dict[str, Any]:
    """A TrainJob that a pod of that workflow started."""
    job = a_job(**changes)
    job["metadata"]["ownerReferences"] = [{**WORKFLOW, "uid": uid}]
    return job


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
