"""What the machine was doing while a step was taken: CPU, memory, disk, network and GPUs, as MLflow samples them."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec


@contextmanager
def system_metrics(uri: str, run_id: str) -> Iterator[None]:
    """Log `system/...` to a run every ten seconds within the block, where psutil is installed.

    GPUs are among them where nvidia-ml-py is. MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL sets other seconds. What the
    monitor cannot log it says and goes on without: it is not worth a run.
    """
    if find_spec("psutil") is None:
        yield
        return
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    monitor = SystemMetricsMonitor(run_id, resume_logging=True, tracking_uri=uri)
    monitor.start()
    try:
        yield
    finally:
        monitor.finish()
