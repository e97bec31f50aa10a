"""TrainJobs as plain data: settings in, a manifest out, nothing else."""

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from larpo_lib.config import TrainConfig
from larpo_lib.config.toml import inline
from larpo_lib.errors import ConfigError

GROUP, VERSION, PLURAL = "trainer.kubeflow.org", "v1alpha1", "trainjobs"
RUNTIME = "larpo-deepspeed"
"""The TrainingRuntime of `k8s/base`."""
MANAGED_BY, RUN, SPEC = "app.kubernetes.io/managed-by", "larpo.dev/run", "larpo.dev/spec"
MANAGER = "larpo"
CA, CA_FOLDER = "larpo-ca", "/etc/larpo-ca"
"""The ConfigMap of certificates to trust, which need not be there, and the folder in which pods have it."""

NODE = "node"
"""The runtime's replicated job, and the container in its pods."""

_LONGEST_NAME = 45  # a pod's is that and "-node-0-99-abcde", in 63 characters
_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_PINNED = re.compile(r"[^/@]+/[^/@]+@[0-9a-f]{40}")
"""A model of the Hugging Face hub at a commit, which every node fetches for itself."""
_LABEL = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")


@dataclass(frozen=True)
class Uris:
    """Where the training reads and writes: s3:// URIs, or for models names on the hub, as `larpo train` takes them."""

    policy: str
    lists: str
    trained: str
    reference: str | None = None

    def named(self) -> dict[str, str]:
        """Those that are given, by the names of the command's options."""
        return {name: uri for name, uri in vars(self).items() if uri is not None}


def job_name(root: str, part: str) -> str:
    """A name for a TrainJob: the same for the same run and part, such as "train-2", and fit for Kubernetes.

    A run is known by its root: two runs of one namespace may have one name in different roots.

    Raises:
        ConfigError: `part` has other characters than small letters, digits and '-', or more than 28.
    """
    return _checked(f"larpo-{hashlib.sha256(root.encode()).hexdigest()[:10]}-{part}")


def run_label(run: str) -> str:
    """`run` as the value of a label: itself where it can be one, else a hash of it."""
    return run if _LABEL.fullmatch(run) else hashlib.sha256(run.encode()).hexdigest()[:32]


def train_job(
    config: TrainConfig,
    uris: Uris,
    *,
    name: str,
    run: str,
    image: str,
    resources: Mapping[str, str] | None = None,
    deadline_s: int | None = None,
    queue: str | None = None,
    priority_class: str | None = None,
) -> dict[str, Any]:
    """The TrainJob that trains with `config` on `config.launch.nodes` machines.

    Args:
        config: `checkpoints` is set to a place beside `trained` where it is not set: a node's disk goes with it.
        uris: what is read and written.
        name: of the TrainJob; see `job_name`.
        run: the label that people and `cleanup` find it by.
        image: with larpo and what the launcher needs.
        resources: what a node asks for and may use, such as {"nvidia.com/gpu": "8", "memory": "900Gi"}; the runtime's
            holds for all else.
        deadline_s: seconds after which the cluster ends it.
        queue: of Kueue, which then says when it starts.
        priority_class: Kueue's, in that queue.

    Raises:
        ConfigError: other machines cannot reach a place, or `name` cannot be one.
    """
    for option, uri in uris.named().items():
        of_hub = option in ("policy", "reference") and _PINNED.fullmatch(uri)
        if not (of_hub or uri.startswith("s3://")):
            raise ConfigError(
                f"{option} is '{uri}', which other machines cannot reach",
                remedy="Use an s3:// URI, for a model its name on the hub, or train on one machine",
            )
    spec: dict[str, Any] = {
        "runtimeRef": {"apiGroup": GROUP, "kind": "TrainingRuntime", "name": RUNTIME},
        "trainer": {
            "image": image,
            "command": ["larpo", "train"],
            "args": _arguments(config, uris),
            "numNodes": config.launch.nodes,
            "numProcPerNode": config.launch.nproc,
        },
    }
    if resources:
        # Trainer lays both over the runtime's: beside limits alone its higher requests would stay, and no pod could be.
        spec["trainer"]["resourcesPerNode"] = {"limits": dict(resources), "requests": dict(resources)}
    if deadline_s is not None:
        spec["activeDeadlineSeconds"] = deadline_s
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "TrainJob",
        "metadata": {
            "name": _checked(name),
            "labels": {MANAGED_BY: MANAGER, RUN: run_label(run), **queued(queue, priority_class)},
            "annotations": {SPEC: hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:16]},
        },
        "spec": spec,
    }


def queued(queue: str | None, priority_class: str | None) -> dict[str, str]:
    """Labels that put a TrainJob or a pod into a queue of Kueue, as far as they are given."""
    named = {"kueue.x-k8s.io/queue-name": queue, "kueue.x-k8s.io/priority-class": priority_class}
    return {label: value for label, value in named.items() if value}


def _arguments(config: TrainConfig, uris: Uris) -> list[str]:
    """What comes behind `larpo train`."""
    kept = config.model_copy(update={"checkpoints": config.checkpoints or f"{uris.trained.rstrip('/')}.checkpoints"})
    paths = [text for name, uri in uris.named().items() for text in (f"--{name}", uri)]
    return [*paths, "--set", f"train={_settings(kept)}"]


def _settings(config: TrainConfig) -> str:
    """The section as an inline table of TOML, which has no null: a setting left out is one that is null by default."""
    text = inline(config.model_dump(mode="json"))
    assert TrainConfig.model_validate(tomllib.loads(f"train = {text}")["train"]) == config, "a null is not the default"
    return text


def _checked(name: str) -> str:
    if len(name) > _LONGEST_NAME or not _NAME.fullmatch(name):
        raise ConfigError(
            f"'{name}' cannot be the name of a TrainJob",
            remedy=f"Use at most {_LONGEST_NAME} lower-case letters, digits and '-'; start with a letter and do not "
            "end with '-'",
        )
    return name
