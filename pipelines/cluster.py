"""What every task needs in the cluster: images, resources, secrets, volumes, retries, timeouts.

The local runners leave out all of it but retries. Names of secrets, configuration and volumes are those of `k8s/`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kfp import dsl, kubernetes

from larpo_kubeflow.components.component import PLACES, POD, Component
from larpo_kubeflow.components.images import Images, Target
from larpo_kubeflow.pipelines.limits import Limits
from larpo_lib.kubernetes.manifests import CA, CA_FOLDER, queued
from larpo_lib.pipeline import variables

S3_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
MLFLOW_KEYS = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
JUDGE_KEYS = ("OPENAI_API_KEY",)
HUB_KEYS = ("HF_TOKEN",)
ENVIRONMENT = ("AWS_ENDPOINT_URL_S3", "AWS_REGION", "MLFLOW_TRACKING_URI")
# No proxies: Kubeflow gives its own to all pods, and a variable that is given twice, as a value and from a ConfigMap,
# becomes one with both, which the cluster refuses.
OPTIONAL_ENVIRONMENT = (
    "AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "HF_ENDPOINT", "HF_HUB_OFFLINE", "LARPO_S3_PATIENCE",
    variables.QUEUE, variables.PRIORITY_CLASS,
)  # fmt: skip
PART_OF = ("app.kubernetes.io/part-of", "larpo")
"""Label of every pod; the network policies are about those that have it."""

_SECRETS = {"larpo-s3": S3_KEYS, "larpo-mlflow": MLFLOW_KEYS, "larpo-judge": JUDGE_KEYS, "larpo-hub": HUB_KEYS}
_HOUR = 3600
_WORKFLOW = "metadata.labels['workflows.argoproj.io/workflow']"
_SHM = "/dev/shm"  # noqa: S108 - of a pod of its own


_TRIES_FOR = "2592000s"
"""30 days from the beginning of the first try; a try that ends later is cut off, and none is begun later."""


def machine_inputs(*kinds: str) -> dict[str, type]:
    """What a nested pipeline must be given so that tasks of those kinds in it can be given their machines."""
    return {f"{kind}_{part}": cls for kind in kinds for part, cls in POD.items()} | {**PLACES}


def machine(given: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """The machine of a kind of tasks, from what a pipeline was given; arguments of their components."""
    return {part: given[f"{kind}_{part}"] for part in POD} | {name: given[name] for name in PLACES}


@dataclass(frozen=True)
class Cluster:
    """Puts the settings on tasks.

    Attributes:
        images: where the images are.
        limits: retries and timeouts.
    """

    images: Images
    limits: Limits

    def light(self, task: dsl.PipelineTask, *, retries: int | None = None) -> dsl.PipelineTask:
        """A task that needs a processor only. The first one names the GPUs that TrainJobs are to ask for."""
        self._everywhere(task, "evaluator", self.limits.short_hours, retries)
        task.set_env_variable(variables.GPU_TYPE, self.limits.gpu_type)
        return task.set_cpu_request("1").set_memory_request("2Gi")

    def heavy(self, component: Component, machine: Mapping[str, Any], **arguments: Any) -> dsl.PipelineTask:
        """A task that runs a model.

        What its pod is given are arguments of the component as well: Kubeflow hands into a loop or a condition only
        what a component in it is given.
        """
        limits = self.limits
        task = component(**arguments, **machine)
        self._everywhere(task, component.target, limits.long_hours, None)
        task.set_accelerator_type(limits.gpu_type).set_accelerator_limit(machine["gpus"])
        task.set_cpu_request(limits.cpus)
        task.set_memory_request(machine["memory"]).set_memory_limit(machine["memory"])
        for label, value in queued(limits.queue, limits.priority_class).items():
            kubernetes.add_pod_label(task, label, value)
        kubernetes.empty_dir_mount(task, volume_name="shm", mount_path=_SHM, medium="Memory", size_limit=limits.shm)
        kubernetes.add_node_selector_json(task, node_selector_json=machine["node_selector"])
        kubernetes.add_toleration_json(task, toleration_json=machine["tolerations"])
        return task

    def last(self, task: dsl.PipelineTask) -> dsl.PipelineTask:
        """The task that runs whatever became of the others. Its pod's label names the workflow, which it asks."""
        self._reach(task, "evaluator")
        kubernetes.use_field_path_as_env(task, env_name=variables.WORKFLOW, field_path=_WORKFLOW)
        return task

    def _everywhere(self, task: dsl.PipelineTask, target: Target, hours: int, retries: int | None) -> None:
        self._reach(task, target)
        task.set_retry(
            num_retries=self.limits.retries if retries is None else retries,
            backoff_duration=self.limits.backoff,
            backoff_factor=2.0,
            backoff_max_duration=_TRIES_FOR,
        )
        kubernetes.set_timeout(task, hours * _HOUR)
        task.set_env_variable(variables.DEADLINE_S, str(hours * _HOUR))

    def _reach(self, task: dsl.PipelineTask, target: Target) -> None:
        """Image, credentials, addresses, certificates, the cache volume, and no more rights than it needs.

        Kubeflow's own cache is left off: it knows nothing of what is in the store. A step finds its output there by
        itself.
        """
        task.set_container_image(self.images.reference(target))
        task.set_caching_options(False)
        kubernetes.add_pod_label(task, *PART_OF)
        kubernetes.set_security_context(task, run_as_non_root=True)
        # Optional, all of them: with workload identity there is no larpo-s3.
        for secret, keys in _SECRETS.items():
            kubernetes.use_secret_as_env(
                task, secret_name=secret, secret_key_to_env={key: key for key in keys}, optional=True
            )
        for names, optional in ((ENVIRONMENT, False), (OPTIONAL_ENVIRONMENT, True)):
            kubernetes.use_config_map_as_env(
                task,
                config_map_name="larpo-env",
                config_map_key_to_env=dict(zip(names, names, strict=True)),
                optional=optional,
            )
        kubernetes.mount_pvc(task, pvc_name="larpo-cache", mount_path="/cache")
        kubernetes.use_config_map_as_volume(task, config_map_name=CA, mount_path=CA_FOLDER, optional=True)
        task.set_env_variable(variables.IMAGE, self.images.reference(target))
