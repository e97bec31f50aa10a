import logging

import pytest
import torch
from training_lists import PLAIN, Killed, kill_at, publish, random_lists, train, with_reference
from transformers.models.llama.modeling_llama import LlamaMLP

from larpo_lib.models.model_dir import ModelDir
from larpo_lib.training import checkpoints
from larpo_lib.training.history import read_history


@pytest.fixture(scope="module")
def lists(tiny_policy):
    return with_reference(tiny_policy, random_lists(10))


def _weights(model):
    return {name: value.numpy().tobytes() for name, value in model.state_dict().items()}


def _result(fitted):
    return _weights(fitted.model), fitted.history


@pytest.fixture(scope="module")
def whole(tiny_policy, lists, tmp_path_factory):
    """Weights and history of a run that was left alone."""
    return _result(train(tiny_policy, lists, tmp_path_factory.mktemp("whole"), "kto", save_steps=2))


@pytest.mark.parametrize("killed_at", [1, 3, 4, 6])
def test_a_killed_run_goes_on_and_ends_the_same(tiny_policy, lists, whole, tmp_path, killed_at):
    """Six steps, a checkpoint behind every second one; step 4 is the first of the second epoch."""
    with pytest.raises(Killed):
        train(tiny_policy, lists, tmp_path, "kto", kill_at(killed_at), save_steps=2)
    seen = []
    fitted = train(tiny_policy, lists, tmp_path, "kto", lambda _row, step: seen.append(step), save_steps=2)
    assert seen == list(range((killed_at - 1) // 2 * 2 + 1, 7))  # from the last checkpoint before the kill
    assert _result(fitted) == whole


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), SystemExit(143)], ids=["ctrl-c", "sigterm"])
def test_a_stop_keeps_every_whole_step(stop, tiny_policy, lists, whole, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    seen = []
    forward = LlamaMLP.forward

    def stopped(self, hidden):
        if self.training and len(seen) == 3:
            raise stop
        return forward(self, hidden)

    def log(_row, step):
        seen.append(step)

    with monkeypatch.context() as patched:
        patched.setattr(LlamaMLP, "forward", stopped)
        with pytest.raises(type(stop)):
            train(tiny_policy, lists, tmp_path, "kto", log, save_steps=100)
    assert "train: stopped. Kept up to step 3; the same command goes on from there" in caplog.messages
    fitted = train(tiny_policy, lists, tmp_path, "kto", log, save_steps=100)
    assert seen == [1, 2, 3, 4, 5, 6]
    assert _result(fitted) == whole


def test_nothing_is_kept_of_an_update_that_is_stopped_half_way(
    tiny_policy, lists, whole, tmp_path, monkeypatch, caplog
):
    caplog.set_level(logging.INFO)
    seen = []
    update = torch.optim.AdamW.step

    def stopped(self, *arguments, **options):
        done = update(self, *arguments, **options)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return done

    with monkeypatch.context() as patched:
        patched.setattr(torch.optim.AdamW, "step", stopped)
        with pytest.raises(KeyboardInterrupt):
            train(tiny_policy, lists, tmp_path, "kto", lambda _row, step: seen.append(step), save_steps=2)
    assert "train: stopped. Kept up to step 2; the same command goes on from there" in caplog.messages
    assert _result(train(tiny_policy, lists, tmp_path, "kto", save_steps=2)) == whole


def test_a_run_killed_while_it_writes_a_checkpoint_uses_the_one_before(
    tiny_policy, lists, whole, tmp_path, monkeypatch
):
    write = checkpoints.write_json

    def die_at_four(path, index):
        if index["step"] == 4:
            raise Killed
        write(path, index)

    monkeypatch.setattr(checkpoints, "write_json", die_at_four)
    with pytest.raises(Killed):
        train(tiny_policy, lists, tmp_path, "kto", save_steps=2)
    monkeypatch.undo()
    torn = tmp_path / "checkpoints" / ".step-000000004"
    assert torn.is_dir()
    seen = []
    fitted = train(
        tiny_policy, lists, tmp_path, "kto", lambda _row, step: seen.append((step, torn.exists())), save_steps=2
    )
    assert seen[0] == (3, False)
    assert _result(fitted) == whole


def test_the_schedule_goes_on_where_it_was(tiny_policy, lists, tmp_path):
    """With a warm-up over the kill: a schedule begun anew would show in the rates."""
    changes = {"warmup_ratio": 0.5, "schedule": "linear", "save_steps": 1}
    whole = train(tiny_policy, lists, tmp_path / "whole", "listmle", **changes).history
    with pytest.raises(Killed):
        train(tiny_policy, lists, tmp_path / "killed", "listmle", kill_at(3), **changes)
    resumed = train(tiny_policy, lists, tmp_path / "killed", "listmle", **changes).history
    rates = [row["learning_rate"] for row in resumed]
    assert rates == [row["learning_rate"] for row in whole]
    assert rates == pytest.approx([1e-3 / 3, 2e-3 / 3, 1e-3, 1e-3, 2e-3 / 3, 1e-3 / 3])


@pytest.mark.parametrize("damaged", [1, 2])
def test_a_run_whose_newest_checkpoints_are_damaged_goes_on_from_before_and_ends_the_same(
    tiny_policy, lists, whole, tmp_path, damaged
):
    """From step 2, or from the start."""
    with pytest.raises(Killed):
        train(tiny_policy, lists, tmp_path, "kto", kill_at(6), save_steps=2)
    for place in sorted((tmp_path / "checkpoints").iterdir())[-damaged:]:
        (place / "part-00000.safetensors").write_bytes(b"")
    seen = []
    fitted = train(tiny_policy, lists, tmp_path, "kto", lambda _row, step: seen.append(step), save_steps=2)
    assert seen[0] == (3 if damaged == 1 else 1)
    assert _result(fitted) == whole


def test_the_last_two_checkpoints_are_kept_and_none_behind_the_last_step(tiny_policy, lists, tmp_path):
    train(tiny_policy, lists, tmp_path, "listmle", save_steps=1)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["step-000000004", "step-000000005"]


def test_a_saved_policy_has_its_history_beside_it_and_keeps_its_checkpoint(tiny_policy, lists, tmp_path):
    fitted = train(tiny_policy, lists, tmp_path, "listmle", max_steps=2, save_steps=1)
    assert any((tmp_path / "checkpoints").iterdir())
    saved = publish(fitted, tiny_policy, tmp_path)
    assert any((tmp_path / "checkpoints").iterdir())  # a crash before the publishing goes on from it
    assert read_history(saved) == fitted.history
    assert _weights(ModelDir(saved, PLAIN).load_policy()) == _weights(fitted.model)
    assert ModelDir(saved, PLAIN).tokenizer.get_vocab() == ModelDir(tiny_policy, PLAIN).tokenizer.get_vocab()
