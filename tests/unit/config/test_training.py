from typing import Any

import pytest

from larpo_lib.config import LaunchConfig, LoraConfig, ModelConfig, TrainConfig
from larpo_lib.objectives.pairwise import dpo

EXECUTION: dict[str, Any] = {
    "micro_batch_tokens": 7,
    "gradient_checkpointing": True,
    "logprob_chunk_tokens": 7,
    "save_steps": 7,
    "checkpoints": "s3://bucket/checkpoints",
    "launch": LaunchConfig(launcher="deepspeed", nproc=2, zero_stage=3, offload=True),
}
"""Settings that say how a training is done."""

DECIDING: dict[str, Any] = {
    "model": ModelConfig(dtype="bfloat16"),
    "learning_rate": 1e-3,
    "schedule": "linear",
    "warmup_ratio": 0.2,
    "weight_decay": 0.1,
    "max_grad_norm": 2.0,
    "epochs": 7,
    "max_steps": 7,
    "batch_size": 7,
    "max_prompt_tokens": 7,
    "max_tokens": 2049,
    "lora": LoraConfig(),
    "unknown_end": "leave_open",
    "seed": 7,
    "objective": dpo.settings(),
}
"""Settings that say what comes out."""


def test_every_setting_is_of_one_kind() -> None:
    """Whoever adds one has to say of which."""
    assert EXECUTION.keys() | DECIDING.keys() == TrainConfig.model_fields.keys()
    assert EXECUTION.keys().isdisjoint(DECIDING)


@pytest.mark.parametrize("name", EXECUTION)
def test_settings_of_the_execution_are_no_part_of_the_identity(name: str) -> None:
    changed = TrainConfig(**{name: EXECUTION[name]})
    assert changed != TrainConfig()
    assert changed.identity() == TrainConfig().identity()


@pytest.mark.parametrize("name", DECIDING)
def test_settings_that_decide_the_result_are_part_of_the_identity(name: str) -> None:
    assert TrainConfig(**{name: DECIDING[name]}).identity() != TrainConfig().identity()
