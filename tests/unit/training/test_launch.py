from __future__ import annotations

import pytest
from training_lists import random_lists, train, with_reference

from larpo_lib.config import ModelConfig, TrainingConfig
from larpo_lib.policies.load import load_policy, load_tokenizer
from larpo_lib.training.launch import read_history, save_policy, training_arguments


class Killed(Exception):  # noqa: N818 - it stands for the end of the process
    pass


def _kill_at(last):
    def log(_row, step):
        if step == last:
            raise Killed

    return log


@pytest.fixture(scope="module")
def lists(tiny_policy):
    return with_reference(tiny_policy, random_lists(10))


def _weights(model):
    return {name: value.numpy().tobytes() for name, value in model.state_dict().items()}


@pytest.fixture(scope="module")
def whole(tiny_policy, lists, tmp_path_factory):
    """Weights and history of a run that was left alone."""
    model, history = train(tiny_policy, lists, tmp_path_factory.mktemp("whole"), "kto", save_steps=2)
    return _weights(model), history


@pytest.mark.parametrize("killed_at", [1, 3, 4, 6])
def test_a_killed_run_goes_on_and_ends_the_same(tiny_policy, lists, whole, tmp_path, killed_at):
    """Six steps, a checkpoint behind every second one; step 4 is the first of the second epoch."""
    with pytest.raises(Killed):
        train(tiny_policy, lists, tmp_path, "kto", _kill_at(killed_at), save_steps=2)
    seen = []
    model, rows = train(tiny_policy, lists, tmp_path, "kto", lambda _row, step: seen.append(step), save_steps=2)
    assert seen == list(range((killed_at - 1) // 2 * 2 + 1, 7))  # from the last checkpoint before the kill
    assert (_weights(model), rows) == whole


def test_a_torn_checkpoint_is_removed_and_the_one_before_used(tiny_policy, lists, whole, tmp_path):
    with pytest.raises(Killed):
        train(tiny_policy, lists, tmp_path, "kto", _kill_at(5), save_steps=2)
    torn = tmp_path / "checkpoints" / "checkpoint-4"
    (torn / "larpo-checkpoint-is-whole").unlink()
    (torn / "model.safetensors").write_bytes(b"torn")
    seen = []
    model, rows = train(
        tiny_policy, lists, tmp_path, "kto", lambda _row, step: seen.append((step, torn.exists())), save_steps=2
    )
    assert seen[0] == (3, False)
    assert (_weights(model), rows) == whole


def test_only_the_last_two_checkpoints_are_kept(tiny_policy, lists, tmp_path):
    train(tiny_policy, lists, tmp_path, "listmle", save_steps=1)
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["checkpoint-5", "checkpoint-6"]


def test_a_saved_policy_has_its_history_beside_it(tiny_policy, lists, tmp_path):
    plain = ModelConfig(device="cpu")
    model, history = train(tiny_policy, lists, tmp_path / "scratch", "listmle", max_steps=2)
    save_policy(model, load_tokenizer(tiny_policy, plain), history, tmp_path / "policy")
    assert read_history(tmp_path / "policy") == history
    assert _weights(load_policy(tmp_path / "policy", plain)) == _weights(model)
    tokenizer = load_tokenizer(tmp_path / "policy", plain)
    assert tokenizer.get_vocab() == load_tokenizer(tiny_policy, plain).get_vocab()


@pytest.mark.parametrize(("dtype", "bf16"), [("float32", False), ("auto", False), ("bfloat16", True)])
def test_precision_follows_the_model_settings(tmp_path, dtype, bf16):
    config = TrainingConfig(model=ModelConfig(device="cpu", dtype=dtype), batch_size=12, micro_batch_size=3)
    arguments = training_arguments(config, tmp_path)
    assert arguments.bf16 is bf16
    assert arguments.gradient_accumulation_steps == 4
    assert arguments.per_device_train_batch_size == 3
    assert arguments.use_cpu
