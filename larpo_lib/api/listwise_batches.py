"""What `ListwiseTrainer` trains on: encoded lists as a `datasets.Dataset`, their batches, and their metrics."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from datasets import Dataset, Features, List, Value
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from larpo_lib.api.listwise_config import Criterion
from larpo_lib.api.listwise_data import ListRows
from larpo_lib.config import ModelConfig, TrainConfig
from larpo_lib.errors import ConfigError, DataError, ModelError
from larpo_lib.models.chat import attach_settings
from larpo_lib.models.layout import Layout, choose_layout
from larpo_lib.models.packing import packed_rows, packed_tokens
from larpo_lib.models.turns import turn_end
from larpo_lib.objectives import ListBatch
from larpo_lib.objectives.masked import log_ratios, policy_logps, token_counts
from larpo_lib.training.collator import Batch, Collator, TrainingList
from larpo_lib.training.encode import EncodeCounts, EncodedList, encode_lists, encode_text_lists
from larpo_lib.training.metrics import order_metrics

ENCODED = "completion_ids"
"""A column that every encoded data set has."""

_IDS = List(Value("int64"))
FEATURES = Features(
    {
        "prompt_id": Value("string"),
        "prompt_ids": _IDS,
        ENCODED: List(_IDS),
        "rewards": List(Value("float64")),
        "ref_logps": List(Value("float32")),
        "mismatched_ids": _IDS,
        "mismatched_ref_logp": Value("float32"),
    }
)
"""Columns of encoded lists, as `TrainingList` has them."""


def encode(
    lists: ListRows, tokenizer: PreTrainedTokenizerBase, stops: Sequence[int], config: TrainConfig, name: str
) -> tuple[list[EncodedList], EncodeCounts]:
    """Encode lists as `larpo train` does.

    Raises:
        ModelError: the tokenizer lacks an eos token, or a chat template where prompts are conversations.
        DataError: no list is left.
    """
    if tokenizer.eos_token_id is None:
        raise ModelError(f"{tokenizer.name_or_path}: the tokenizer has no eos token", remedy="Set its eos_token")
    if lists.conversational:
        if not tokenizer.chat_template:
            raise ModelError(
                f"{tokenizer.name_or_path}: the tokenizer has no chat template",
                remedy="Set its chat_template, or use prompts and responses of plain text",
            )
        attach_settings(tokenizer, ModelConfig())
        found, counts = encode_lists(lists.rows, tokenizer, config, turn_end(tokenizer, stops))
    else:
        if tokenizer("a")["input_ids"][-1:] == [tokenizer.eos_token_id]:
            raise ModelError(
                f"{tokenizer.name_or_path}: the tokenizer ends every text with its eos token, also a prompt",
                remedy="Set its add_eos_token to False",
            )
        found, counts = encode_text_lists(lists.rows, tokenizer, config)
    empty = next((item.prompt_id for item in found if not item.prompt), None)
    if empty is not None:
        raise DataError(f"the prompt {empty} has no token", path=name, field="prompt")
    if not found:
        remedy = "Give lists whose rewards differ, or increase max_length"
        raise DataError(f"no list is left to train on: {vars(counts)}", path=name, remedy=remedy)
    return found, counts


def as_dataset(lists: Sequence[TrainingList]) -> Dataset:
    """Encoded lists as a data set that a `Trainer` takes."""
    rows = [
        {
            "prompt_id": item.encoded.prompt_id,
            "prompt_ids": item.encoded.prompt,
            ENCODED: item.encoded.responses,
            "rewards": item.encoded.rewards,
            "ref_logps": item.reference_logps,
            "mismatched_ids": item.mismatched,
            "mismatched_ref_logp": item.mismatched_reference_logp,
        }
        for item in lists
    ]
    return Dataset.from_list(rows, features=FEATURES)


class RowCollator:
    """Builds the tensors of a forward pass from rows of `as_dataset`; see `larpo_lib.training.collator.Collator`.

    Args:
        layout: how responses are laid out in rows.
        pad_id: stands where there is nothing.
    """

    def __init__(self, layout: Layout, pad_id: int) -> None:
        self._collate = Collator(layout, pad_id)

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> Batch:
        """Collate the lists of one forward pass."""
        return self._collate(
            [
                TrainingList(
                    EncodedList(row["prompt_id"], row["prompt_ids"], row[ENCODED], row["rewards"]),
                    row["ref_logps"],
                    row["mismatched_ids"],
                    row["mismatched_ref_logp"],
                )
                for row in rows
            ]
        )


def layout_of(model: PreTrainedModel, lists: Sequence[EncodedList], pad_id: int, *, padding_free: bool) -> Layout:
    """The layout for lists: what `larpo train` chooses, or all lists of a pass in one row.

    Raises:
        ConfigError: the model cannot take such rows.
    """
    chosen = choose_layout(model, [item.tokens for item in lists], pad_id)
    if not padding_free or chosen.name == "flex":
        return chosen
    if chosen.name == "padded" and choose_layout(model, [([0, 0, 0], [[0, 0]] * 4)], pad_id).name == "padded":
        raise ConfigError(
            f"padding_free: models of type {model.config.model_type} with the attention "
            f"{model.config._attn_implementation} do not take rows of several lists",
            remedy="Remove padding_free, or load the model with attn_implementation='sdpa'",
        )
    return Layout(
        "packed",
        lambda found: packed_rows([found], pad_id),
        lambda found: sum(packed_tokens(item) for item in found),
    )


@torch.no_grad()
def list_metrics(batch: ListBatch, criterion: Criterion) -> dict[str, Tensor]:
    """(B,) of each metric, by the names that TRL logs them under.

    Rewards are implicit ones: beta times the log-ratio of policy and reference, or, where the objective has no
    reference, beta times the log-probability per token. `chosen` is the best response of a list, `rejected` its worst.

    - rewards/chosen, rewards/rejected, rewards/margins: theirs, and the difference
    - rewards/accuracies: share of pairs with different rewards that the implicit rewards order as the rewards do
    - logps/chosen, logps/rejected: their log-probabilities in nats
    - kendall_tau, ndcg: as of `larpo_lib.training.metrics.order_metrics`
    - kl: mean of log(reference / policy) over the list's responses
    """
    logps = policy_logps(batch)
    worst = batch.mask.sum(-1, keepdim=True) - 1
    ratios = log_ratios(batch) if criterion.needs_reference else logps / token_counts(batch)
    order = order_metrics(ratios, batch)
    rewards = criterion.beta * ratios
    found = {
        "rewards/chosen": rewards[:, 0],
        "rewards/rejected": rewards.gather(1, worst)[:, 0],
        "rewards/accuracies": order["ranking_accuracy"],
        "rewards/margins": criterion.beta * order["margin"],
        "logps/chosen": logps[:, 0],
        "logps/rejected": logps.gather(1, worst)[:, 0],
        "kendall_tau": order["kendall_tau"],
        "ndcg": order["ndcg"],
    }
    return {**found, "kl": -ratios.sum(-1) / batch.mask.sum(-1)} if criterion.needs_reference else found
