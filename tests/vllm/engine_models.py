"""Models with random weights that vLLM's attention on CPUs can take: the size of a head is 32."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from families4 import LLAMA3
from transformers import AutoModelForCausalLM, Gemma2Config, LlamaConfig, PretrainedConfig, Qwen2Config

from larpo_lib.config import ModelConfig
from larpo_lib.models.model_dir import ModelDir
from larpo_lib.models.published import save_policy
from larpo_lib.playground.policy import make_tokenizer
from larpo_lib.playground.problems import vocabulary

CONTEXT = 512
HEAD = 32
_TOKENIZER = make_tokenizer(vocabulary())
_SIZES: dict[str, Any] = {
    "vocab_size": len(_TOKENIZER),
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": HEAD,
    "max_position_embeddings": CONTEXT,
    "bos_token_id": None,
    "eos_token_id": _TOKENIZER.eos_token_id,
    "pad_token_id": _TOKENIZER.pad_token_id,
}
_SOFT_CAPS: dict[str, Any] = {
    "query_pre_attn_scalar": HEAD,
    "sliding_window": 16,
    "attn_logit_softcapping": 2.0,
    "final_logit_softcapping": 3.0,
}
FAMILIES: dict[str, Callable[[], PretrainedConfig]] = {
    "llama": lambda: LlamaConfig(**_SIZES, tie_word_embeddings=False),
    "llama-3.1": lambda: LlamaConfig(
        **_SIZES,
        tie_word_embeddings=False,
        rope_theta=5e5,
        rope_scaling=LLAMA3 | {"original_max_position_embeddings": 64},
    ),
    "qwen2": lambda: Qwen2Config(**_SIZES, tie_word_embeddings=False),
    "gemma2": lambda: Gemma2Config(**_SIZES, **_SOFT_CAPS),
}
"""Families that differ in biases, soft caps, sliding windows and the frequencies of their rotary embeddings."""


def write_model(directory: Path, family: str) -> None:
    """Publish a model whose logits differ by whole numbers, and which ends its turn now and then."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(FAMILIES[family](), attn_implementation="eager")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.2)
            elif "post_" in name:  # else tied embeddings let Gemma 2 say its last token again and again
                parameter.fill_(4.0)
    model.generation_config.eos_token_id = _TOKENIZER.eos_token_id
    model.generation_config.repetition_penalty = 5.0  # which no sampler may apply
    source = directory.with_name(f"{directory.name}-source")
    model.save_pretrained(source)
    _TOKENIZER.save_pretrained(source)
    save_policy(model, model.state_dict(), _TOKENIZER, ModelDir(source, ModelConfig(device="cpu")), directory)
