"""Settings of whatever is asked over HTTP."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from larpo_lib.config.base import Section


class EndpointConfig(Section):
    """A server that is asked over HTTP, many requests at a time."""

    execution: ClassVar[frozenset[str]] = frozenset({"base_url", "api_key_env", "concurrency", "timeout_s", "retries"})

    base_url: str = Field(pattern=r"^https?://")
    """Such as http://localhost:8000/v1."""
    api_key_env: str | None = None
    """Name of the environment variable that holds the key, which is never logged or written; null: none is sent."""
    concurrency: PositiveInt = 64
    """Requests in flight at one time."""
    timeout_s: PositiveFloat = 600.0
    """Longest wait for one answer."""
    retries: NonNegativeInt = 8
    """Further tries of a request that found no connection or no answer, or was answered 429 or 500 and above."""
