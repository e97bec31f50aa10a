"""The memory of a run's steps by its settings, and the settings to change where it is too much."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformers import AutoModelForSequenceClassification

from larpo_lib.budget.lists import lengths_by_iteration
from larpo_lib.budget.memory import Need, Training, sampling_need, scoring_need, training_need, vllm_need
from larpo_lib.budget.model import ModelSize, read_size
from larpo_lib.config import (
    EvaluateConfig,
    LarpoConfig,
    ModelConfig,
    SampleConfig,
    SftConfig,
    TrainConfig,
    by_iteration,
)
from larpo_lib.errors import ConfigError


@dataclass(frozen=True)
class Machine:
    """What the run may have.

    Attributes:
        gpus: how many; 0: the run is on a CPU.
        memory: bytes of each GPU, or of the machine where there is none.
    """

    gpus: int
    memory: int

    @property
    def on_gpu(self) -> bool:
        """Whether there is a GPU."""
        return self.gpus > 0

    def bf16(self, model: ModelConfig) -> bool:
        """Whether a model computes in bfloat16 there."""
        return self.on_gpu if model.dtype == "auto" else model.dtype != "float32"


def needs_of(config: LarpoConfig, policy: ModelSize, machine: Machine) -> list[Need]:
    """Every step that holds a model, in the order of the run.

    Raises:
        ConfigError: there are fewer GPUs than processes.
        ModelError: the reranker's directory cannot be read.
    """
    trained: list[tuple[str, SftConfig | TrainConfig]] = [("train", hardest_training(config, policy, machine))]
    if config.demonstrations is not None:
        trained.insert(0, ("sft", config.sft))
    for step, section in trained:
        _check_processes(step, section, machine)
    found = {
        step: training_need(step, policy, training_of(section, config, policy, machine)) for step, section in trained
    }
    return [
        *([found["sft"]] if "sft" in found else []),
        max(
            (_sampling("sample", each.sample, policy, machine) for each in by_iteration(config).values()),
            key=lambda need: need.bytes,
        ),
        *_reranking(config, machine),
        *_reference(config, trained[-1][1], policy, machine),
        found["train"],
        _sampling("evaluate", config.evaluate, policy, machine),
    ]


def hardest_training(config: LarpoConfig, policy: ModelSize, machine: Machine) -> TrainConfig:
    """The section `train` of the iteration whose training needs the most memory."""
    return max(
        (each.train for each in by_iteration(config).values()),
        key=lambda train: training_need("train", policy, training_of(train, config, policy, machine)).bytes,
    )


def _check_processes(step: str, section: SftConfig | TrainConfig, machine: Machine) -> None:
    processes = section.launch.nproc
    if machine.on_gpu and processes > machine.gpus:
        raise ConfigError(
            f"{step}.launch.nproc is {processes}, but there are {machine.gpus} GPUs",
            remedy=f"Set launch.nproc={machine.gpus}, or pass --gpus {processes}",
        )


def training_of(section: SftConfig | TrainConfig, config: LarpoConfig, policy: ModelSize, machine: Machine) -> Training:
    """How a section trains, with the largest pass that its limits allow."""
    launch, lora = section.launch, section.lora
    return Training(
        processes=launch.nproc * launch.nodes,
        zero=launch.zero_stage if launch.launcher == "deepspeed" else None,
        offload=launch.offload,
        bf16=machine.bf16(section.model),
        on_gpu=machine.on_gpu,
        adapters=0 if lora is None else policy.adapters(lora.r, lora.targets),
        pass_tokens=section.micro_batch_tokens,
        list_tokens=longest_list(section, config),
        checkpointing=section.gradient_checkpointing,
        chunk_tokens=section.logprob_chunk_tokens,
    )


def longest_list(section: SftConfig | TrainConfig, config: LarpoConfig) -> int:
    """Tokens of the longest list of any iteration that the limits allow; it has a pass of its own.

    With a prompt of p tokens it is p + responses x min(max_new_tokens, max_tokens - p): longest where both limits meet,
    or with the longest prompt.
    """
    if isinstance(section, SftConfig):
        return section.max_tokens
    responses = max(max(lengths) for lengths in lengths_by_iteration(config).values())
    samples = [each.sample for each in by_iteration(config).values()]
    new, longest = max(each.max_new_tokens for each in samples), max(each.max_prompt_tokens for each in samples)
    prompt = min(section.max_prompt_tokens, longest, max(1, section.max_tokens - new))
    return prompt + responses * min(new, section.max_tokens - prompt)


def _sampling(step: str, section: SampleConfig | EvaluateConfig, policy: ModelSize, machine: Machine) -> Need:
    sampler: Any = section.sampler
    tokens = section.max_prompt_tokens + section.max_new_tokens
    if sampler.type == "vllm":
        return vllm_need(
            step,
            policy,
            tokens,
            gpus=sampler.tensor_parallel,
            share=sampler.gpu_memory,
            memory=machine.memory,
            sequences=sampler.max_num_seqs,
        )
    if sampler.type == "hf":
        limits = (sampler.batch_size, section.max_prompt_tokens, section.max_new_tokens)
        return sampling_need(step, policy, *limits, bf16=machine.bf16(sampler.model), on_gpu=machine.on_gpu)
    return Need(step, [], f"the sampler {sampler.type} is elsewhere, or is not estimated")


def _reranking(config: LarpoConfig, machine: Machine) -> list[Need]:
    reranker: Any = config.rerank.reranker
    if reranker.type != "classifier":
        return [Need("rerank", [], f"the reranker {reranker.type} is not estimated")]
    size = read_size(reranker.path, reranker.model, AutoModelForSequenceClassification)
    tokens = max(reranker.batch_tokens, reranker.max_tokens)
    return [scoring_need("rerank", size, tokens, bf16=machine.bf16(reranker.model), on_gpu=machine.on_gpu)]


def _reference(config: LarpoConfig, train: SftConfig | TrainConfig, policy: ModelSize, machine: Machine) -> list[Need]:
    """A reference that is not what is trained. It is gone before that is loaded, and no process has a part of it only.

    Without ZeRO's stage 3 the training needs more after it.
    """
    needed = any(each.train.objective.needs_reference for each in by_iteration(config).values())
    if not needed or config.loop.reference != "initial" or train.launch.zero_stage != 3:
        return []
    tokens = max(train.micro_batch_tokens, longest_list(train, config))
    return [scoring_need("reference", policy, tokens, bf16=machine.bf16(train.model), on_gpu=machine.on_gpu)]


def changes_for(
    step: str, section: SftConfig | TrainConfig, config: LarpoConfig, policy: ModelSize, machine: Machine
) -> list[str]:
    """Settings with which a training fits, by the same arithmetic; empty: there are none.

    What changes nothing but speed comes first: each change alone, then together. What changes the result comes last.
    """
    same, other = _same_results(section, config, machine), _other_results(section)
    tries = [[one] for one in same]
    tries += [same[:count] for count in range(2, len(same) + 1)]
    tries += [[*same, one] for one in other] + [[*same, *other]]
    for chosen in tries:
        if _fits(step, section, chosen, config, policy, machine):
            joined = {name: value for change in chosen for name, value in change.items()}
            return [f"{step}.{name}={json.dumps(value)}" for name, value in joined.items()]
    return []


def _same_results(section: SftConfig | TrainConfig, config: LarpoConfig, machine: Machine) -> list[dict[str, Any]]:
    """Changes that, but for rounding, leave the results as they are; the cheapest first."""
    launch = section.launch
    found: list[dict[str, Any]] = []
    if section.micro_batch_tokens > longest_list(section, config):
        found.append({"micro_batch_tokens": longest_list(section, config)})
    if not section.gradient_checkpointing:
        found.append({"gradient_checkpointing": True})
    shared: dict[str, Any] = {"launch.launcher": "deepspeed", "launch.nproc": machine.gpus, "launch.zero_stage": 3}
    if machine.gpus > 1 and (launch.launcher, launch.nproc, launch.zero_stage) != tuple(shared.values()):
        found.append(shared)
    if machine.on_gpu and not launch.offload:
        found.append({**shared, "launch.zero_stage": 3 if machine.gpus > 1 else 2, "launch.offload": True})
    return found


def _other_results(section: SftConfig | TrainConfig) -> list[dict[str, Any]]:
    """Changes after which something else is learnt."""
    shorter = max(section.max_prompt_tokens + 1, section.max_tokens // 2)
    found: list[dict[str, Any]] = [{"max_tokens": shorter}] if shorter < section.max_tokens else []
    return found if section.lora is not None else [*found, {"lora.r": 16}]


def _fits(
    step: str,
    section: SftConfig | TrainConfig,
    changes: Sequence[dict[str, Any]],
    config: LarpoConfig,
    policy: ModelSize,
    machine: Machine,
) -> bool:
    values: dict[str, Any] = section.model_dump()
    for change in changes:
        for name, value in change.items():
            place, _, leaf = name.rpartition(".")
            if place:
                values[place] = {**(values[place] or {}), leaf: value}
            else:
                values[leaf] = value
    changed = type(section).model_validate(values)
    need = training_need(step, policy, training_of(changed, config, policy, machine))
    return need.bytes <= machine.memory
