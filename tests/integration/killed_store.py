"""An S3 server that is killed while larpo talks to it."""

import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from services.radosgw import Gateway

from larpo_lib.storage import client, directories, edge, fetching, publishing


@contextmanager
def killed_at(gateway: Gateway, operation: str, number: int, away_s: float) -> Iterator[None]:
    """Kills the server when larpo is about to send the n-th request of a kind, and starts it again seconds later."""
    sent, threads = itertools.count(1), []

    def restart() -> None:
        time.sleep(away_s)
        gateway.restart()

    def count(**_: Any) -> None:
        if next(sent) == number:
            time.sleep(0.05)  # the requests before it are under way
            gateway.kill()
            threads.append(threading.Thread(target=restart))
            threads[0].start()

    def make_client(**arguments: Any) -> Any:
        made = client.make_client(**arguments)
        made.meta.events.register(f"before-call.s3.{operation}", count)
        return made

    with pytest.MonkeyPatch.context() as patch:
        for module in (directories, edge, fetching, publishing):
            patch.setattr(module, "store_client", make_client)
        yield
    assert threads, f"there were not {number} requests {operation}"
    threads[0].join()
