"""Calls a user's function or object for responses."""

import inspect
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from larpo_lib.errors import LarpoError
from larpo_lib.functions import CallError, Keywords, call
from larpo_lib.models.model_dir import ModelDir
from larpo_lib.samplers.base import Request, Response, SamplingLimits
from larpo_lib.samplers.engines.policy import PolicySampler
from larpo_lib.samplers.function import FunctionSamplerConfig
from larpo_lib.schemas import LENGTH, STOP, UNKNOWN
from larpo_lib.targets import Loaded


class FunctionSampler(PolicySampler):
    """Draws responses by a function or an object of the user's own.

    Args:
        config: how the policy's tokenizer is loaded.
        loaded: the function or the class.
        keywords: what it takes.
        policy: the policy's directory.
        limits: of prompts and responses.

    Raises:
        LarpoError: the class raises as an object of it is made.
    """

    def __init__(
        self, config: FunctionSamplerConfig, loaded: Loaded, keywords: Keywords, policy: Path, limits: SamplingLimits
    ) -> None:
        super().__init__(ModelDir(policy, config.model), limits)
        self._given: dict[str, Any] = {"policy": policy, "limits": limits}
        self._loaded, self._keywords = loaded, keywords
        self._made: Any = None
        if inspect.isclass(loaded.function):
            self._made = self._called(loaded, keywords.of(self._given))
            self._loaded = replace(loaded, function=self._made)

    def sample(self, requests: Sequence[Request]) -> list[Response]:
        """Draw one response for each request, all in one call.

        Raises:
            LarpoError: the function raises, or gives something else than one text or `Response` for each.
        """
        if not requests:
            return []
        asked = {"requests": list(requests)}
        keywords = asked if self._made is not None else self._keywords.of({**self._given, **asked})
        given = self._called(self._loaded, keywords, requests)
        if not isinstance(given, list | tuple):
            raise self._wrong(f"gave {type(given).__name__}, not a list with one response a request", requests)
        if len(given) != len(requests):
            raise self._wrong(f"gave {len(given)} responses for {len(requests)} requests", requests)
        return [self._response(request, one) for request, one in zip(requests, given, strict=True)]

    def close(self) -> None:
        """Close the object, where it can be closed, and let go of it."""
        close = getattr(self._made, "close", None)
        if close is not None:
            close()
        self._made = None

    def _called(self, loaded: Loaded, keywords: dict[str, Any], requests: Sequence[Request] = ()) -> Any:
        try:
            return call(loaded, keywords)
        except CallError as error:
            raise self._wrong(str(error), requests) from error.__cause__

    def _response(self, request: Request, given: Any) -> Response:
        if isinstance(given, str):
            return Response(text=given, token_ids=None, num_tokens=None, finish_reason=STOP)
        if not isinstance(given, Response):
            raise self._wrong(f"gave {given!r:.60}, which is no text and no Response", [request])
        if given.finish_reason not in (STOP, LENGTH, UNKNOWN):
            raise self._wrong(f"gave the finish_reason {given.finish_reason!r:.60}", [request])
        return given

    def _wrong(self, what: str, requests: Sequence[Request]) -> LarpoError:
        prompts = list(dict.fromkeys(request.prompt_id for request in requests))
        several = f"{len(prompts)} prompts, the first " if len(prompts) > 1 else "prompt " if prompts else ""
        of = f"; {several}{prompts[0]}" if prompts else ""
        return LarpoError(f"{self._loaded.shown} {what}{of}", remedy="Fix the function")
