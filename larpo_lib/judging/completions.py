"""Chat completions of a judge behind an OpenAI-compatible server, kept as the server gave them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, cast

from pydantic import AfterValidator

from larpo_lib.config import EndpointConfig, LlmJudgeConfig
from larpo_lib.endpoint import Endpoint
from larpo_lib.errors import InputRefusedError
from larpo_lib.judging.known_judges import refuse_shut_down, require_askable
from larpo_lib.served_models import check_served
from larpo_lib.thinking import CLOSE

_CUT = "length"
"""Why a reply ended that has as many tokens as it may."""


def completions(config: EndpointConfig) -> Endpoint[dict[str, Any]]:
    """The route that completes chats. An answer without a first choice is refused before it is stored.

    A judge that its vendor has shut down is refused when there is something to ask; its decisions need no server.
    """
    kind = Annotated[dict[str, Any], AfterValidator(_with_choice)]
    return _Completions(config, "chat/completions", cast("type[dict[str, Any]]", kind))


class _Completions(Endpoint[dict[str, Any]]):
    def arrivals(self, payloads: Sequence[dict[str, Any]]) -> Iterator[tuple[int, dict[str, Any] | InputRefusedError]]:
        if payloads:
            refuse_shut_down(self.config)
        return super().arrivals(payloads)


def text(completion: Mapping[str, Any]) -> str:
    """What the first choice says; nothing where a filter or a tool call took its place."""
    return completion["choices"][0]["message"].get("content") or ""


def is_cut(completion: Mapping[str, Any]) -> bool:
    """Whether what the first choice says may lack its end. An answer without a finish reason does not tell: no."""
    return bool(completion["choices"][0].get("finish_reason") == _CUT)


def may_be_thoughts(completion: Mapping[str, Any]) -> bool:
    """Whether all that the first choice says may be thoughts: it is cut, and no thoughts end in it.

    Where a chat template opens `<think>` in the prompt, a reply that is cut in its thoughts has no tag that says so.
    """
    return is_cut(completion) and CLOSE not in text(completion)


def _with_choice(completion: dict[str, Any]) -> dict[str, Any]:
    try:
        content = completion["choices"][0]["message"].get("content")
    except (KeyError, IndexError, TypeError, AttributeError):
        raise ValueError("it has no choices[0].message") from None
    if content is not None and not isinstance(content, str):
        raise ValueError("choices[0].message.content is not text")
    return completion


def check_judge(config: LlmJudgeConfig, retries: int | None = None, tokens: int = 0) -> None:
    """Check that a judge's server answers, and serves its model. One that does not list its models passes.

    Args:
        config: the server and the model's name.
        retries: instead of the settings' own.
        tokens: of a reply.

    Raises:
        ConfigError: the judge is shut down, the key is not set, or the server serves other models.
        EndpointError: the server does not answer.
    """
    require_askable(config)
    check_served(config, "models", config.model, "model", retries, tokens)
