"""Where rewards come from: rerankers score responses, judges say right or wrong, and answers are read for both."""

from collections.abc import Callable
from typing import Any, TypeVar

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


def list_relative(function: FunctionT) -> FunctionT:
    """Decorates a reward function whose scores hold only within the list they were given in.

    It is called once for each prompt, with all responses of the prompt's list.
    """
    function.list_relative = True  # type: ignore[attr-defined]
    return function
