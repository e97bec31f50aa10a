"""Training on several machines of a Kubernetes cluster, as a TrainJob of Kubeflow Trainer v2."""

from larpo_lib.kubernetes.manifests import job_name
from larpo_lib.kubernetes.training import cleanup, train_on_nodes

__all__ = ["cleanup", "job_name", "train_on_nodes"]
