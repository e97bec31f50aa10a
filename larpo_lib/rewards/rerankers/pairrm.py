"""PairRM as a reranker: it compares the responses of a list two by two."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, PositiveInt

from larpo_lib.config.base import ModelConfig
from larpo_lib.config.kinds import SingleRerankerConfig, Thinking
from larpo_lib.rewards.rerankers import Reranker


class PairRmConfig(SingleRerankerConfig):
    """PairRM: compares the responses of a list two by two (LLM-Blender, arXiv 2306.02561)."""

    does: ClassVar[str] = "the responses of a list, two by two"
    when: ClassVar[str] = (
        "you want the paper's main results, or have no larger reward model: it has 0.4 billion parameters"
    )
    packages: ClassVar[tuple[str, ...]] = ("torch", "transformers")
    execution: ClassVar[frozenset[str]] = frozenset({"batch_tokens"})

    type: Literal["pairrm"] = "pairrm"
    path: str
    """Directory of a PairRM model in Hugging Face's layout."""
    model: ModelConfig = ModelConfig()
    """How the model is loaded."""
    thinking: Thinking = "strip"
    batch_tokens: PositiveInt = 16384
    """Tokens, padding included, compared at one time."""
    max_source_tokens: int = Field(1224, ge=8)
    """Longer prompts are cut, special tokens included, and counted."""
    cut_source: Literal["end", "start"] = "end"
    """Where a prompt is cut. `end`: as the model was published. `start`: a long conversation keeps its last turns."""
    max_response_tokens: int = Field(412, ge=8)
    """Longer responses are cut at their end and counted. What the prompt leaves of its tokens, two responses share."""

    @property
    def list_relative(self) -> bool:
        """A margin over the other responses of the list."""
        return True

    def models(self) -> dict[str, Path]:
        """The model."""
        return {"reranker": Path(self.path)}

    def make(self) -> Reranker:
        """Load the model."""
        from larpo_lib.rewards.rerankers.engines.pairrm import PairRmReranker

        return PairRmReranker(self)

    def check(self) -> None:
        """All but the weights."""
        from larpo_lib.models.device import model_device
        from larpo_lib.models.model_dir import ModelDir, check_weights
        from larpo_lib.rewards.rerankers.engines.pairrm_model import load_pairrm_tokenizer

        load_pairrm_tokenizer(ModelDir(Path(self.path), self.model), self)
        check_weights(Path(self.path))
        model_device(self.model)
