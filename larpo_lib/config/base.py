"""What every section of the configuration shares."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

Seed = Annotated[int, Field(ge=0, lt=2**31)]
Fraction = Annotated[float, Field(gt=0.0, le=1.0)]


class Section(BaseModel):
    """A frozen part of the configuration that refuses unknown keys and numbers that are not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    execution: ClassVar[frozenset[str]] = frozenset()
    """Settings that say how the work is done and, but for rounding, change nothing in what comes out."""

    def identity(self) -> dict[str, Any]:
        """The settings that decide the result; the others may change before a stopped run goes on."""
        return {name: _identity(getattr(self, name)) for name in type(self).model_fields if name not in self.execution}


def _identity(value: Any) -> Any:
    if isinstance(value, Section):
        return value.identity()
    return [_identity(part) for part in value] if isinstance(value, tuple) else value


class ModelConfig(Section):
    """How a Hugging Face model directory is loaded."""

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """`auto`: bfloat16 on a GPU that has it, else float32."""
    device: str = "auto"
    """`auto`: the first GPU if there is one, else the CPU."""
    attention: Literal["auto", "eager", "sdpa", "flash_attention_2", "flex_attention"] = "auto"
    pad_token: str | None = None
    """Padding token, which must be in the vocabulary; null: the tokenizer's own, and of a policy without one its eos
    token, which is never more than a filler behind a mask. Reward models need the one that they were trained with."""
    chat_template: str | None = None
    """Jinja in place of the tokenizer's own chat template, such as for a base model, which has none."""
    trust_remote_code: bool = False
    """Run Python code that comes with the model. Only for models whose code you have read."""

    def identity(self) -> dict[str, Any]:
        """Without a template that is not set, so that what was made before there was this setting is found again."""
        found = super().identity()
        return found if self.chat_template is not None else {k: v for k, v in found.items() if k != "chat_template"}
