"""Forward passes that are the same in training as elsewhere."""

from typing import Any

import torch
from torch.nn.modules.dropout import _DropoutNd
from transformers import PretrainedConfig, PreTrainedModel

_NOISE = ("drop", "jitter")
"""What names of rates have in them: attention_dropout, resid_pdrop, layerdrop, jitter_noise, moe_jitter_eps."""
_THRESHOLD = "router_jitter_noise"
"""PhiMoE's bound on how far experts may be behind the first, in evaluation too. Others only copy it to their layers."""


def disable_dropout(model: PreTrainedModel) -> None:
    """Set every rate of dropout, of dropped layers and of noise on routers to 0.

    Some families have them in `nn.Dropout`, some as numbers in their layers, and some read them from the configuration
    in each forward pass.
    """
    configs: dict[int, PretrainedConfig] = {}
    for module in model.modules():
        if isinstance(module, _DropoutNd):
            module.p = 0.0
        _set_rates_to_zero(module)
        config = getattr(module, "config", None)
        if isinstance(config, PretrainedConfig):
            configs[id(config)] = config
    for config in configs.values():
        _set_rates_to_zero(config)


def _set_rates_to_zero(holder: torch.nn.Module | PretrainedConfig) -> None:
    values: dict[str, Any] = dict(vars(holder))
    for name, value in values.items():
        if isinstance(value, float) and value > 0 and any(part in name for part in _NOISE) and name != _THRESHOLD:
            setattr(holder, name, 0.0)
