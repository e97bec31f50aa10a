"""What every section of the configuration shares."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A frozen part of the configuration that refuses unknown keys and numbers that are not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ModelConfig(Section):
    """How a Hugging Face model directory is loaded."""

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """`auto`: bfloat16 on a GPU that has it, else float32."""
    device: str = "auto"
    """`auto`: the first GPU if there is one, else the CPU."""
    attention: Literal["auto", "eager", "sdpa", "flash_attention_2", "flex_attention"] = "auto"
    pad_token: str | None = None
    """Padding token for tokenizers that come without one; must be in the vocabulary."""
    trust_remote_code: bool = False
    """Run Python code that comes with the model. Only for models whose code you have read."""
