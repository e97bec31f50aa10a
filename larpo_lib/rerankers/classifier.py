"""Any sequence classifier with one label as a reward model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, PretrainedConfig, PreTrainedTokenizerBase

from larpo_lib.answers import Scorable
from larpo_lib.config import ClassifierConfig
from larpo_lib.errors import ModelError
from larpo_lib.policies.attention import attend_in_parts
from larpo_lib.policies.batching import token_batches
from larpo_lib.policies.chat import conversation_text
from larpo_lib.policies.load import check_context, load_model, load_tokenizer
from larpo_lib.rerankers.sharing import can_share, shared_lists, shared_scores, worth_sharing


def check_reward_model(path: Path, settings: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> None:
    """Check, without its weights, that a classifier gives one score and gives it to the right token.

    Raises:
        ModelError: it does not.
    """
    if settings.num_labels != 1:
        raise ModelError(
            f"{path}: has {settings.num_labels} labels; a reward model has one",
            remedy="Give a sequence classifier that was trained on preferences",
        )
    pad = settings.pad_token_id
    if pad != tokenizer.pad_token_id or pad == tokenizer.eos_token_id:
        raise ModelError(
            f"{path}: pad token ids: model {pad}, tokenizer {tokenizer.pad_token_id},"
            f" end of sequence {tokenizer.eos_token_id}; the wrong token would be scored",
            remedy="Give model and tokenizer the same pad token, one that is not the eos token",
        )


class ClassifierReranker:
    """Scores conversations with an AutoModelForSequenceClassification that has a single label.

    Decoder-only classifiers score the last token whose id is not the model's pad token. A pad token that is also the
    end-of-sequence token, or differs between tokenizer and model, silently scores another token; both are refused.
    """

    list_relative = False

    def __init__(self, config: ClassifierConfig) -> None:
        path = Path(config.path)
        self.name = f"classifier-{path.name}"
        check_context(path, config.model, config.max_tokens, f"max_tokens = {config.max_tokens}")
        self._tokenizer = load_tokenizer(path, config.model)
        self._model = load_model(AutoModelForSequenceClassification, path, config.model)
        attend_in_parts(self._model)
        self._batch_tokens = config.batch_tokens
        self._max_tokens = config.max_tokens
        check_reward_model(path, self._model.config, self._tokenizer)

    def score(self, items: Sequence[Scorable]) -> list[float | None]:
        """Score each conversation; conversations of like length share a batch, and equal ones are scored once."""
        texts = [conversation_text(self._tokenizer, item.messages, item.response) for item in items]
        prompts = dict(zip(texts, (item.prompt_id for item in items), strict=True))
        distinct = sorted(prompts)
        encoded = [self._tokenizer(text, add_special_tokens=False)["input_ids"] for text in distinct]
        fitting = [i for i, ids in enumerate(encoded) if 0 < len(ids) <= self._max_tokens]
        found = self._score([encoded[i] for i in fitting], [prompts[distinct[i]] for i in fitting])
        scores = dict(zip((distinct[i] for i in fitting), found, strict=True))
        return [scores.get(text) for text in texts]

    def _score(self, sequences: list[list[int]], prompts: list[str]) -> list[float]:
        """Score conversations as token ids; those of a prompt behind one copy of it, where that can be and pays."""
        scores = [0.0] * len(sequences)
        grouped = shared_lists(sequences, prompts, self._batch_tokens) if can_share(self._model) else []
        lists = [item for _, item in grouped]
        if lists and worth_sharing(lists):
            pad = int(self._tokenizer.pad_token_id)
            shared = shared_scores(self._model, lists, pad, self._batch_tokens)
            for (places, _), found in zip(grouped, shared, strict=True):
                for place, score in zip(places, found, strict=True):
                    scores[place] = score
            return scores
        for batch in token_batches([len(ids) for ids in sequences], self._batch_tokens):
            for place, score in zip(batch, self._score_batch([sequences[i] for i in batch]), strict=True):
                scores[place] = score
        return scores

    @torch.inference_mode()
    def _score_batch(self, sequences: list[list[int]]) -> list[float]:
        longest = max(len(ids) for ids in sequences)
        pad = int(self._tokenizer.pad_token_id)
        input_ids = torch.tensor([ids + [pad] * (longest - len(ids)) for ids in sequences], device=self._model.device)
        mask = torch.tensor(
            [[1] * len(ids) + [0] * (longest - len(ids)) for ids in sequences], device=self._model.device
        )
        scores: list[float] = self._model(input_ids=input_ids, attention_mask=mask).logits[:, 0].float().tolist()
        return scores
