"""A training of DeepSpeed in bfloat16 goes on from its float32 weights and moments, whatever is divided."""

import os
from pathlib import Path

import pytest
import torch
from forked import forked
from safetensors.torch import load_file
from services.processes import free_port
from table_rows import preferences, with_table

from larpo_lib.config import LaunchConfig, ModelConfig, TrainConfig
from larpo_lib.steps import train
from larpo_lib.training.history import read_history


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four lists of two responses."""
    rows = [
        preferences([{"role": "user", "content": f"Ann has {i}"}], ["a", "b"], [1.0, 0.0], token_ids=[[5 + i, 4], [9]])
        for i in range(4)
    ]
    return with_table(tmp_path_factory.mktemp("lists"), "lists", rows)


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_a_killed_training_ends_as_if_it_had_not_been(
    stage: int, tiny_policy: Path, lists: Path, tmp_path: Path
) -> None:
    config = TrainConfig(
        model=ModelConfig(device="cpu", dtype="bfloat16"),
        launch=LaunchConfig.model_validate({"launcher": "deepspeed", "zero_stage": stage}),
        learning_rate=1e-3,
        warmup_ratio=0.0,
        batch_size=2,
        epochs=3,
        save_steps=2,
    ).model_dump_json()
    for out, dies_at, end in (("whole", 0, 0), ("killed", 3, 9), ("killed", 0, 0)):
        meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "RANK": "0", "LOCAL_RANK": "0"}
        environment = {**os.environ, **meeting, "WORLD_SIZE": "1", "DS_ACCELERATOR": "cpu"}
        arguments = (config, tiny_policy, lists, tmp_path / out, dies_at)
        process = forked(_train, *arguments, output=tmp_path / "log", environment=environment)
        assert process.wait() == end, (tmp_path / "log").read_text()[-2000:]
    whole, resumed = (load_file(tmp_path / out / "model.safetensors") for out in ("whole", "killed"))
    start = load_file(tiny_policy / "model.safetensors")
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
    assert max(float((value - start[name]).abs().max()) for name, value in whole.items()) > 1e-3
    assert read_history(tmp_path / "killed") == read_history(tmp_path / "whole")


def _train(config: str, policy: Path, lists: Path, trained: Path, dies_at: int) -> None:
    def log(_row: object, step: int) -> None:
        if step == dies_at:
            os._exit(9)

    train.run(TrainConfig.model_validate_json(config), policy=policy, lists=lists, trained=trained, log=log)
