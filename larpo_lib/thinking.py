"""Responses of models that think before they reply: `<think>`, the thoughts, `</think>`, and the reply itself.

Chat templates of such models (DeepSeek-R1, Qwen3, QwQ) leave the thoughts of earlier turns out and write what stands
behind the last `</think>`. Where a template opens `<think>` in the prompt, the response begins inside the block.
"""

from collections.abc import Callable, Iterable
from typing import Literal

OPEN, CLOSE = "<think>", "</think>"


def thinks(response: str) -> bool:
    """Whether a response holds thoughts, finished or not."""
    return CLOSE in response or _opens(response)


def is_unfinished(response: str) -> bool:
    """Whether a response ends before its thoughts do, such as one that was cut at its longest: it holds no reply."""
    return _opens(response) and CLOSE not in response


def without_thoughts(response: str) -> str:
    """The reply behind the thoughts, as a template writes it into a history; nothing where they are unfinished."""
    if is_unfinished(response):
        return ""
    thoughts, closed, reply = response.rpartition(CLOSE)
    return reply.lstrip("\n") if closed else thoughts + reply


def with_whole_thoughts(response: str) -> str:
    """The response with the `<think>` that its prompt had opened for it, where it has none."""
    if CLOSE in response and OPEN not in response.partition(CLOSE)[0]:
        return f"{OPEN}\n{response.lstrip()}"
    return response


def scored_part(thinking: Literal["strip", "keep"]) -> Callable[[str], str]:
    """From a response to what a reward model reads of it: the reply, or all with the whole block of thoughts."""
    return without_thoughts if thinking == "strip" else with_whole_thoughts


def thought_counts(responses: Iterable[str]) -> dict[str, int]:
    """How many responses hold thoughts, and how many of these end before their thoughts do."""
    found = [is_unfinished(response) for response in responses if thinks(response)]
    return {"responses_with_thoughts": len(found), "thoughts_unfinished": sum(found)}


def _opens(response: str) -> bool:
    return response.lstrip().startswith(OPEN)
