"""What a classifier reads of a conversation, and which of its tokens it scores: known without its weights."""

import copy
import logging
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PretrainedConfig, PreTrainedTokenizerBase

from larpo_lib.errors import ModelError
from larpo_lib.models.chat import conversation_ids, conversation_text
from larpo_lib.models.model_dir import ModelDir
from larpo_lib.rewards.rerankers.classifier import ClassifierConfig
from larpo_lib.rewards.rerankers.engines.query import query_text
from larpo_lib.schemas import Messages

Form = Literal["chat", "text", "pair"]
Source = tuple[str, ...]
"""The texts that a conversation is read as: one, or a question and its answer."""
Encoding = dict[str, list[int]]
"""By the names of a model's arguments, such as `input_ids`: one number a token."""

_NOTHING: tuple[list[int], list[int]] = ([], [])
_LONELY: Messages = [{"role": "user", "content": "?"}]
_TRAINED = "Use a sequence classifier that was trained on preferences"


class ClassifierInput:
    """Conversations to the token ids that a classifier was trained on.

    A model of the decoder's kind scores one token. What stands behind that token changes nothing, so it is left out,
    and the last token of every sequence is the one that is scored.

    Attributes:
        tokenizer: of the model.
        form: see `ClassifierConfig.input`; never `auto`.
        scores_last_token: whether the model scores one token, and not, as an encoder, its first or all of them.

    Raises:
        ModelError: the directory is no reward model, or cannot be read in this way.
    """

    def __init__(self, source: ModelDir, config: ClassifierConfig) -> None:
        path, settings = source.path, source.config
        check_head(source)
        self.scores_last_token = _scores_last_token(settings, trust=config.model.trust_remote_code)
        self._path = path
        self._scores_end = config.last_token == "end"  # noqa: S105 - no password
        self._pad_id = settings.get_text_config().pad_token_id
        self.form = self._choose_form(source, config)
        self.tokenizer = source.plain_tokenizer if self.form == "pair" else source.tokenizer
        self._keeps_text = config.model.special_text == "text"
        self._around = _added(self.tokenizer) if self.form == "text" else _NOTHING
        if self._around != _NOTHING and _writes(self.tokenizer, self._around):
            raise ModelError(
                f"{path}: both the chat template and the tokenizer write the special tokens before a text",
                remedy="Set the reranker's input to chat, or use a chat template without them",
            )
        if self.scores_last_token:
            self._tell_of_padding()
        elif self._scores_end:
            raise ModelError(f"{path}: last_token is set, but the model is not a decoder", remedy="Remove last_token")
        elif self._pad_id is not None and self._pad_id != self.tokenizer.pad_token_id:
            raise ModelError(
                f"{path}: the pad token ids differ: {self._pad_id} in the model, {self.tokenizer.pad_token_id} "
                "in the tokenizer",
                remedy="Set model.pad_token to the token that the model was trained with",
            )

    def source(self, messages: Messages, response: str) -> Source:
        """The texts that a conversation is read as."""
        if self.form == "pair":
            return query_text(messages), response
        return (conversation_text(self.tokenizer, messages, response),)

    def encode(self, messages: Messages, response: str) -> Encoding:
        """The model's arguments, with `input_ids`; these are empty where there is nothing to read."""
        encoding = self._encoding(messages, response)
        if not self.scores_last_token:
            return encoding
        end = self._scored(encoding["input_ids"]) + 1
        return {"input_ids": encoding["input_ids"][:end]}

    def _encoding(self, messages: Messages, response: str) -> Encoding:
        if self.form == "pair":
            read = self.tokenizer(*self.source(messages, response), split_special_tokens=self._keeps_text)
            return {name: list(read[name]) for name in read if name != "attention_mask"}
        front, back = self._around
        return {"input_ids": [*front, *conversation_ids(self.tokenizer, messages, response), *back]}

    def _scored(self, ids: Sequence[int]) -> int:
        """Place of the token whose score counts; -1 of no tokens."""
        if self._scores_end or not ids:
            return len(ids) - 1
        return max((place for place, token in enumerate(ids) if token != self._pad_id), default=0)

    def _choose_form(self, source: ModelDir, config: ClassifierConfig) -> Form:
        """What is set, or else: a decoder reads the chat template's text as it is, an encoder with its own tokens."""
        if config.input != "auto":
            return config.input
        if self.scores_last_token:
            return "chat"
        if not (config.model.chat_template or source.plain_tokenizer.chat_template):
            return "pair"
        return "chat" if _writes(source.tokenizer, _added(source.tokenizer)) else "text"

    def _tell_of_padding(self) -> None:
        """Say so where the end of a turn is no token to score, since not everybody trains in this way."""
        if self._scores_end or self.form == "pair":
            return
        ids = self._encoding(_LONELY, "!")["input_ids"]
        if self._pad_id is not None and ids[-1] == self._pad_id:
            logging.getLogger(__name__).warning(
                "%s: conversations end in %r, which is also the model's pad token, so the token before it is "
                "scored, as in transformers and TRL. If another library trained the model, such as OpenRLHF, "
                "set last_token to end",
                self._path,
                self.tokenizer.convert_ids_to_tokens(self._pad_id),
            )


