"""What can be known to be wrong with models and servers before any expensive work."""

from collections.abc import Collection
from pathlib import Path

from larpo_lib.checks import check_settings
from larpo_lib.config import LarpoConfig, ModelConfig, by_iteration
from larpo_lib.config.gpus import idle_gpus
from larpo_lib.config.mixins import Sampling
from larpo_lib.errors import ConfigError
from larpo_lib.evaluation.run_benchmarks import check_benchmark_files, check_benchmark_servers
from larpo_lib.launcher import is_secondary_process
from larpo_lib.models.chat import conversation_text
from larpo_lib.models.device import model_device
from larpo_lib.models.hub import local_model
from larpo_lib.models.model_dir import ModelDir, check_weights
from larpo_lib.progress import tell
from larpo_lib.samplers.candidates import sampling_limits
from larpo_lib.samplers.vllm import VllmSamplerConfig
from larpo_lib.training.trainable import check_trainable

STEPS = frozenset({"sft", "sample", "rerank", "build_lists", "train", "evaluate"})
"""Names of the steps that need models or servers."""

PolicyDirs = dict[ModelConfig, ModelDir]
"""The policy by each of the settings that it is read by."""


def check_config(config: LarpoConfig, left: Collection[str] = STEPS) -> None:
    """Check that settings fit together, and that the models and servers can be used that are still needed.

    Args:
        config: of the run.
        left: names of the steps that are still to be taken.

    Raises:
        ConfigError: settings contradict each other.
        ModelError: the policy, a reward model or the embedding model of related prompts cannot be used.
        EndpointError: a server does not answer.
    """
    check_settings(config)
    if not set(left).isdisjoint(config.benchmarks):
        check_benchmark_files(config)
        check_benchmark_servers(config)
    _check_one_machine(config)
    policy = local_model(config.policy)
    dirs = _policy_dirs(policy, config)
    if not {"sft", "sample", "train", "evaluate"}.isdisjoint(left):
        _check_policy(config, dirs)
    _check_samplers(config, policy, left)
    if "rerank" in left:
        config.rerank.reranker.check()
    for reranker in config.evaluate.rerankers.values() if "evaluate" in left else ():
        reranker.check()
    if "evaluate" in left and config.evaluate.judge is not None:
        config.evaluate.judge.check()
    for lists in [each.lists for each in by_iteration(config).values()] if "build_lists" in left else ():
        (lists.selection if lists.negatives is None else lists.negatives.retriever).check()
    _tell_idle_gpus(config, left)


def _check_policy(config: LarpoConfig, dirs: PolicyDirs) -> None:
    for source in dirs.values():
        _check_readable(source)
    for settings in dirs:
        model_device(settings)
    tuned = [config.sft] if config.demonstrations is not None else []
    for trained in (*[each.train for each in by_iteration(config).values()], *tuned):
        check_trainable(dirs[trained.model], trained)


def _check_one_machine(config: LarpoConfig) -> None:
    if is_secondary_process():
        raise ConfigError(
            "`larpo run` uses one machine, but PET_NODE_RANK or RANK says that this is not the first machine",
            remedy="Unset them, or train on several machines with `larpo train`",
        )
    if max(config.train.launch.nodes, config.sft.launch.nodes) > 1:
        raise ConfigError(
            "`larpo run` uses one machine, but launch.nodes is greater than 1",
            remedy="Set it to 1, or use the Kubeflow pipeline",
        )


def check_policy(policy: Path, config: LarpoConfig) -> None:
    """Check that a policy's tokenizer, chat template and weights can be read, whatever machine will run it.

    Raises:
        ModelError: they cannot.
    """
    for source in _policy_dirs(policy, config).values():
        _check_readable(source)


def _check_samplers(config: LarpoConfig, policy: Path, left: Collection[str]) -> None:
    sampling: list[tuple[str, Sampling]] = [("sample", each.sample) for each in by_iteration(config).values()]
    sampling += [("evaluate", config.evaluate)]
    answering = [(f"{name}.answers", getattr(getattr(config, name), "answers", None)) for name in config.benchmarks]
    sampling += [(name, step) for name, step in answering if step is not None and not step.sampler.serves_one_policy]
    for setting, step in sampling:
        if setting.partition(".")[0] in left:
            step.sampler.check(policy, sampling_limits(step))
            if isinstance(step.sampler, VllmSamplerConfig):
                _check_gpus(setting, step.sampler, step.processes)


def _tell_idle_gpus(config: LarpoConfig, left: Collection[str]) -> None:
    import torch

    for step, told in idle_gpus(config, torch.cuda.device_count()).items():
        if step in left:
            tell(told)


def _check_gpus(setting: str, sampler: VllmSamplerConfig, processes: int) -> None:
    """Refuse engines that take more GPUs than there are, or more than the whole memory of one."""
    import torch

    gpus, each = torch.cuda.device_count(), sampler.tensor_parallel
    if not gpus:  # vLLM's build for CPUs
        return
    if each > 1 and processes * each > gpus:
        raise ConfigError(
            f"{setting}.processes = {processes} with sampler.tensor_parallel = {each} take {processes * each} GPUs, "
            f"but this machine has {gpus}",
            remedy="Reduce one of them",
        )
    engines = -(-processes // gpus)
    if engines > 1 and engines * sampler.gpu_memory >= 1:
        raise ConfigError(
            f"{setting}.processes = {processes} puts {engines} of vLLM's engines on one GPU, because this machine has "
            f"{gpus}, but each takes sampler.gpu_memory = {sampler.gpu_memory} of it",
            remedy=f"Reduce processes to {gpus}, or sampler.gpu_memory below {1 / engines:.2g}",
        )


def _policy_dirs(policy: Path, config: LarpoConfig) -> PolicyDirs:
    models = (config.sft.model, config.sample.sampler.model, config.train.model, config.evaluate.sampler.model)
    return {settings: ModelDir(policy, settings) for settings in models}


def _check_readable(source: ModelDir) -> None:
    conversation_text(source.tokenizer, [{"role": "user", "content": "?"}], "!")
    check_weights(source.path)
