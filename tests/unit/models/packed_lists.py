"""Lists of random tokens, families whose sliding window cuts them, and what a model makes of their rows."""

from collections.abc import Sequence
from typing import Any

import torch
from hypothesis import strategies as st
from small_models import FAMILIES, VOCABULARY
from torch import Tensor
from transformers import PreTrainedModel, Qwen2Config

from larpo_lib.models.packing import PackedList
from larpo_lib.models.scoring import TokenRows

Sizes = Sequence[tuple[int, Sequence[int]]]
"""Length of each list's prompt, and of its responses."""

SIZES: Sizes = ((9, (6, 1, 8)), (1, (3,)), (7, (5, 5, 2, 11)), (4, (1, 1)))
LONG: Sizes = ((23, (17, 1, 9, 14)), (3, (25, 8)), (31, (5,)), (12, (12, 20, 2)))
"""Prompts and responses longer than `WINDOW`, and shorter ones."""
MANY: Sizes = tuple((prompt, (6, 3, 8, 5) * 4) for prompt in (9, 12, 5, 7))
"""64 responses, so that the mean of their rounding errors hardly depends on chance."""

WINDOW = 6
_LATE_LAYERS_SLIDE = Qwen2Config(
    num_hidden_layers=2, use_sliding_window=True, sliding_window=WINDOW, max_window_layers=1
)
_ONE_OF_EACH: dict[str, Any] = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": WINDOW}
_BY_QWEN2: dict[str, Any] = {name: getattr(_LATE_LAYERS_SLIDE, name) for name in _ONE_OF_EACH}
WINDOWED: dict[str, dict[str, Any]] = {
    "mistral": {"sliding_window": WINDOW},
    "phi3": {"sliding_window": WINDOW},
    "qwen2": _BY_QWEN2,
    "qwen3": _BY_QWEN2,
    "gemma2": _ONE_OF_EACH,
    "gemma3": _ONE_OF_EACH,
}
"""Changes of a family's settings that make all its layers slide, or one of two."""

CASES = [(family, {}) for family in FAMILIES] + list(WINDOWED.items())


def random_lists(sizes: Sizes, seed: int = 1) -> list[PackedList]:
    generator = torch.Generator().manual_seed(seed)

    def draw(length: int) -> list[int]:
        return torch.randint(3, VOCABULARY, (length,), generator=generator).tolist()

    return [(draw(prompt), [draw(length) for length in lengths]) for prompt, lengths in sizes]


def logps_and_gradient(model: PreTrainedModel, rows: TokenRows, *, bf16: bool = False) -> tuple[Tensor, Tensor]:
    """Log-probabilities, and the gradient of a sum of them that no two responses contribute to alike."""
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        logps = model(**rows)
    (logps * torch.linspace(-1.0, 2.0, len(logps))).sum().backward()
    return logps.detach(), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def rms(errors: Tensor) -> float:
    return float(errors.pow(2).mean().sqrt())


def lists_of(longest: int) -> st.SearchStrategy[list[PackedList]]:
    """One to five lists, with prompts and responses of at most `longest` tokens."""

    def some(length: int) -> list[int]:
        return [5] * length

    prompts = st.integers(1, longest).map(some)
    responses = st.lists(st.integers(0, longest).map(some), min_size=1, max_size=4)
    return st.lists(st.tuples(prompts, responses), min_size=1, max_size=5)
