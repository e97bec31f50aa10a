"""A sampler without a model, for tests of the steps that sample."""

from collections.abc import Sequence

from larpo_lib.samplers import Request
from larpo_lib.schemas import Messages


class ScriptedSampler:
    """All but what it says, which a test's own class adds as `sample`. A prompt has as many tokens as words."""

    def __init__(self) -> None:
        self.requests: list[Sequence[Request]] = []
        self.closed = False

    def has_special_text(self, messages: Messages) -> bool:
        return False

    def prompt_tokens(self, messages: Messages) -> int:
        return len(messages[0]["content"].split())

    def close(self) -> None:
        self.closed = True