def check_head(model: ModelDir) -> None:
    """Check, without its weights, that a model is a classifier that gives one score.

    Raises:
        ModelError: it is none.
    """
    path, settings = model.path, model.config
    architectures = settings.architectures or ()
    own_code = "AutoModelForSequenceClassification" in (getattr(settings, "auto_map", None) or {})
    if architectures and not own_code and not any(name.endswith("ForSequenceClassification") for name in architectures):
        raise ModelError(
            f"{path}: is a {architectures[0]}, not a sequence classifier",
            remedy="Use a reward model; `larpo train-reward-model` makes one from a policy",
        )
    labels = settings.num_labels
    if labels == 1:
        return
    names = ", ".join(str(name) for name in (settings.id2label or {}).values())
    if settings.problem_type == "regression":
        raise ModelError(
            f"{path}: predicts {labels} numbers ({names}), but a reward model predicts one", remedy=_TRAINED
        )
    raise ModelError(
        f"{path}: has {labels} labels ({names}), but a reward model has one",
        remedy=_TRAINED,
    )


def _scores_last_token(settings: PretrainedConfig, *, trust: bool) -> bool:
    """Whether a model's head is on the state of one token, by a model without memory: all such call it `score`."""
    with torch.device("meta"):
        model: Any = AutoModelForSequenceClassification.from_config(copy.deepcopy(settings), trust_remote_code=trust)
    return isinstance(getattr(model, "score", None), torch.nn.Linear)


def _added(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """What a tokenizer puts in front of a text and behind it, such as [CLS] and [SEP]."""
    plain, added = (tokenizer("?", add_special_tokens=add)["input_ids"] for add in (False, True))
    starts = range(len(added) - len(plain) + 1)
    front = next((k for k in starts if added[k : k + len(plain)] == plain), len(added))
    return added[:front], added[front + len(plain) :]


def _writes(tokenizer: PreTrainedTokenizerBase, around: tuple[list[int], list[int]]) -> bool:
    """Whether a chat template itself begins with what the tokenizer puts in front."""
    front, _ = around
    return bool(front) and conversation_ids(tokenizer, _LONELY, "!")[: len(front)] == front


def padded(encodings: Sequence[Encoding], pad_id: int, pad_type: int, *, right: bool) -> dict[str, Tensor]:
    """A batch as the model's arguments, (B, S) each, with its attention mask; padded on the right or on the left."""
    longest = max(len(encoding["input_ids"]) for encoding in encodings)
    fillers = {"input_ids": pad_id, "token_type_ids": pad_type}

    def fill(values: list[int], filler: int) -> list[int]:
        missing = [filler] * (longest - len(values))
        return [*values, *missing] if right else [*missing, *values]

    batch = {
        name: torch.tensor([fill(encoding[name], fillers.get(name, 0)) for encoding in encodings])
        for name in encodings[0]
    }
    mask = torch.tensor([fill([1] * len(encoding["input_ids"]), 0) for encoding in encodings])
    return {**batch, "attention_mask": mask}
