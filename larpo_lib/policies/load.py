"""Loads models and tokenizers from Hugging Face directories, and says plainly what is wrong with one it cannot use."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from larpo_lib.adapters import WEIGHTS as ADAPTER_WEIGHTS
from larpo_lib.adapters import is_adapter, model_directory, tokenizer_directory
from larpo_lib.config import ModelConfig
from larpo_lib.errors import ConfigError, ModelError
from larpo_lib.policies.chat import attach_settings, select_chat_template
from larpo_lib.policies.layout import PROMPT_SHARING_FAMILIES
from larpo_lib.policies.merging import merge_adapters

_EAGER = {"gemma2", "deberta-v2"}
"""Families without sdpa: it leaves out Gemma 2's cap on attention scores, and DeBERTa's relative positions."""
_POSITIONS_BEHIND_PADDING = {
    "roberta",
    "xlm-roberta",
    "xlm-roberta-xl",
    "camembert",
    "roberta-prelayernorm",
    "longformer",
}
"""Families whose first position is the one behind the padding id, so that so many fewer are left."""
_SAVED = "Give a directory written by save_pretrained, with weights in safetensors"


def load_policy(path: Path, config: ModelConfig) -> PreTrainedModel:
    """Load a causal language model in evaluation mode.

    Raises:
        ModelError: the directory is missing, holds no causal language model, or its weights are incomplete or not
            safetensors.
    """
    return load_model(AutoModelForCausalLM, path, config)


def load_model(kind: Any, path: Path, config: ModelConfig) -> PreTrainedModel:
    """Load a model with one of the `AutoModelFor...` classes, in evaluation mode, on its device.

    Adapters are merged into their base.
    """
    settings, device = load_model_config(path, config), model_device(config)
    try:
        model, found = kind.from_pretrained(
            model_directory(path),
            dtype=model_dtype(config),
            attn_implementation=attention(config, settings.model_type),
            trust_remote_code=config.trust_remote_code,
            use_safetensors=True,
            output_loading_info=True,
        )
        missing = sorted(found["missing_keys"])
        if is_adapter(path) and not missing:
            model = merge_adapters(model, path)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ModelError(
            f"{path}: the model cannot be loaded: {first_line(error)}",
            remedy=_SAVED,
        ) from error
    except ImportError as error:  # a library that this attention needs
        raise ModelError(
            f"{path}: {first_line(error)}", remedy="Install it, or set model.attention to sdpa or eager"
        ) from error
    if missing:  # transformers would go on with random numbers in their place
        raise ModelError(
            f"{path}: the weights lack {missing[0]}" + (f" and {len(missing) - 1} more" if len(missing) > 1 else ""),
            remedy=f"Give a model that was saved as {type(model).__name__}",
        )
    return model.to(device).eval()


def check_weights(path: Path) -> None:
    """Check that a model's weights are there and whole, by the headers of their files alone.

    Raises:
        ModelError: a file is missing, torn, or no safetensors.
    """
    if is_adapter(path):
        base = model_directory(path)
        _check_files(path, {ADAPTER_WEIGHTS})
        path = base
    index = path / "model.safetensors.index.json"
    names = {"model.safetensors"}
    try:
        if index.is_file():
            names = set(json.loads(index.read_text("utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{path}: the weights cannot be read: {first_line(error)}", remedy=_SAVED) from error
    _check_files(path, names)


def _check_files(path: Path, names: Iterable[str]) -> None:
    try:
        for name in sorted(names):
            with safe_open(path / name, framework="pt"):
                continue
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: the weights cannot be read: {first_line(error)}", remedy=_SAVED) from error


def load_model_config(path: Path, config: ModelConfig) -> PretrainedConfig:
    """Read a model's config.json without its weights: enough to refuse a wrong directory early."""
    path = model_directory(path)
    if not (path / "config.json").is_file():
        raise ModelError(
            f"{path}: is not a model directory (no config.json)",
            remedy="Give a local directory written by save_pretrained",
        )
    try:
        return AutoConfig.from_pretrained(path, trust_remote_code=config.trust_remote_code)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{path}: config.json cannot be read: {first_line(error)}") from error


