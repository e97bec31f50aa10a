"""What every sampler offers: the retriever's side of the loop."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from larpo_lib.schemas import Messages


@dataclass(frozen=True)
class Request:
    """One response to draw.

    Attributes:
        prompt_id: identity of the prompt.
        messages: the conversation to answer.
        temperature: 0 draws greedily.
        seed: decides the response, whatever else is drawn beside it.
    """

    prompt_id: str
    messages: Messages
    temperature: float
    seed: int


@dataclass(frozen=True)
class SamplingLimits:
    """What holds for every response of a step.

    Attributes:
        max_prompt_tokens: longest prompt that `sample` will be given.
        max_new_tokens: longest response, end-of-turn token included.
        top_p: smallest share of the probability mass to draw from.
        temperatures: of all the responses; none where they are not known.
    """

    max_prompt_tokens: int
    max_new_tokens: int
    top_p: float
    temperatures: tuple[float, ...] = ()

    @property
    def longest(self) -> int:
        """Tokens of the longest prompt with the longest response."""
        return self.max_prompt_tokens + self.max_new_tokens


@dataclass(frozen=True)
class Response:
    """One drawn response.

    Attributes:
        text: without special tokens, and without the token that ended it; with the `<think>` that its prompt opened, so
            that thoughts are told from a reply even where they were cut.
        token_ids: as sampled, with the end-of-turn token if it was generated; None if the sampler gives text only.
        num_tokens: their number; None if unknown.
        finish_reason: `stop` or `length`.
    """

    text: str
    token_ids: list[int] | None
    num_tokens: int | None
    finish_reason: str


class Sampler(Protocol):
    """Draws responses from a policy."""

    def prompt_tokens(self, messages: Messages) -> int:
        """Length of a prompt in tokens, with the chat template's own."""
        ...

    def has_special_text(self, messages: Messages) -> bool:
        """Whether a prompt's text holds the name of one of the tokenizer's special tokens."""
        ...

    def sample(self, requests: Sequence[Request]) -> list[Response]:
        """Draw one response for each request, in their order."""
        ...

    def close(self) -> None:
        """Give back what it holds, such as the memory of a GPU; it samples no more."""
        ...


def stream_seed(*parts: object) -> int:
    """A seed in [0, 2^63) that depends on `parts` alone, so that no two streams meet."""
    text = "\0".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
