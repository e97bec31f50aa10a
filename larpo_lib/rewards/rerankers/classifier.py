"""Any sequence classifier with one label as a reranker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import PositiveInt

from larpo_lib.config.base import ModelConfig
from larpo_lib.config.inheritance import Inherited
from larpo_lib.config.kinds import ChatRerankerConfig, Thinking
from larpo_lib.rewards.rerankers import Reranker
from larpo_lib.schemas import Messages


class ClassifierConfig(ChatRerankerConfig):
    """Any AutoModelForSequenceClassification with one label as a reward model."""

    does: ClassVar[str] = "each response on its own"
    when: ClassVar[str] = "you have a reward model; the best all-round choice"
    packages: ClassVar[tuple[str, ...]] = ("torch", "transformers")
    execution: ClassVar[frozenset[str]] = frozenset({"batch_tokens"})

    type: Literal["classifier"] = "classifier"
    path: str
    """Directory of the reward model."""
    model: Annotated[ModelConfig, Inherited("model.date", into="date")] = ModelConfig()
    """How the model is loaded."""
    input: Literal["auto", "chat", "text", "pair"] = "auto"
    """What the model reads. `chat`: the chat template's text, whose special tokens are the template's own. `text`: the
    chat template's text, with the tokenizer's special tokens. `pair`: the prompt and the response as the tokenizer puts
    a pair together, such as [CLS] prompt [SEP] response [SEP]. `auto`: decoders read `chat`; encoders read `pair`, or
    where there is a chat template `text`."""
    last_token: Literal["not_pad", "end"] = "not_pad"  # noqa: S105 - no password
    """Which token's score a decoder gives. `not_pad`: the last one that is not the model's pad token, as transformers
    and TRL have it; where that token ends turns too it is the one before. `end`: the last one, whatever it is, as
    OpenRLHF has it."""
    thinking: Thinking = "strip"
    batch_tokens: PositiveInt = 16384
    """Tokens, padding included, scored at one time."""
    max_tokens: PositiveInt = 2048
    """Longer conversations are dropped and counted."""

    def models(self) -> dict[str, Path]:
        """The reward model."""
        return {"reranker": Path(self.path)}

    def reading(self) -> Callable[[Messages, str], Sequence[str]]:
        """As `input` says."""
        from larpo_lib.models.model_dir import ModelDir
        from larpo_lib.rewards.rerankers.engines.classifier_input import ClassifierInput

        return ClassifierInput(ModelDir(Path(self.path), self.model), self).source

    def make(self) -> Reranker:
        """Load the reward model."""
        from larpo_lib.rewards.rerankers.engines.classifier import ClassifierReranker

        return ClassifierReranker(self)

    def check(self) -> None:
        """All but the weights."""
        from larpo_lib.rewards.rerankers.engines.classifier import check_classifier

        check_classifier(self)
