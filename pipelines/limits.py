"""What Kubeflow takes as constants only, so that it is set when a pipeline is compiled."""

from dataclasses import dataclass

from larpo_lib.pipeline.variables import NVIDIA_GPU


@dataclass(frozen=True)
class Limits:
    """Retries, times and machines.

    Attributes:
        retries: further tries of a task whose pod failed, where the workflow engine tries again at all.
        backoff: pause before the first of them; each further pause is twice as long.
        short_hours: longest time of a try of a task that reads and writes tables.
        long_hours: longest time of a try of a task that samples, scores, trains or evaluates.
        shm: size of /dev/shm where vLLM or NCCL run.
        cpus: processors that a task with a model asks for; there is no limit to what it may use.
        gpu_type: name of the resource that GPUs are in the cluster.
        queue: of Kueue, in which pods with a model wait for their machine; empty: none.
        priority_class: Kueue's, in that queue.
    """

    retries: int = 2
    backoff: str = "60s"
    short_hours: int = 6
    long_hours: int = 72
    shm: str = "16Gi"
    cpus: str = "2"
    gpu_type: str = NVIDIA_GPU
    queue: str = ""
    priority_class: str = ""
