"""Where and how a model computes, by its settings: device, precision and attention."""

import logging
import re
from pathlib import Path

import torch
from transformers import PretrainedConfig

from larpo_lib.config import ModelConfig
from larpo_lib.errors import ConfigError
from larpo_lib.models.layout import PROMPT_SHARING_FAMILIES
from larpo_lib.progress import tell

_LARGE = 50_000_000
"""Parameters of a model whose precision decides how long one waits."""

_EAGER = {"deberta-v2"}
"""Families whose sdpa is another function: it leaves out DeBERTa's relative positions."""


def model_device(config: ModelConfig) -> torch.device:
    """The device a model goes to.

    Raises:
        ConfigError: there is no such device.
    """
    if config.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(config.device)
    except RuntimeError:
        raise ConfigError(
            f"device: '{config.device}' is not a device", remedy="Set it to auto, cpu, cuda or cuda:0"
        ) from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"device = '{config.device}', but this machine has {torch.cuda.device_count()} CUDA devices",
            remedy="Set it to auto or cpu",
        )
    return device


def model_dtype(config: ModelConfig) -> torch.dtype:
    """The precision of a model's weights."""
    if config.dtype != "auto":
        dtype: torch.dtype = getattr(torch, config.dtype)
        return dtype
    on_gpu = model_device(config).type == "cuda"
    return torch.bfloat16 if on_gpu and torch.cuda.is_bf16_supported() else torch.float32


def has_bfloat16_units() -> bool | None:
    """Whether this CPU multiplies matrices in bfloat16 itself; None where the system does not tell."""
    told = Path("/proc/cpuinfo")
    found = (
        re.search(r"^(?:flags|Features)\s*:(.*)$", told.read_text("utf-8"), re.MULTILINE) if told.is_file() else None
    )
    return None if found is None else not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(found[1].split())


def tell_precision(what: str, config: ModelConfig, parameters: int) -> None:
    """Say in which precision a model computes on a CPU, and why, where another one may be faster.

    Args:
        what: computes, such as "train".
        config: how the model is loaded.
        parameters: of the model. Of a small one nothing is said unless it was told to be slow.
    """
    if model_device(config).type != "cpu":
        return
    units = has_bfloat16_units()
    if model_dtype(config) is torch.bfloat16 and units is False:
        logging.getLogger(__name__).warning(
            "%s: computes in bfloat16, which is slow here: this CPU has no bfloat16 units. Set model.dtype to auto or "
            "float32",
            what,
        )
    elif config.dtype == "auto" and units is not None and parameters >= _LARGE:
        why = (
            'the default on a CPU. This one has bfloat16 units: model.dtype = "bfloat16" may be faster'
            if units
            else "because this CPU has no bfloat16 units"
        )
        tell(f"{what}: computes in float32, {why}")


def attention(config: ModelConfig, model: PretrainedConfig) -> str | None:
    """The attention implementation that a model can use; None for transformers' choice: sdpa, or eager without it.

    sdpa leaves out the cap on attention scores that Gemma 2 and others of its kind have.
    """
    if config.attention != "auto":
        return config.attention
    capped = getattr(model.get_text_config(), "attn_logit_softcapping", None) is not None
    return "eager" if capped or model.model_type in _EAGER else None


def training_attention(config: ModelConfig, model: PretrainedConfig) -> str | None:
    """The attention implementation to train with: on a GPU FlexAttention, for families that can share prompts by it.

    Raises:
        ConfigError: FlexAttention is asked for on a device where it has no backward pass.
    """
    on_gpu = model_device(config).type == "cuda"
    if config.attention == "flex_attention" and not on_gpu:
        raise ConfigError(
            "model.attention = 'flex_attention' cannot be used for training without a GPU: it has no backward "
            "pass on the CPU",
            remedy="Set it to auto, sdpa or eager",
        )
    if config.attention == "auto" and on_gpu and model.model_type in PROMPT_SHARING_FAMILIES:
        return "flex_attention"
    return attention(config, model)
