"""PairRM as a reranker: it compares the responses of a list two by two."""

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, PositiveInt

from larpo_lib.config.base import ModelConfig, ModelPlace
from larpo_lib.config.kinds import SingleRerankerConfig, Thinking
from larpo_lib.rewards.rerankers import Reranker


class PairRmConfig(SingleRerankerConfig):
    """PairRM: compares pairs of responses to the same prompt (LLM-Blender, arXiv 2306.02561)."""

    does: ClassVar[str] = "pairs of responses to the same prompt"
    when: ClassVar[str] = "you want the paper's main results, or have no larger reward model (0.4 billion parameters)"
    packages: ClassVar[tuple[str, ...]] = ("torch", "transformers")
    execution: ClassVar[frozenset[str]] = frozenset({"batch_tokens"})

    type: Literal["pairrm"] = "pairrm"
    path: ModelPlace
    """A PairRM model in Hugging Face's layout: a directory, an s3:// URI, or its name on the hub, such as
    `llm-blender/PairRM-hf`."""
    model: ModelConfig = ModelConfig()
    """How the model is loaded."""
    thinking: Thinking = "strip"
    batch_tokens: PositiveInt = 16384
    """Maximum tokens compared at the same time, including padding."""
    max_source_tokens: int = Field(1224, ge=8)
    """Maximum tokens of a prompt, including special tokens. Longer prompts are cut and counted."""
    cut_source: Literal["end", "start"] = "end"
    """Where a long prompt is cut. `end`: as in the published model. `start`: keeps the last turns of a conversation."""
    max_response_tokens: int = Field(412, ge=8)
    """Maximum tokens of a response. Longer ones are cut at the end and counted. Tokens that the prompt does not use are
    divided between the two responses."""

    @property
    def list_relative(self) -> bool:
        """A margin over the other responses of the list."""
        return True

    def models(self) -> dict[str, Path]:
        """The model."""
        from larpo_lib.models.hub import local_model

        return {"reranker": local_model(self.path)}

    def make(self) -> Reranker:
        """Load the model."""
        from larpo_lib.rewards.rerankers.engines.pairrm import PairRmReranker

        return PairRmReranker(self)

    def check(self) -> None:
        """All but the weights."""
        from larpo_lib.models.device import model_device
        from larpo_lib.models.hub import local_model
        from larpo_lib.models.model_dir import ModelDir, check_weights
        from larpo_lib.rewards.rerankers.engines.pairrm_model import load_pairrm_tokenizer

        path = local_model(self.path)
        load_pairrm_tokenizer(ModelDir(path, self.model), self)
        check_weights(path)
        model_device(self.model)
