"""Reward models from ranked responses: sequence classifiers with one label, as `rerank` reads them.

A score is of a conversation's last token. What a conversation is, and which token is its last, is what
`larpo_lib.rewards.rerankers.classifier` says: the text that the reward model's own chat template writes, tokenized as
a whole.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from functools import partial
from itertools import takewhile
from pathlib import Path
from types import MethodType
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase, TrainingArguments

from larpo_lib.config import RewardModelConfig
from larpo_lib.errors import ModelError
from larpo_lib.models.chat import conversation_ids, find_special_text, message_contents, prompt_ids
from larpo_lib.models.dropout import disable_dropout
from larpo_lib.models.heads import train_in_float32
from larpo_lib.models.layout import Layout, choose_layout
from larpo_lib.models.model_dir import ModelDir
from larpo_lib.models.packing import PackedList, attention_masks
from larpo_lib.models.scoring import TokenRows, probe_rows
from larpo_lib.models.self_check import check_training_mode
from larpo_lib.objectives import ListBatch
from larpo_lib.objectives.listwise import lambdarank, listmle
from larpo_lib.schemas import Messages
from larpo_lib.tables import Row
from larpo_lib.thinking import scored_part
from larpo_lib.training.collator import Batch, list_batch
from larpo_lib.training.encode import EncodeCounts, EncodedList, keep_within
from larpo_lib.training.metrics import reference_free_metrics
from larpo_lib.training.trainable import gathered_parameters, load_trainable
from larpo_lib.training.trainer import PolicyTrainer

LOSSES: dict[str, Callable[[ListBatch], Tensor]] = {
    "pairwise": partial(lambdarank, beta=1.0, reduction="mean"),
    "listwise": partial(listmle, beta=1.0),
}
"""By `reward_model.loss`. Scores stand in for log-ratios.

