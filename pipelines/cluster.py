"""What every task needs in the cluster: images, resources, secrets, volumes, retries, timeouts.

The local runners leave out all of it but retries. Names of secrets, configuration and volumes are those of `k8s/`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kfp import dsl, kubernetes

from components.images import Images, Target

S3_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
MLFLOW_KEYS = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
JUDGE_KEYS = ("OPENAI_API_KEY",)
ENVIRONMENT = ("AWS_ENDPOINT_URL_S3", "AWS_REGION", "MLFLOW_TRACKING_URI")
OPTIONAL_ENVIRONMENT = ("AWS_CA_BUNDLE",)

_HOUR = 3600
_SHM = "/dev/shm"  # noqa: S108 - of a pod of its own


@dataclass(frozen=True)
class Limits:
    """What Kubeflow takes as constants only, so that it is set when a pipeline is compiled.

    Attributes:
        retries: further tries of a task that failed.
        backoff: pause before the first of them; each further pause is twice as long, up to ten minutes.
        short_hours: longest time of a task that reads and writes tables.
        long_hours: longest time of a task that samples, scores, trains or evaluates.
        shm: size of /dev/shm where vLLM or NCCL run.
    """

    retries: int = 2
    backoff: str = "60s"
    short_hours: int = 6
    long_hours: int = 72
    shm: str = "16Gi"


@dataclass(frozen=True)
class Machine:
    """What a kind of task is given, each a run-time parameter of the pipeline."""

    gpus: Any
    cpus: Any
    memory: Any
    gpu_type: Any
    node_selector: Any
    tolerations: Any


@dataclass(frozen=True)
class Cluster:
    """Puts the settings on tasks.

    Attributes:
        images: where the images are.
        limits: retries and timeouts.
    """

    images: Images
    limits: Limits

    def light(self, task: dsl.PipelineTask, *, cache: bool = True, retries: int | None = None) -> dsl.PipelineTask:
        """A task that needs a processor only."""
        self._everywhere(task, "evaluator", self.limits.short_hours, retries)
        task.set_cpu_request("1").set_memory_request("2Gi")
        return task if cache else task.set_caching_options(False)

    def heavy(self, task: dsl.PipelineTask, target: Target, machine: Machine) -> dsl.PipelineTask:
        """A task that runs a model."""
        self._everywhere(task, target, self.limits.long_hours, None)
        task.set_accelerator_type(machine.gpu_type).set_accelerator_limit(machine.gpus)
        task.set_cpu_request(machine.cpus)
        task.set_memory_request(machine.memory).set_memory_limit(machine.memory)
        kubernetes.empty_dir_mount(
            task, volume_name="shm", mount_path=_SHM, medium="Memory", size_limit=self.limits.shm
        )
        kubernetes.add_node_selector_json(task, node_selector_json=machine.node_selector)
        kubernetes.add_toleration_json(task, toleration_json=machine.tolerations)
        return task

    def last(self, task: dsl.PipelineTask) -> dsl.PipelineTask:
        """The task that runs whatever became of the others."""
        self._reach(task, "evaluator")
        return task.set_caching_options(False)

    def _everywhere(self, task: dsl.PipelineTask, target: Target, hours: int, retries: int | None) -> None:
        self._reach(task, target)
        task.set_retry(
            num_retries=self.limits.retries if retries is None else retries,
            backoff_duration=self.limits.backoff,
            backoff_factor=2.0,
            backoff_max_duration="600s",
        )
        kubernetes.set_timeout(task, hours * _HOUR)

    def _reach(self, task: dsl.PipelineTask, target: Target) -> None:
        """Image, credentials, addresses and the cache."""
        task.set_container_image(self.images.reference(target))
        for secret, keys, optional in (
            ("larpo-s3", S3_KEYS, False),
            ("larpo-mlflow", MLFLOW_KEYS, True),
            ("larpo-judge", JUDGE_KEYS, True),
        ):
            kubernetes.use_secret_as_env(
                task, secret_name=secret, secret_key_to_env={key: key for key in keys}, optional=optional
            )
        for names, optional in ((ENVIRONMENT, False), (OPTIONAL_ENVIRONMENT, True)):
            kubernetes.use_config_map_as_env(
                task,
                config_map_name="larpo-env",
                config_map_key_to_env=dict(zip(names, names, strict=True)),
                optional=optional,
            )
        kubernetes.mount_pvc(task, pvc_name="larpo-cache", mount_path="/cache")
        kubernetes.use_field_path_as_env(task, env_name="POD_NAMESPACE", field_path="metadata.namespace")
        kubernetes.use_field_path_as_env(task, env_name="POD_NAME", field_path="metadata.name")
        task.set_env_variable("LARPO_IMAGE", self.images.reference(target))
