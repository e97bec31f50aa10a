"""torch, imported when something of it is first used: settings look objectives up without it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
else:

    class _Late:
        def __getattr__(self, name: str) -> Any:
            found = getattr(import_module("torch"), name)
            setattr(self, name, found)
            return found

    torch = _Late()


def logsigmoid(values: torch.Tensor) -> torch.Tensor:
    """log(1 / (1 + exp(-values)))."""
    return torch.nn.functional.logsigmoid(values)


__all__ = ["logsigmoid", "torch"]