`pairwise`: Bradley-Terry, -log sigmoid(s_better - s_worse), a mean over the list's pairs with different rewards: in a
sum, long lists would count by the square of their length (Ouyang et al. 2022, arXiv 2203.02155, equation 1).
`listwise`: Plackett-Luce, -log of the probability to pick the responses in their order, a sum over the picks.
"""

_HEAD = "score.weight"


def encode_conversations(
    rows: Iterable[Row], tokenizer: PreTrainedTokenizerBase, config: RewardModelConfig
) -> tuple[list[EncodedList], EncodeCounts]:
    """Encode training lists as the reward model will read them.

    The `prompt` of an encoded list is what all its conversations begin with, its `responses` are how they go on; one of
    these may be empty. Of thoughts they have what `thinking` says. Sampled token ids are not used: a reranker gets
    text. Trailing pad tokens are left out, since the token before them is the one that is scored. A conversation
    too long for `max_tokens` leaves its list, and a list left with no two different rewards has nothing to teach.
    """
    counts, read = EncodeCounts(), scored_part(config.thinking)
    encoded = []
    for row in rows:
        if len(prompt_ids(tokenizer, row["messages"])) > config.max_prompt_tokens:
            counts.prompts_too_long_dropped += 1
            continue
        texts = [read(response) for response in row["responses"]]
        counts.prompts_with_special_text += find_special_text(tokenizer, message_contents(row["messages"])) is not None
        counts.responses_with_special_text += sum(find_special_text(tokenizer, [text]) is not None for text in texts)
        found = [_conversation_ids(tokenizer, row["messages"], text) for text in texts]
        conversations, rewards = keep_within(found, row["rewards"], config.max_tokens, counts)
        if not conversations:
            continue
        shared = sum(1 for _ in takewhile(lambda tokens: len(set(tokens)) == 1, zip(*conversations, strict=False)))
        rests = [ids[shared:] for ids in conversations]
        encoded.append(EncodedList(row["prompt_id"], conversations[0][:shared], rests, rewards))
    return encoded, counts


def _conversation_ids(tokenizer: PreTrainedTokenizerBase, messages: Messages, response: str) -> list[int]:
    ids = conversation_ids(tokenizer, messages, response)
    while ids and ids[-1] == tokenizer.pad_token_id:
        ids = ids[:-1]
    return ids


def is_reward_model(model: ModelDir) -> bool:
    """Whether a directory holds a sequence classifier already, and not a policy."""
    architectures = model.config.architectures or ()
    return any(name.endswith("ForSequenceClassification") for name in architectures)


def load_trainable_reward_model(source: ModelDir, config: RewardModelConfig) -> PreTrainedModel:
    """Load a reward model to go on with, or put a new score head on a policy's body; with scores attached.

    Adapters, where they are set, are for the body; the head is trained itself.

    Raises:
        ModelError: the directory cannot be used.
        ConfigError: adapters are wanted where they cannot be had.
    """
    changes: dict[str, Any] = {}
    if not is_reward_model(source):
        changes = {"num_labels": 1, "pad_token_id": source.tokenizer.pad_token_id}
    model = load_trainable(_Classifiers(changes, config.seed), source, config)
    head: Any = model.get_output_embeddings()
    head.requires_grad_(True)
    if config.lora is not None:
        # ZeRO-3 has made the head in the precision of the forward pass, and takes only one of all that is trained
        dtype = head.weight.dtype if hasattr(head.weight, "ds_id") else torch.float32
        for parameter in (one for one in model.parameters() if one.requires_grad):
            parameter.data = parameter.data.to(dtype)
    return attach_scores(model)


class _Classifiers:
    """Loads like `AutoModelForSequenceClassification`, and starts a score head where the weights have none.

    Args:
        changes: of the model's configuration; with none the head must be there.
        seed: of a new head.
    """

    def __init__(self, changes: Mapping[str, Any], seed: int) -> None:
        self._changes = changes
        self._seed = seed

    def from_pretrained(self, path: Path, **options: Any) -> tuple[PreTrainedModel, dict[str, Any]]:
        """The model, and what of it was not in its weights."""
        model, found = AutoModelForSequenceClassification.from_pretrained(path, **self._changes, **options)
        head = getattr(model, "score", None)
        if not isinstance(head, torch.nn.Linear):
            raise ModelError(
                f"{path}: models of type '{model.config.model_type}' cannot be trained as a reward model: they have no"
                " linear score head",
                remedy="Start from a decoder-only language model, or from a reward model made from one",
            )
        model.get_output_embeddings = MethodType(lambda self: self.score, model)  # which adapters leave alone
        missing = set(found["missing_keys"])
        if self._changes and _HEAD in missing:
            with gathered_parameters([head.weight], changed_by=0):
                _start(head.weight, self._seed)
            missing.remove(_HEAD)
        return model, {**found, "missing_keys": missing}


@torch.no_grad()
def _start(weight: Tensor, seed: int) -> None:
    """Fill a new head's (1, H) weight.

    With a variance of 1 / (H + 1) scores of normalised states are of order one (Stiennon et al. 2020, arXiv
    2009.01325).
    """
    generator = torch.Generator().manual_seed(seed)
    weight.copy_(torch.randn(weight.shape, generator=generator) / (weight.shape[1] + 1) ** 0.5)


def attach_scores(model: PreTrainedModel) -> PreTrainedModel:
    """Make `model(**rows)` return the (P,) score of each conversation in `rows`, laid out by `with_last_tokens`.

    Padded rows are scored by the model's own forward pass, packed ones by its head on the last state of each response.
    The head computes in float32: in bfloat16 its scores would have 8 bits, and so would losses and metrics.
    Dropout is switched off: a resumed training has no random state to go on from.

    Raises:
        ModelError: the forward pass is another one in training all the same.
    """
    disable_dropout(model)
    head: Any = model.score
    train_in_float32(head)
    own_forward = model.forward

    def forward(self: Any, **rows: Tensor) -> Tensor:
        inputs: dict[str, Any] = {"input_ids": rows["input_ids"], "use_cache": False}
        if "groups" in rows:
            mask = attention_masks(self.config, rows, self.dtype)
            outputs = self.base_model(**inputs, attention_mask=mask, position_ids=rows["position_ids"])
            logits = self.score(outputs.last_hidden_state.flatten(0, 1)[_last_places(rows)])
        else:
            logits = own_forward(**inputs, attention_mask=rows["attention_mask"]).logits
        scores: Tensor = logits[:, 0]
        return scores

    model.forward = MethodType(forward, model)
    with gathered_parameters(model.parameters()):
        check_training_mode(model, probe_rows(model))
    return model


def _last_places(rows: TokenRows) -> Tensor:
    """(P,) index into the flattened hidden states of the last place of each response."""
    responses = torch.arange(int(rows["num_responses"]), device=rows["owners"].device)
    return rows["predictors"][torch.searchsorted(rows["owners"], responses, right=True) - 1]


def choose_reward_layout(model: PreTrainedModel, lists: Collection[EncodedList], pad_id: int) -> Layout:
    """The layout for a model with scores attached, whose rows hold all of every conversation."""
    return with_last_tokens(choose_layout(model, [_marked(item.tokens) for item in lists], pad_id))


def with_last_tokens(layout: Layout) -> Layout:
    """A layout whose rows hold the last token of every response too.

    Others leave it out, since it predicts nothing; a reward model reads its score there. One more token behind it,
    which is left out in its place, makes it predict.
    """
    return replace(
        layout,
        rows=lambda lists: layout.rows([_marked(item) for item in lists]),
        cost=lambda lists: layout.cost([_marked(item) for item in lists]),
    )


def _marked(item: PackedList) -> PackedList:
    prompt, responses = item
    return prompt, [[*response, 0] for response in responses]


class RewardModelTrainer(PolicyTrainer):
    """Teaches a classifier to score the responses of each list in the order of their rewards; only the order counts.

    Args:
        loss: one of `LOSSES`.
    """

    def __init__(
        self, model: PreTrainedModel, args: TrainingArguments, *, loss: Callable[[ListBatch], Tensor], **options: Any
    ) -> None:
        super().__init__(model, args, **options)
        self._loss = loss

    def summed_loss(self, scores: Tensor, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Sum of the loss over the pass's lists; margin, ranking_accuracy, kendall_tau and ndcg of the scores."""
        lists = list_batch(scores, batch["lists"])
        lists = replace(lists, lengths=torch.ones_like(lists.lengths))  # a score is no sum over tokens
        return self._loss(lists).sum(), reference_free_metrics(lists)
