"""What the trainer's tests share."""

from __future__ import annotations

import gc

import pytest


@pytest.fixture(scope="session", autouse=True)
def _libraries_are_no_garbage() -> None:
    """Every training begins with a full garbage collection, which looks at all that was imported: most of its time."""
    gc.collect()
    gc.freeze()
