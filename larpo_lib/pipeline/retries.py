"""Tries a step again that failed of what may pass.

Kubeflow cannot be relied on for it: whether a pod that ended with an error is started again depends on the version and
on the administrator of the workflow engine.
"""

import logging
from collections.abc import Callable
from time import sleep
from typing import TypeVar

from larpo_lib.errors import LarpoError
from larpo_lib.tracking.client import one_line

ResultT = TypeVar("ResultT")

PAUSES_S = (30.0, 120.0, 600.0)
"""Before the second, third and fourth try. Each request waits by itself before that, for minutes."""


def with_retries(work: Callable[[], ResultT]) -> ResultT:
    """Do `work`; where it fails of what may pass, do it again after a pause. It goes on from what it has kept.

    Raises:
        Exception: what `work` raised, if no other try can mend it, or none is left.
    """
    for pause_s in PAUSES_S:
        try:
            return work()
        except Exception as error:
            if not is_transient(error):
                raise
            logging.getLogger(__name__).warning("%s Retrying in %.0f s.", one_line(error), pause_s)
        sleep(pause_s)
    return work()


def is_transient(error: BaseException) -> bool:
    """Whether the same may succeed at another time with nothing changed."""
    return error.transient if isinstance(error, LarpoError) else isinstance(error, ConnectionError | TimeoutError)
