"""Distils the reranker's order into the policy."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from larpo_lib.artifacts import Metrics, WorkDir, digest
from larpo_lib.config import ObjectiveConfig, TrainConfig
from larpo_lib.errors import ConfigError, DataError, LarpoError, ModelError
from larpo_lib.models.layout import Layout, choose_layout, padded_layout, prompt_sharing_ratio
from larpo_lib.models.model_dir import ModelDir
from larpo_lib.models.rope import check_scorable
from larpo_lib.models.scoring import attach_scorer
from larpo_lib.objectives.reward_values import ROUNDING
from larpo_lib.steps.processes import produce_distributed
from larpo_lib.tables import Row, TableRows
from larpo_lib.training.advice import diagnose
from larpo_lib.training.arguments import training_arguments
from larpo_lib.training.collator import Collator, TrainingList
from larpo_lib.training.encode import EncodeCounts, EncodedList, encode_lists, report_encoding
from larpo_lib.training.fit import MetricLogger, TrainingSession, fit, save_trained
from larpo_lib.training.plan import plan_steps
from larpo_lib.training.ranks import Ranks
from larpo_lib.training.reference import (
    MISMATCHED,
    OWN,
    Logps,
    cached_logps,
    check_finite_logps,
    logps_identity,
    micro_batches,
    reference_logps,
    wanted_logps,
    with_logps,
)
from larpo_lib.training.trainable import (
    check_trainable,
    gathered_parameters,
    load_reference,
    load_trainable,
    pass_precision,
    precision_name,
)
from larpo_lib.training.trainer import START_LOG_RATIO, PreferenceTrainer


def run(
    config: TrainConfig,
    *,
    policy: Path,
    lists: Path,
    trained: Path,
    reference: Path | None = None,
    reference_logps: Path | None = None,
    log: MetricLogger = lambda _row, _step: None,
) -> Metrics:
    """Train `policy` on `lists` and publish it as `trained`, a Hugging Face directory with `history.jsonl` beside it.

    Args:
        config: objective and optimiser.
        policy: the behaviour policy, which is also the reference unless another one is given.
        lists: artifact of `build_lists`.
        trained: artifact to publish; the reference log-probabilities are in it too.
        reference: a fixed reference policy, such as the one the loop began with.
        reference_logps: an artifact of this step on the same lists and reference; its log-probabilities are taken.
        log: called with each optimiser step's metrics.
    """
    named = {"policy": policy, "lists": lists, "reference": reference, "reference_logps": reference_logps}
    inputs = {name: path for name, path in named.items() if path is not None}
    source = ModelDir(policy, config.model)
    check_trainable(source, config)
    if reference is not None:
        check_scorable(ModelDir(reference, config.model), config.max_tokens, f"max_tokens = {config.max_tokens}")
    if len(inputs) > 2 and not config.objective.needs_reference:
        raise ConfigError(
            f"the objective {config.objective.in_words} does not use a reference, but one is passed",
            remedy="Remove --reference and --reference-logps, or choose another objective",
        )
    return produce_distributed("train", config, inputs, trained, partial(_train, config, source, inputs, log), log)


def _train(
    config: TrainConfig,
    source: ModelDir,
    inputs: Mapping[str, Path],
    log: MetricLogger,
    ranks: Ranks,
    work: WorkDir | None,
) -> Metrics:
    lists, tokenizer = inputs["lists"], source.tokenizer
    rows = TableRows(lists, "lists")
    check_rewards(config.objective, rows, lists)
    encoded, counts = encode_lists(rows, tokenizer, config, source.turn_end)
    if not encoded:
        raise LarpoError(f"{lists}: no list is left to train on: {vars(counts)}", remedy="Increase train.max_tokens")
    _check_ids(source, encoded, lists)
    if ranks.is_main:
        report_encoding(counts)
    objective, pad_id = config.objective, int(tokenizer.pad_token_id)
    reference = _Reference(config, inputs, encoded, ranks, work, pad_id)
    known = reference.by_another_policy(tokenizer) if "reference" in inputs else None
    session = TrainingSession(config, training_arguments(config), ranks, work, log)  # from here on ZeRO-3 shards models
    model = load_trainable(AutoModelForCausalLM, source, config)
    with gathered_parameters(model.parameters()):
        attach_scorer(model, config.logprob_chunk_tokens)
    layout = choose_layout(model, [item.tokens for item in encoded], pad_id)
    fitted = fit(
        session,
        PreferenceTrainer,
        model,
        {
            "loss": config.objective.make(),
            "needs_reference": objective.needs_reference,
            "needs_kl": objective.needs_kl,
            "exponents": objective.exponents,
        },
        encoded,
        Collator(layout, pad_id),
        lambda: known or reference.by_the_policy_itself(model, layout),
    )
    published = save_trained(fitted, session, source)
    if ranks.is_main:
        for sentence in diagnose(fitted.history, config.identity()).advice:
            logging.getLogger(__name__).warning(sentence)
    return {**summarize(encoded, counts, fitted.history), **published}


def check_rewards(objective: ObjectiveConfig, rows: Iterable[Row], lists: str | Path) -> None:
    """Refuse rewards that an objective would take for exponents without bounds.

    Raises:
        DataError: one is below 0 or above 1.
    """
    if not objective.needs_unit_rewards:
        return
    for number, row in enumerate(rows):
        outside = [reward for reward in row["rewards"] if not -ROUNDING <= reward <= 1 + ROUNDING]
        if outside:
            raise DataError(
                f"prompt {row['prompt_id']} has a response with the reward {outside[0]:.12g}, but {objective.in_words} "
                "uses 2^reward and needs rewards from 0 to 1",
                path=lists,
                row=number,
                field="rewards",
                remedy=f"Set train.objective.{objective.raw_gains} to minmax or rank, or choose another objective, "
                "such as lambdarank",
            )


class _Reference:
    """The lists with their reference log-probabilities, where the objective reads them."""

    def __init__(
        self,
        config: TrainConfig,
        inputs: Mapping[str, Path],
        encoded: Sequence[EncodedList],
        ranks: Ranks,
        work: WorkDir | None,
        pad_id: int,
    ) -> None:
        self._config = config
        self._inputs = inputs
        self._encoded = encoded
        self._ranks = ranks
        self._work = work
        self._pad_id = pad_id
        self._objective = config.objective

    def by_the_policy_itself(self, model: PreTrainedModel, layout: Layout) -> list[TrainingList]:
        """Scored by the model that will be trained, before it is."""
        return self._scored(lambda: model, lambda _model: layout)

    def by_another_policy(self, tokenizer: PreTrainedTokenizerBase) -> list[TrainingList]:
        """Scored by a policy that is gone from memory before the one to train is loaded.

        Raises:
            ModelError: it reads other tokens than the policy does.
        """
        config = self._config
        reference = ModelDir(self._inputs["reference"], config.model)
        if reference.tokenizer.get_vocab() != tokenizer.get_vocab():
            raise ModelError(
                f"{reference.path}: the vocabulary of the reference differs from that of the policy",
                remedy="Use a reference of the same model family",
            )

        def load() -> PreTrainedModel:
            return attach_scorer(load_reference(reference, config), config.logprob_chunk_tokens)

        def layout(model: PreTrainedModel) -> Layout:
            return choose_layout(model, [item.tokens for item in self._encoded], self._pad_id)

        return self._scored(load, layout)

    def _scored(
        self, load: Callable[[], PreTrainedModel], layout_of: Callable[[PreTrainedModel], Layout]
    ) -> list[TrainingList]:
        if not self._objective.needs_reference:
            return [TrainingList(item) for item in self._encoded]
        config, ranks, inputs = self._config, self._ranks, self._inputs
        wanted = wanted_logps(self._encoded, needs_kl=self._objective.needs_kl, max_tokens=config.max_tokens)

        def score() -> Logps:
            model = load()
            layouts = {OWN: layout_of(model), MISMATCHED: padded_layout(self._pad_id)}
            epoch = plan_steps(
                len(self._encoded), batch_size=config.batch_size, epochs=1, max_steps=None, seed=config.seed
            )
            cut = micro_batches(wanted[OWN], layouts[OWN], epoch, config.micro_batch_tokens, ranks)
            with pass_precision(config):
                found = {
                    name: reference_logps(model, lists, layouts[name], cut, ranks) for name, lists in wanted.items()
                }
            check_finite_logps(found, self._encoded, inputs.get("reference", inputs["policy"]))
            return found

        policy = digest(inputs.get("reference", inputs["policy"])) if ranks.is_main else ""
        belongs_to = logps_identity(policy, wanted, precision_name(config))
        logps = cached_logps(score, belongs_to, ranks, self._work, inputs.get("reference_logps"))
        return with_logps(self._encoded, logps, config.max_tokens)


def _check_ids(policy: ModelDir, encoded: Sequence[EncodedList], lists: Path) -> None:
    """Refuse token ids, such as a file's from another tokenizer, that the policy has no embedding for."""
    for item in encoded:
        problem = next(filter(None, (policy.unfit(item.prompt, response) for response in item.responses)), "")
        if problem:
            raise DataError(
                f"a response to prompt {item.prompt_id} {problem}",
                path=lists,
                remedy="Use the ids of the policy's own tokenizer, or no ids: the text is then tokenized",
            )


def summarize(encoded: Sequence[EncodedList], counts: EncodeCounts, history: Sequence[dict[str, float]]) -> Metrics:
    """The metrics of a training run: what went in, what was dropped, and the last tenth of its steps on average."""
    last = history[-max(1, len(history) // 10) :]
    told = set.intersection(*map(set, last))  # rows from before an update of the library may tell less
    names = sorted(told - {"step", "epoch", "learning_rate", START_LOG_RATIO})
    start = {START_LOG_RATIO: history[0][START_LOG_RATIO]} if START_LOG_RATIO in history[0] else {}
    return {
        "lists": len(encoded),
        "responses": sum(len(item.responses) for item in encoded),
        "response_tokens": sum(len(response) for item in encoded for response in item.responses),
        "prompt_sharing_ratio": prompt_sharing_ratio([item.tokens for item in encoded]),
        "steps": len(history),
        **start,
        **vars(counts),
        **{f"final_{name}": sum(row[name] for row in last) / len(last) for name in names},
    }
