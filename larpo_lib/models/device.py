"""Where and how a model computes, by its settings: device, precision and attention."""

from __future__ import annotations

import torch

from larpo_lib.config import ModelConfig
from larpo_lib.errors import ConfigError
from larpo_lib.models.layout import PROMPT_SHARING_FAMILIES

_EAGER = {"gemma2", "deberta-v2"}
"""Families without sdpa: it leaves out Gemma 2's cap on attention scores, and DeBERTa's relative positions."""


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


def attention(config: ModelConfig, model_type: str) -> str:
    """The attention implementation a model family can use."""
    if config.attention != "auto":
        return config.attention
    return "eager" if model_type in _EAGER else "sdpa"


def training_attention(config: ModelConfig, model_type: str) -> str:
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
    if config.attention == "auto" and on_gpu and model_type in PROMPT_SHARING_FAMILIES:
        return "flex_attention"
    return attention(config, model_type)
