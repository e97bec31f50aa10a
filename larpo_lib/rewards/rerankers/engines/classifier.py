"""Any sequence classifier with one label as a reward model."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

import torch
from transformers import AutoModelForSequenceClassification

from larpo_lib.batches import in_batches
from larpo_lib.errors import ModelError
from larpo_lib.models.attention import use_sdpa_in_parts
from larpo_lib.models.batching import token_batches
from larpo_lib.models.device import model_device
from larpo_lib.models.heads import use_float32_heads
from larpo_lib.models.hub import label, local_model
from larpo_lib.models.model_dir import ModelDir, check_weights
from larpo_lib.models.rope import check_scorable
from larpo_lib.rewards.rerankers import Reranker, Scorable
from larpo_lib.rewards.rerankers.classifier import ClassifierConfig
from larpo_lib.rewards.rerankers.engines.classifier_input import ClassifierInput, Encoding, padded
from larpo_lib.rewards.rerankers.engines.sharing import can_share, shared_lists, shared_scores, worth_sharing


def check_classifier(config: ClassifierConfig) -> None:
    """Check all that can be known of a reward model without loading its weights.

    Raises:
        ModelError: the directory is no reward model, or cannot be read as the settings say.
        ConfigError: conversations may be longer than it takes, or there is no such device.
    """
    source = ModelDir(local_model(config.path), config.model)
    model_device(config.model)
    check_scorable(source, config.max_tokens, f"max_tokens = {config.max_tokens}")
    ClassifierInput(source, config).encode([{"role": "user", "content": "?"}], "!")
    check_weights(source.path)


class ClassifierReranker(Reranker):
    """Scores conversations with an AutoModelForSequenceClassification that has a single label.

    A decoder-only classifier scores one token: which one its settings say, whatever it is padded with. An encoder gets
    the special tokens of its tokenizer, and is scored by its own forward pass.
    """

    def __init__(self, config: ClassifierConfig) -> None:
        source = ModelDir(local_model(config.path), config.model)
        self.name = _name(config)
        check_scorable(source, config.max_tokens, f"max_tokens = {config.max_tokens}")
        self._input = ClassifierInput(source, config)
        self._model = use_float32_heads(source.load(AutoModelForSequenceClassification))
        if self._input.scores_last_token:
            use_sdpa_in_parts(self._model)
        self._batch_tokens = config.batch_tokens
        self._max_tokens = config.max_tokens

    def score(self, items: Sequence[Scorable]) -> list[float | None]:
        """Score each conversation; conversations of like length share a batch, and equal ones are scored once."""
        sources = [self._input.source(item.messages, item.response) for item in items]
        by_source = dict(zip(sources, items, strict=True))
        distinct = sorted(by_source)
        encoded = [self._input.encode(by_source[source].messages, by_source[source].response) for source in distinct]
        fitting = [i for i, encoding in enumerate(encoded) if 0 < len(encoding["input_ids"]) <= self._max_tokens]
        found = self._score([encoded[i] for i in fitting], [by_source[distinct[i]].prompt_id for i in fitting])
        scores = dict(zip((distinct[i] for i in fitting), found, strict=True))
        return [scores.get(source) for source in sources]

    def _score(self, encodings: list[Encoding], prompts: list[str]) -> list[float]:
        """Score what was read; that of a prompt behind one copy of it, where that can be and pays."""
        sequences = [encoding["input_ids"] for encoding in encodings]
        scores = [0.0] * len(sequences)
        shares = self._input.scores_last_token and can_share(self._model)
        grouped = shared_lists(sequences, prompts, self._batch_tokens) if shares else []
        lists = [item for _, item in grouped]
        if lists and worth_sharing(lists):
            pad = int(self._input.tokenizer.pad_token_id)
            shared = shared_scores(self._model, lists, pad, self._batch_tokens)
            for (places, _), found in zip(grouped, shared, strict=True):
                for place, score in zip(places, found, strict=True):
                    scores[place] = score
            return scores
        batches = token_batches([len(ids) for ids in sequences], self._batch_tokens)
        separate = in_batches(
            batches, lambda batch: self._score_batch([encodings[i] for i in batch]), encodings.__getitem__
        )
        return [separate[place] for place in range(len(sequences))]

    @torch.inference_mode()
    def _score_batch(self, encodings: list[Encoding]) -> list[float]:
        tokenizer = self._input.tokenizer
        if self._input.scores_last_token:
            # The model looks for the last token that is not of its pad id, so that id must end no sequence.
            pad = _other_than({encoding["input_ids"][-1] for encoding in encodings}, int(tokenizer.pad_token_id))
            self._model.config.get_text_config().pad_token_id = pad
            rows = padded(encodings, pad, 0, right=True)
        else:
            right = tokenizer.padding_side == "right"
            rows = padded(encodings, int(tokenizer.pad_token_id), tokenizer.pad_token_type_id, right=right)
        found = self._model(**{name: value.to(self._model.device) for name, value in rows.items()})
        if not hasattr(found, "logits"):
            raise ModelError(
                f"{self.name}: {type(self._model).__name__} returns a {type(found).__name__} without logits",
                remedy="Let its forward return a SequenceClassifierOutput, without return_dict = false in config.json",
            )
        scores: list[float] = found.logits[:, 0].float().tolist()
        return scores


def _name(config: ClassifierConfig) -> str:
    """The model's name, with what is set of how it is read: its rewards are others then."""
    settings: tuple[str, ...] = (config.input, config.last_token)
    chosen = [setting for setting in settings if setting not in ("auto", "not_pad")]
    return f"classifier-{label(config.path)}" + (f" ({', '.join(chosen)})" if chosen else "")


def _other_than(taken: AbstractSet[int], wanted: int) -> int:
    """`wanted`, or the lowest other token id, where it is taken."""
    return next(token for token in (wanted, *range(len(taken) + 1)) if token not in taken)
