"""Models with random weights in the shapes of published ones, and tiny ones in their place on a CPU."""

from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from benchmarks.workloads import END_ID, PAD_ID


@dataclass(frozen=True)
class Shape:
    """A model.

    Attributes:
        name: of the published model with this shape.
        family: its `model_type`.
        fields: of its config.json.
        weights: their precision, and that of gradients and optimiser. float32 is what the library trains; in bfloat16 a
            model of 8 billion parameters fits on one GPU, and its forward and backward passes take the same time.
        gradient_checkpointing: activations are computed again in the backward pass.
    """

    name: str
    family: str
    fields: dict[str, Any] = field(hash=False)
    weights: torch.dtype = torch.float32
    gradient_checkpointing: bool = False


def _fields(vocabulary: int, hidden: int, layers: int, heads: int, kv: int, intermediate: int, **more: Any) -> Any:
    return {
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv,
        "intermediate_size": intermediate,
        **more,
    }


_TIED = {"tie_word_embeddings": True}
_BIG: dict[str, Any] = {"weights": torch.bfloat16, "gradient_checkpointing": True}
LLAMA_1B = Shape("Llama 3.2 1B", "llama", _fields(128_256, 2_048, 16, 32, 8, 8_192, **_TIED))
QWEN_1_5B = Shape("Qwen 2.5 1.5B", "qwen2", _fields(151_936, 1_536, 28, 12, 2, 8_960, **_TIED))
LLAMA_8B = Shape("Llama 3.1 8B", "llama", _fields(128_256, 4_096, 32, 32, 8, 14_336), **_BIG)
QWEN_8B = Shape("Qwen 3 8B", "qwen3", _fields(151_936, 4_096, 36, 32, 8, 12_288, head_dim=128), **_BIG)
SMOL = Shape("SmolLM2 135M", "llama", _fields(49_152, 576, 30, 9, 3, 1_536, **_TIED))
_SMALL = _fields(512, 64, 2, 4, 2, 192)
TINY_LLAMA, TINY_QWEN = Shape("tiny Llama", "llama", _SMALL), Shape("tiny Qwen", "qwen3", {**_SMALL, "head_dim": 16})

SHAPES = {"1.5b": (LLAMA_1B, QWEN_1_5B), "8b": (LLAMA_8B, QWEN_8B)}
STAND_INS = (TINY_LLAMA, TINY_QWEN)


def make(shape: Shape, device: str, attention: str = "sdpa", dtype: torch.dtype | None = None) -> PreTrainedModel:
    """A causal language model with random weights: the same on every call on the same device."""
    config = AutoConfig.for_model(
        shape.family,
        **{
            "max_position_embeddings": 8_192,
            "tie_word_embeddings": False,
            "pad_token_id": PAD_ID,
            "bos_token_id": None,
            "eos_token_id": END_ID,
            **shape.fields,
        },
    )
    torch.manual_seed(0)
    with torch.device(device):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(
            config, dtype=dtype or shape.weights, attn_implementation=attention
        )
    return model
