"""DeepSpeed in bfloat16: a training goes on from its float32 weights and moments, and adapters beside a head train."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from forked import forked
from safetensors.torch import load_file
from services.processes import free_port
from table_rows import preferences, with_table

from larpo_lib.config import LaunchConfig, LoraConfig, ModelConfig, RewardModelConfig, TrainConfig
from larpo_lib.steps import reward_model, train
from larpo_lib.training.history import read_history


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four lists of two responses."""
    rows = [
        preferences(
            [{"role": "user", "content": f"Ann has {i}"}], ["1", "2 2"], [1.0, 0.0], token_ids=[[5 + i, 4], [9]]
        )
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
        _run_alone(_train, config, tiny_policy, lists, tmp_path / out, dies_at, log=tmp_path / "log", end=end)
    whole, resumed = (load_file(tmp_path / out / "model.safetensors") for out in ("whole", "killed"))
    start = load_file(tiny_policy / "model.safetensors")
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
    assert max(float((value - start[name]).abs().max()) for name, value in whole.items()) > 1e-3
    assert read_history(tmp_path / "killed") == read_history(tmp_path / "whole")


def test_a_stopped_training_goes_on_with_deepspeed_by_a_reference_in_its_precision(
    tiny_policy: Path, lists: Path, tmp_path: Path
) -> None:
    """Autocast and DeepSpeed round other numbers; a log-ratio is of two passes that round the same ones."""
    alone = TrainConfig(
        model=ModelConfig(device="cpu", dtype="bfloat16"),
        objective={"type": "dpo"},  # type: ignore[arg-type]
        batch_size=2,
        epochs=3,
        save_steps=2,
    )
    deepspeed = alone.model_copy(update={"launch": LaunchConfig.model_validate({"launcher": "deepspeed"})})
    starts = ((alone, "changed", 3, 9), (deepspeed, "changed", 0, 0), (deepspeed, "whole", 0, 0))
    for config, out, dies_at, end in starts:
        made = config.model_dump_json()
        _run_alone(_train, made, tiny_policy, lists, tmp_path / out, dies_at, log=tmp_path / "log", end=end)
    changed, whole = (load_file(tmp_path / out / "reference.logps") for out in ("changed", "whole"))
    assert torch.equal(changed["own"], whole["own"])
    assert len(read_history(tmp_path / "changed")) == 6


def test_a_reward_model_with_adapters_is_trained_by_stage_3_as_by_stage_2(
    tiny_policy: Path, lists: Path, tmp_path: Path
) -> None:
    """Its head is a weight of the model, which stage 3 makes in bfloat16, and its adapters are not."""
    for stage in ("2", "3"):
        config = RewardModelConfig(
            model=ModelConfig(device="cpu", dtype="bfloat16"),
            launch=LaunchConfig.model_validate({"launcher": "deepspeed", "zero_stage": int(stage)}),
            lora=LoraConfig(r=2),
            learning_rate=1e-3,
            batch_size=2,
            epochs=3,
        )
        _run_alone(_reward, config.model_dump_json(), tiny_policy, lists, tmp_path / stage, log=tmp_path / "log")
    by_2, by_3 = ([row["loss"] for row in read_history(tmp_path / stage)] for stage in ("2", "3"))
    assert by_3 == pytest.approx(by_2, rel=0.05)
    assert abs(by_2[0] - by_2[-1]) > 0.05
    stored = load_file(tiny_policy / "model.safetensors")
    for stage in ("2", "3"):  # what is frozen is published as it was stored, whole and in float32
        found = load_file(tmp_path / stage / "model.safetensors")
        assert {value.dtype for value in found.values()} == {torch.float32}
        same = {name for name, value in found.items() if name in stored and torch.equal(value, stored[name])}
        assert same == {name for name in found if "embed" in name or "norm" in name}


def _run_alone(function: Callable[..., None], *arguments: object, log: Path, end: int = 0) -> None:
    """Call a function in a process that is started as torchrun starts a single one."""
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "RANK": "0", "LOCAL_RANK": "0"}
    environment = {**os.environ, **meeting, "WORLD_SIZE": "1", "DS_ACCELERATOR": "cpu"}
    process = forked(function, *arguments, output=log, environment=environment)
    assert process.wait() == end, log.read_text()[-2000:]


def _reward(config: str, policy: Path, lists: Path, trained: Path) -> None:
    reward_model.run(RewardModelConfig.model_validate_json(config), policy=policy, lists=lists, trained=trained)


def _train(config: str, policy: Path, lists: Path, trained: Path, dies_at: int) -> None:
    def log(_row: object, step: int) -> None:
        if step == dies_at:
            os._exit(9)

    train.run(TrainConfig.model_validate_json(config), policy=policy, lists=lists, trained=trained, log=log)
