"""Any sequence classifier with one label as a reranker."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import PositiveInt

from larpo_lib.config.base import ModelConfig, ModelPlace
from larpo_lib.config.inheritance import Inherited
from larpo_lib.config.kinds import ChatRerankerConfig, Thinking
from larpo_lib.rewards.rerankers import Reranker
from larpo_lib.schemas import Messages


class ClassifierConfig(ChatRerankerConfig):
    """Any AutoModelForSequenceClassification with one label as a reward model."""

    does: ClassVar[str] = "each response on its own"
    when: ClassVar[str] = "you have a reward model; the usual choice"
    packages: ClassVar[tuple[str, ...]] = ("torch", "transformers")
    execution: ClassVar[frozenset[str]] = frozenset({"batch_tokens"})

    type: Literal["classifier"] = "classifier"
    path: ModelPlace
    """The reward model: a directory, an s3:// URI, or its name on the Hugging Face hub."""
    model: Annotated[ModelConfig, Inherited("model.date", into="date")] = ModelConfig()
    """How the model is loaded."""
    input: Literal["auto", "chat", "text", "pair"] = "auto"
    """The input format of the model. `chat`: the text of the chat template, with the special tokens that the template
    writes. `text`: the text of the chat template, with the tokenizer's special tokens added. `pair`: prompt and
    response as a pair, as the tokenizer joins them, such as [CLS] prompt [SEP] response [SEP]. `auto`: `chat` for
    decoders; for encoders `text` if there is a chat template, else `pair`."""
    last_token: Literal["not_pad", "end"] = "not_pad"  # noqa: S105 - no password
    """The token whose score a decoder returns. `not_pad`: the last token that is not the model's pad token, as in
    transformers and TRL; if the pad token also ends turns, this is the token before it. `end`: the last token of the
    text, as in OpenRLHF."""
    thinking: Thinking = "strip"
    batch_tokens: PositiveInt = 16384
    """Maximum tokens scored at the same time, including padding."""
    max_tokens: PositiveInt = 2048
    """Maximum tokens of a conversation. Longer ones are dropped and counted."""

    def models(self) -> dict[str, Path]:
        """The reward model."""
        from larpo_lib.models.hub import local_model

        return {"reranker": local_model(self.path)}

    def reading(self) -> Callable[[Messages, str], Sequence[str]]:
        """As `input` says."""
        from larpo_lib.models.hub import local_model
        from larpo_lib.models.model_dir import ModelDir
        from larpo_lib.rewards.rerankers.engines.classifier_input import ClassifierInput

        return ClassifierInput(ModelDir(local_model(self.path), self.model), self).source

    def make(self) -> Reranker:
        """Load the reward model."""
        from larpo_lib.rewards.rerankers.engines.classifier import ClassifierReranker

        return ClassifierReranker(self)

    def check(self) -> None:
        """All but the weights."""
        from larpo_lib.rewards.rerankers.engines.classifier import check_classifier

        check_classifier(self)
