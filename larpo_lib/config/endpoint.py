"""Settings of whatever is asked over HTTP."""

from typing import ClassVar
from urllib.parse import urlsplit

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt, field_validator
from pydantic_core import PydanticCustomError

from larpo_lib.config.base import Section
from larpo_lib.redaction import names_variable

UNTOLD_INPUT = "untold_input"
"""Type of a validation error whose input is not to be shown."""


class EndpointConfig(Section):
    """A server that is asked over HTTP, many requests at a time."""

    execution: ClassVar[frozenset[str]] = frozenset({"base_url", "api_key_env", "concurrency", "timeout_s", "retries"})

    base_url: str
    """URL of the server, for example http://localhost:8000/v1, without user, password or query."""
    api_key_env: str | None = None
    """Name of the environment variable that holds the API key, which is never logged or written to a file. Not set: no
    key is sent."""
    concurrency: PositiveInt = 64
    """Maximum number of requests at the same time."""
    timeout_s: PositiveFloat = 600.0
    """Maximum seconds to wait for a complete answer."""
    retries: NonNegativeInt = 8
    """Number of retries after a failed connection, a timeout, the status 408, 409, 429 or 500 and above, or an answer
    that says that it failed.

    The pauses between retries grow up to a minute; eight retries take two to three minutes. If the server says how long
    to wait (Retry-After), larpo waits at least that long, up to ten minutes.
    """

    @field_validator("base_url", mode="after")
    @classmethod
    def _holds_no_secret(cls, url: str) -> str:
        try:
            parts = urlsplit(url)
            plain = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:  # no port number
            plain = False
        if not plain or any(character in url for character in "@?# "):
            raise PydanticCustomError(
                UNTOLD_INPUT,
                "Input should be http:// or https://, a host and a path, without user, password or query;"
                " a key comes from the environment variable that api_key_env names",
            )
        return url.rstrip("/")

    @field_validator("api_key_env", mode="after")
    @classmethod
    def _names_variable(cls, name: str | None) -> str | None:
        if name is not None and not names_variable(name):
            raise PydanticCustomError(
                UNTOLD_INPUT,
                "Input should be the name of an environment variable, such as OPENAI_API_KEY, and not the key itself",
            )
        return name
