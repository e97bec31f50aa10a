"""Trains a reward model on ranked responses, for those who have none."""

from functools import partial
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from larpo_lib.artifacts import Metrics, WorkDir
from larpo_lib.config import RewardModelConfig
from larpo_lib.errors import LarpoError, ModelError
from larpo_lib.models.model_dir import ModelDir
from larpo_lib.rewards.rerankers.engines.classifier_input import check_head
from larpo_lib.steps.processes import produce_distributed
from larpo_lib.steps.train import summarize
from larpo_lib.tables import TableRows
from larpo_lib.thinking import thought_counts
from larpo_lib.training.arguments import training_arguments
from larpo_lib.training.collator import Collator
from larpo_lib.training.fit import MetricLogger, TrainingSession, fit, save_trained
from larpo_lib.training.ranks import Ranks
from larpo_lib.training.reward_model import (
    LOSSES,
    RewardModelTrainer,
    choose_reward_layout,
    encode_conversations,
    is_reward_model,
    load_trainable_reward_model,
)
from larpo_lib.training.trainable import check_trainable

_SPARE = ("pad", "reserved", "unused", "unk")
"""What the names of special tokens say that can stand for padding, the best one first."""


def run(
    config: RewardModelConfig,
    *,
    policy: Path,
    lists: Path,
    trained: Path,
    log: MetricLogger = lambda _row, _step: None,
) -> Metrics:
    """Train a reward model on `lists` and publish it as `trained`, which the reranker `classifier` takes as its `path`.

    Args:
        config: loss and optimiser.
        policy: a policy, whose body gets a new score head, or a reward model to go on with.
        lists: artifact of `build_lists`.
        trained: artifact to publish: a Hugging Face sequence classifier with its tokenizer, `history.jsonl` beside it.
        log: called with each optimiser step's metrics.
    """
    source = ModelDir(policy, config.model)
    check_trainable(source, config)
    make = partial(_train, config, source, lists, log)
    return produce_distributed("reward_model", config, {"policy": policy, "lists": lists}, trained, make, log)


def _train(
    config: RewardModelConfig, source: ModelDir, lists: Path, log: MetricLogger, ranks: Ranks, work: WorkDir | None
) -> Metrics:
    tokenizer = source.tokenizer
    _check_scored_token(source)
    rows = TableRows(lists, "lists")
    encoded, counts = encode_conversations(rows, tokenizer, config)
    if not encoded:
        raise LarpoError(
            f"{lists}: no list is left to train on: {vars(counts)}", remedy="Increase reward_model.max_tokens"
        )
    session = TrainingSession(config, training_arguments(config), ranks, work, log)
    model = load_trainable_reward_model(source, config)
    pad_id = int(tokenizer.pad_token_id)
    fitted = fit(
        session,
        RewardModelTrainer,
        model,
        {"loss": LOSSES[config.loss]},
        encoded,
        Collator(choose_reward_layout(model, encoded, pad_id), pad_id),
    )
    published = save_trained(fitted, session, source)
    thoughts = thought_counts(response for row in rows for response in row["responses"])
    return {**summarize(encoded, counts, fitted.history), **thoughts, **published}


def _check_scored_token(source: ModelDir) -> None:
    """Check that the token which is scored will be the one that `classifier` scores.

    A reward model to go on with keeps its token, even where its pad token ends turns; a new head gets the end of the
    turn, by which a response that was cut short can be told from a whole one.
    """
    path, tokenizer = source.path, source.tokenizer
    if is_reward_model(source):
        check_head(source)
        pad = source.config.get_text_config().pad_token_id
        if pad != tokenizer.pad_token_id:
            raise ModelError(
                f"{path}: the pad token ids differ: {pad} in the model, {tokenizer.pad_token_id} in the "
                "tokenizer, so padding would be scored",
                remedy="Set reward_model.model.pad_token to the token that the model was trained with",
            )
    elif tokenizer.pad_token_id == tokenizer.eos_token_id:
        raise ModelError(
            f"{path}: the pad token {tokenizer.pad_token!r} is also the eos token, but a reward model scores "
            "the last token that is not padding, so it would never score the end of a response",
            remedy=f"Choose another token of its vocabulary that never appears in text, {_naming(tokenizer)}",
        )


def _naming(tokenizer: PreTrainedTokenizerBase) -> str:
    """How to name one: with a special token of the tokenizer's own that is there for this or for nothing."""
    taken = (tokenizer.eos_token, tokenizer.bos_token)
    names = sorted(str(token) for token in tokenizer.added_tokens_decoder.values() if token.special)
    free = [name for name in names if name not in taken]
    found = next((name for hint in _SPARE for name in free if hint in name.lower()), None)
    return (
        "with reward_model.model.pad_token"
        if found is None
        else f"for example with --set reward_model.model.pad_token='{found}'"
    )
