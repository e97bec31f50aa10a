"""Supervised fine-tuning on demonstrations: the policy the loop starts from."""

from functools import partial
from pathlib import Path

from transformers import AutoModelForCausalLM

from larpo_lib.artifacts import Metrics, WorkDir
from larpo_lib.config import SftConfig
from larpo_lib.errors import LarpoError
from larpo_lib.models.layout import padded_layout
from larpo_lib.models.model_dir import ModelDir
from larpo_lib.models.scoring import attach_scorer
from larpo_lib.steps.processes import produce_distributed
from larpo_lib.steps.train import summarize
from larpo_lib.tables import TableRows
from larpo_lib.training.arguments import training_arguments
from larpo_lib.training.collator import Collator
from larpo_lib.training.encode import encode_demonstrations, report_encoding
from larpo_lib.training.fit import MetricLogger, TrainingSession, fit, save_trained
from larpo_lib.training.ranks import Ranks
from larpo_lib.training.trainable import check_trainable, gathered_parameters, load_trainable
from larpo_lib.training.trainer import SftTrainer


def run(
    config: SftConfig,
    *,
    policy: Path,
    demonstrations: Path,
    trained: Path,
    log: MetricLogger = lambda _row, _step: None,
) -> Metrics:
    """Fine-tune `policy` on `demonstrations` and publish it as `trained`, a Hugging Face directory.

    Args:
        config: the optimiser.
        policy: the policy to start from.
        demonstrations: artifact with `demonstrations.parquet`.
        trained: artifact to publish.
        log: called with each optimiser step's metrics.
    """
    source = ModelDir(policy, config.model)
    check_trainable(source, config)
    make = partial(_sft, config, source, demonstrations, log)
    return produce_distributed("sft", config, {"policy": policy, "demonstrations": demonstrations}, trained, make, log)


def _sft(
    config: SftConfig, source: ModelDir, demonstrations: Path, log: MetricLogger, ranks: Ranks, work: WorkDir | None
) -> Metrics:
    rows = TableRows(demonstrations, "demonstrations")
    encoded, counts = encode_demonstrations(rows, source.tokenizer, config, source.turn_end)
    if not encoded:
        raise LarpoError(
            f"{demonstrations}: no demonstration is left to train on: {vars(counts)}", remedy="Increase sft.max_tokens"
        )
    if ranks.is_main:
        report_encoding(counts)
    session = TrainingSession(config, training_arguments(config), ranks, work, log)
    model = load_trainable(AutoModelForCausalLM, source, config)
    with gathered_parameters(model.parameters()):
        attach_scorer(model, config.logprob_chunk_tokens)
    pad_id = int(source.tokenizer.pad_token_id)
    fitted = fit(
        session,
        SftTrainer,
        model,
        {},
        encoded,
        Collator(padded_layout(pad_id), pad_id),
    )
    published = save_trained(fitted, session, source)
    return {**summarize(encoded, counts, fitted.history), **published}
