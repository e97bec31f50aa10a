"""What the machine was doing while a step was taken: CPU, memory, disk, network and GPUs, as MLflow samples them."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from threading import Event

from larpo_lib.beside import beside
from larpo_lib.tracking.client import one_line
from larpo_lib.tracking.server import SYSTEM


@contextmanager
def system_metrics(log: Callable[[Mapping[str, float], int], None], first: int) -> Iterator[None]:
    """Log `system/...` every ten seconds within the block, where psutil is installed.

    GPUs are among them where nvidia-ml-py is. MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL sets other seconds. What
    cannot be logged is said and then left: it is not worth a run.

    Args:
        log: called with the numbers and the number of the sample.
        first: number of the first sample.
    """
    if find_spec("psutil") is None:
        yield
        return
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    monitor = SystemMetricsMonitor("", tracking_uri="http://nobody")  # its own thread ends in an outage
    prefix = f"{SYSTEM}{monitor.node_id}/" if monitor.node_id else SYSTEM

    def samples(ended: Event) -> None:
        number = first
        while True:
            for _ in range(monitor.samples_before_logging):
                monitor.collect_metrics()
                if ended.wait(monitor.sampling_interval):
                    return
            log({prefix + name: value for name, value in monitor.aggregate_metrics().items()}, number)
            number += 1
            for part in monitor.monitors:
                part.clear_metrics()

    def watch(ended: Event) -> None:
        try:
            samples(ended)
        except Exception as error:  # also of a driver
            logging.getLogger(__name__).warning("The machine is not watched any more: %s", one_line(error))

    with beside(watch):
        yield
