"""What can be known to be wrong before any expensive work."""

from __future__ import annotations

from pathlib import Path

from transformers import PreTrainedTokenizerBase

from larpo_lib.answers import final_number
from larpo_lib.config import (
    ClassifierConfig,
    EmbeddingConfig,
    EnsembleConfig,
    HttpRerankerConfig,
    LarpoConfig,
    ModelConfig,
    OpenAiSamplerConfig,
    PairRmConfig,
    RerankerConfig,
    VerifierConfig,
    VerifierJudgeConfig,
    VllmSamplerConfig,
)
from larpo_lib.embeddings import check_embedding_model
from larpo_lib.errors import ConfigError, DataError
from larpo_lib.launcher import follows
from larpo_lib.policies.chat import conversation_text
from larpo_lib.policies.load import check_weights, load_model_config, load_tokenizer, model_device
from larpo_lib.rerankers import require_pointwise
from larpo_lib.rerankers.classifier import check_reward_model
from larpo_lib.rerankers.http import check_scoring_server
from larpo_lib.rerankers.pairrm_model import load_pairrm_tokenizer
from larpo_lib.samplers.candidates import sampling_limits
from larpo_lib.samplers.openai import check_sampling_server
from larpo_lib.samplers.vllm import check_vllm
from larpo_lib.steps.promote import EVALUATE_METRICS
from larpo_lib.tables import read_table
from larpo_lib.training.trainable import check_trainable


def check_config(config: LarpoConfig) -> None:
    """Check that settings fit together and that models can be read.

    Raises:
        ConfigError: settings contradict each other.
        ModelError: the policy, a reward model or the embedding model of related prompts cannot be used.
        EndpointError: a server does not answer.
    """
    if (config.prepare.heldout == 0) == (config.evaluation_prompts is None):
        raise ConfigError(
            "prompts to evaluate on must come from exactly one place",
            remedy="Set either prepare.heldout or evaluation_prompts",
        )
    require_pointwise(config.evaluate.reranker, "evaluate.reranker")
    _check_metrics(config)
    models = (config.sft.model, config.sample.sampler.model, config.train.model, config.evaluate.sampler.model)
    for model in dict.fromkeys(models):
        _check_model(Path(config.policy), model)
    for trained in (config.train, *([config.sft] if config.demonstrations is not None else [])):
        check_trainable(Path(config.policy), trained)
    if follows():
        raise ConfigError(
            "a run is one machine's, and PET_NODE_RANK or RANK says that this one is not the first",
            remedy="Train on several machines by `larpo train`, or unset them",
        )
    _check_samplers(config)
    for reranker in (config.rerank.reranker, config.evaluate.reranker):
        _check_reranker(reranker)
    negatives = config.lists.negatives
    if negatives is not None and isinstance(negatives.retriever, EmbeddingConfig):
        check_embedding_model(negatives.retriever)


def check_references(config: LarpoConfig, prompts: Path, heldout: Path) -> None:
    """Check that every prompt a verifier will judge has a number to judge by.

    Raises:
        DataError: names the first prompt without one.
    """
    if _verifies(config.rerank.reranker):
        _check_references(prompts)
    if _verifies(config.evaluate.reranker) or isinstance(config.evaluate.judge, VerifierJudgeConfig):
        _check_references(heldout)


def _check_metrics(config: LarpoConfig) -> None:
    if config.promote.metric not in EVALUATE_METRICS:
        raise ConfigError(
            f"promote.metric is '{config.promote.metric}', which a run does not measure",
            remedy=f"Use one of {', '.join(EVALUATE_METRICS)}, or give a benchmark's artifact to `larpo promote`",
        )
    if config.evaluate.judge is None:
        for setting, metric in _metrics_used(config).items():
            if "accuracy" in metric:
                raise ConfigError(
                    f"{setting} is '{metric}', but nothing judges answers as right or wrong",
                    remedy="Set evaluate.judge, or use the reward",
                )


def _metrics_used(config: LarpoConfig) -> dict[str, str]:
    used = {"promote.metric": config.promote.metric}
    if config.loop.early_stop is not None:
        used["loop.early_stop.metric"] = config.loop.early_stop.metric
    return used


def _check_samplers(config: LarpoConfig) -> None:
    """A server serves one policy. A run trains others, which it would go on to sample from the first one's server."""
    remedy = "Set its type to hf or vllm, or take the steps one by one and serve each policy before it is sampled"
    if isinstance(config.evaluate.sampler, OpenAiSamplerConfig):
        raise ConfigError(
            "evaluate.sampler is a server, which serves one policy, and a run evaluates several", remedy=remedy
        )
    if isinstance(config.sample.sampler, OpenAiSamplerConfig):
        if config.loop.iterations > 1 or config.demonstrations is not None:
            raise ConfigError(
                "sample.sampler is a server, which serves one policy, and this run trains before it samples",
                remedy=remedy,
            )
        check_sampling_server(config.sample.sampler, sampling_limits(config.sample), retries=0)
    for step in (config.sample, config.evaluate):
        if isinstance(step.sampler, VllmSamplerConfig):
            check_vllm(step.sampler, Path(config.policy), sampling_limits(step))


def _check_reranker(reranker: RerankerConfig) -> None:
    if isinstance(reranker, HttpRerankerConfig):
        check_scoring_server(reranker, retries=0)
    if isinstance(reranker, ClassifierConfig):
        path = Path(reranker.path)
        tokenizer = _check_model(path, reranker.model)
        check_reward_model(path, load_model_config(path, reranker.model), tokenizer)
    if isinstance(reranker, PairRmConfig):
        load_pairrm_tokenizer(reranker)
        check_weights(Path(reranker.path))
        model_device(reranker.model)
    if isinstance(reranker, EnsembleConfig):
        for member in reranker.members:
            _check_reranker(member.reranker)


def _verifies(reranker: RerankerConfig) -> bool:
    if isinstance(reranker, EnsembleConfig):
        return any(_verifies(member.reranker) for member in reranker.members)
    return isinstance(reranker, VerifierConfig)


def _check_model(path: Path, config: ModelConfig) -> PreTrainedTokenizerBase:
    tokenizer = load_tokenizer(path, config)
    conversation_text(tokenizer, [{"role": "user", "content": "?"}], "!")
    check_weights(path)
    model_device(config)
    return tokenizer


def _check_references(prompts: Path) -> None:
    for number, row in enumerate(read_table(prompts, "prompts", ["prompt_id", "reference"])):
        if row["reference"] is None or final_number(row["reference"]) is None:
            raise DataError(
                f"prompt {row['prompt_id']} has the reference {row['reference']!r}, but the verifier needs a number",
                path=prompts,
                row=number,
                field="reference",
                remedy="Name the column of answers in prepare.columns.reference, or rerank with a reward model",
            )