def context_length(path: Path, config: ModelConfig) -> int | None:
    """Tokens that a model takes in one sequence, by its config.json; None if that does not say.

    Linear and dynamic scaling of its rotary embeddings count; other scalings are in the number already.
    """
    settings = load_model_config(path, config).get_text_config()
    positions = getattr(settings, "max_position_embeddings", None)
    if positions is None:
        return None
    if settings.model_type in _POSITIONS_BEHIND_PADDING:
        positions -= settings.pad_token_id + 1
    rope = getattr(settings, "rope_parameters", None) or {}
    factor = rope.get("factor", 1.0) if rope.get("rope_type") in ("linear", "dynamic") else 1.0
    return int(positions * factor)


def check_context(path: Path, config: ModelConfig, tokens: int, settings: str) -> None:
    """Check that a model takes sequences of `tokens` tokens.

    Beyond its positions a model ends in an index error, or goes on with positions that it never saw in training.

    Args:
        path: the model's directory.
        config: how it is loaded.
        tokens: length of the longest sequence that it will be given.
        settings: what says so, for the message, such as "max_tokens = 2048".

    Raises:
        ConfigError: it takes fewer.
    """
    context = context_length(path, config)
    if context is not None and tokens > context:
        raise ConfigError(
            f"{settings}: sequences of up to {tokens} tokens, but {path} takes {context} (max_position_embeddings)",
            remedy=f"Lower them to at most {context} tokens together, or give a model with a longer context",
        )


def load_tokenizer(path: Path, config: ModelConfig) -> PreTrainedTokenizerBase:
    """Load a policy's tokenizer. One without a padding token gets its eos token as one.

    In a causal language model padding is a filler behind a mask, so that any token will do; TRL takes the eos, too.

    Raises:
        ModelError: there is none, it lacks a chat template or an end-of-sequence token, or it has several templates of
            which none is chosen.
    """
    tokenizer = read_tokenizer(path, config)
    if tokenizer.eos_token_id is None:
        raise ModelError(f"{path}: the tokenizer has no eos token", remedy="Set eos_token in tokenizer_config.json")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    select_chat_template(tokenizer, config)
    attach_settings(tokenizer, config)
    return tokenizer


def load_plain_tokenizer(path: Path, config: ModelConfig) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a model that reads texts, not conversations.

    Raises:
        ModelError: there is none, or it lacks a padding token.
    """
    tokenizer = read_tokenizer(path, config)
    if tokenizer.pad_token_id is None:
        raise ModelError(
            f"{path}: the tokenizer has no pad token",
            remedy="Name one of its tokens that never appears in text, by rerank.reranker.model.pad_token",
        )
    return tokenizer


def read_tokenizer(path: Path, config: ModelConfig) -> PreTrainedTokenizerBase:
    """Load a tokenizer whatever it lacks.

    Raises:
        ModelError: there is none, or it does not belong to its model.
    """
    settings = load_model_config(path, config)
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            tokenizer_directory(path), config=settings, trust_remote_code=config.trust_remote_code
        )
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"{path}: the tokenizer cannot be loaded: {first_line(error)}",
            remedy="The model directory must hold its tokenizer too",
        ) from error
    _check_ids(path, config, tokenizer)
    if config.pad_token is not None:
        if config.pad_token not in tokenizer.get_vocab():
            raise ModelError(
                f"{path}: pad_token {config.pad_token!r} is not in the tokenizer's vocabulary",
                remedy="Leave pad_token out, or name a token that is",
            )
        tokenizer.pad_token = config.pad_token
    return tokenizer


def _check_ids(path: Path, config: ModelConfig, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a tokenizer that can give ids for which the model has no embedding."""
    rows = getattr(load_model_config(path, config).get_text_config(), "vocab_size", None)
    token, highest = max(tokenizer.get_vocab().items(), key=lambda item: item[1])
    if rows is not None and highest >= rows:
        raise ModelError(
            f"{path}: the tokenizer's id of {token!r} is {highest}, but the model has embeddings for ids below {rows}",
            remedy="Give the tokenizer that the model was trained with, or resize its embeddings and train them",
        )


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
        raise ConfigError(f"device: '{config.device}' is no device", remedy="Set auto, cpu, cuda or cuda:0") from None
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
            "model.attention = 'flex_attention' cannot train without a GPU: it has no backward pass there",
            remedy="Set it to auto, sdpa or eager",
        )
    if config.attention == "auto" and on_gpu and model_type in PROMPT_SHARING_FAMILIES:
        return "flex_attention"
    return attention(config, model_type)


def first_line(error: Exception) -> str:
    """What an error says first, for a message of one line."""
    return str(error).strip().split("\n", 1)[0][:300]
