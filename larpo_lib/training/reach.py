"""Weights that a text does not reach: a vision tower's, and those of experts that no token is sent to.

Several processes exchange gradients once all of them are there, and checkpoints hold moments of every trained weight.
So weights that never get a gradient are frozen, and those that get none in a step get one of zeros.
"""

import re
from collections.abc import Collection
from typing import Any

import torch
from transformers import PreTrainedModel, TrainerCallback, TrainerControl, TrainerState
from transformers import TrainingArguments as Arguments

from larpo_lib.errors import ConfigError
from larpo_lib.models.context import context_length
from larpo_lib.models.layout import PROMPT_SHARING_FAMILIES
from larpo_lib.models.scoring import probe_rows
from larpo_lib.progress import tell

_TOKENS = 256
"""Of the long row: more than the 128 that DeepSeek-V4 compresses into one, so that its compressors have some."""
_PLACES = 3
_NUMBER = re.compile(r"\.\d+(?=\.|$)")
"""In the name of a weight: an element of a list of modules."""


def freeze_unreached(model: PreTrainedModel, *, told: bool) -> bool:
    """Freeze the trained weights that no row of tokens reaches, by what its scores are computed from.

    A weight that is reached has a gradient, be it zero; one that only chooses, such as an index of keys, is not
    reached. One that is not, where its like in another layer or another expert is, may be reached by other rows.

    Args:
        model: with a scorer attached, its weights whole.
        told: whether to say what is frozen.

    Returns:
        Whether some rows reach fewer of the weights that are still trained than others do.

    Raises:
        ConfigError: no weight would be left.
    """
    if model.config.model_type in PROMPT_SHARING_FAMILIES:  # whose weights all get gradients, which is tested
        return False
    trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    longest = min(context_length(model.config) or _TOKENS, _TOKENS)
    few, many = (reached_by(model, tokens) for tokens in (1, longest))
    reached = [name for name, weight in trained.items() if id(weight) in few | many]
    kinds = {_NUMBER.sub(".*", name) for name in reached}
    frozen = [name for name in trained if _NUMBER.sub(".*", name) not in kinds]
    if len(frozen) == len(trained):
        raise ConfigError(
            f"{model.name_or_path}: no text reaches the weights that would be trained", remedy="Change lora.targets"
        )
    for name in frozen:
        trained[name].requires_grad_(False)
    if frozen and told:
        kept = [name for name, weight in trained.items() if weight.requires_grad]
        tell(
            f"train: {len(frozen)} of {len(trained)} weight tensors stay as they are, since no text reaches them: "
            f"{_places(frozen, kept)}"
        )
    return any(weight.requires_grad and id(weight) not in few for weight in trained.values())


@torch.enable_grad()
def reached_by(model: PreTrainedModel, tokens: int) -> set[int]:
    """Ids of the weights that the scores of a row of so many tokens are computed from, by autograd's graph."""
    found: set[int] = set()
    seen: set[Any] = set()
    left: list[Any] = [model(**probe_rows(model, tokens)).sum().grad_fn]
    while left:
        node = left.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.add(id(node.variable))
        left += [following for following, _ in node.next_functions]
    return found


class ZeroGradients(TrainerCallback):
    """Gives weights that no token of a step has reached a gradient of zeros.

    As they have where experts are one tensor, and with DeepSpeed: how experts are stored changes nothing.
    """

    def on_pre_optimizer_step(
        self, args: Arguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Before the moments are changed."""
        if args.deepspeed is not None:
            return
        for weight in kwargs["model"].parameters():
            if weight.requires_grad and weight.grad is None:
                weight.grad = torch.zeros_like(weight)


def _places(frozen: Collection[str], kept: Collection[str]) -> str:
    """The largest modules of which all is frozen, with numbers of layers left out."""
    prefixes = {prefix for name in kept for prefix in _prefixes(name)}
    places = [next(prefix for prefix in _prefixes(name) if prefix not in prefixes) for name in frozen]
    found = list(dict.fromkeys(_NUMBER.sub(".*", place) for place in places))
    more = f" and {len(found) - _PLACES} more" if len(found) > _PLACES else ""
    return ", ".join(found[:_PLACES]) + more


def _prefixes(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts) + 1)]
