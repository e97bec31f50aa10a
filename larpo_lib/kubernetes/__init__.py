"""Training on several machines of a Kubernetes cluster, as a TrainJob of Kubeflow Trainer v2."""

from larpo_lib.kubernetes.manifests import Uris, job_name, train_job
from larpo_lib.kubernetes.training import cleanup, train_on_nodes

__all__ = ["Uris", "cleanup", "job_name", "train_job", "train_on_nodes"]
