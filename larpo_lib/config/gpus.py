"""How many of a machine's GPUs the steps use that are not trainings; a training has one for each of its processes."""

from collections.abc import Iterator
from typing import Any

from larpo_lib.config.base import ModelConfig
from larpo_lib.config.kinds import RerankerConfig, SamplerConfig
from larpo_lib.config.tree import LarpoConfig


def idle_gpus(config: LarpoConfig, gpus: int) -> dict[str, str]:
    """What to tell of steps that leave some of a machine's GPUs without work, by the steps' names."""
    found = {}
    for step, section, each in _users(config):
        most, used = gpus // each, section.processes * each
        if used < gpus and most > section.processes:
            found[step] = f"{step} uses {used} of {gpus} GPUs: set {step}.processes = {most} to use all"
    return found


def _users(config: LarpoConfig) -> Iterator[tuple[str, Any, int]]:
    """Steps with a model on a GPU: name, section, and GPUs of each process."""
    for step, section in (("sample", config.sample), ("evaluate", config.evaluate)):
        if _runs_here(section.sampler):
            yield step, section, getattr(section.sampler, "tensor_parallel", 1)
        elif step == "evaluate" and any(map(_scores_here, config.evaluate.rerankers.values())):
            yield step, section, 1
    if _scores_here(config.rerank.reranker):
        yield "rerank", config.rerank, 1


def _runs_here(sampler: SamplerConfig) -> bool:
    return sampler.type in ("hf", "vllm") and sampler.model.device != "cpu"


def _scores_here(reranker: RerankerConfig) -> bool:
    models = [getattr(part, "model", None) for part in reranker.parts()]
    return any(isinstance(model, ModelConfig) and model.device != "cpu" for model in models)
