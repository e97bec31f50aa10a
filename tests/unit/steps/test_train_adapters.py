import json
import logging

import pytest
import torch
from safetensors.torch import load_file
from trainings import ten_lists, training

from larpo_lib.config import LoraConfig, ModelConfig
from larpo_lib.models.model_dir import ModelDir

HALF = ModelConfig(device="cpu", dtype="bfloat16")
SMALL = {"model": HALF, "lora": LoraConfig(r=4, alpha=8), "learning_rate": 1e-5}
"""Steps that move weights of .02 by much less than bfloat16 can tell."""


@pytest.fixture(scope="module")
def policy(tiny_policy, tmp_path_factory):
    """As most models come: in bfloat16."""
    directory = tmp_path_factory.mktemp("half")
    model = ModelDir(tiny_policy, HALF)
    model.load_policy().save_pretrained(directory)
    model.tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture
def run(policy, tmp_path):
    return training(policy, tmp_path, ten_lists())


def _updates(directory, weights):
    """2 * B A of every adapted layer, by peft's file, in float64."""
    kept = load_file(directory / "adapter" / "adapter_model.safetensors")
    found = {}
    for name in weights:
        up, down = (kept.get(f"base_model.model.{name.replace('.weight', f'.lora_{part}.weight')}") for part in "BA")
        if up is not None:
            found[name] = 2 * (up.double() @ down.double())
    return found


def test_two_trainings_in_bfloat16_lose_nothing_of_what_they_publish(run, policy, tmp_path, caplog):
    """What the second one reads in bfloat16 is hardly changed; what it publishes has the changes of both."""
    with caplog.at_level(logging.WARNING):
        first = run("first", **SMALL)
    second = run("second", policy=tmp_path / "first", **SMALL | {"seed": 1})
    before, middle, after = (load_file(tmp_path / path / "model.safetensors") for path in (policy, "first", "second"))
    of_first, of_second = (_updates(tmp_path / name, before) for name in ("first", "second"))
    assert len(of_first) == len(of_second) == 14
    for name, value in before.items():
        nothing = torch.zeros_like(value, dtype=torch.float64)
        assert middle[name].dtype is after[name].dtype is torch.float32
        one, both = of_first.get(name, nothing), of_first.get(name, nothing) + of_second.get(name, nothing)
        torch.testing.assert_close(middle[name].double() - value.double(), one, atol=2e-8, rtol=0.0)
        torch.testing.assert_close(after[name].double() - value.double(), both, atol=4e-8, rtol=0.0)
    assert 0 <= first["lora_update_kept"] < 0.9
    assert f"only {100 * first['lora_update_kept']:.0f} % of what adapters have learnt is left" in caplog.text
    assert second["lora_update_kept"] != first["lora_update_kept"]
    settings = json.loads((tmp_path / "first" / "config.json").read_text("utf-8"))
    assert (settings["dtype"], settings["torch_dtype"]) == ("float32", "float32")


def test_larger_updates_are_no_reason_to_warn(run, caplog):
    with caplog.at_level(logging.WARNING):
        metrics = run(**SMALL | {"learning_rate": 1e-2})
    assert metrics["lora_update_kept"] == pytest.approx(1, abs=0.05)
    assert "what adapters have learnt" not in caplog.text


def test_in_float32_nothing_is_lost_and_nothing_said(run, caplog):
    with caplog.at_level(logging.WARNING):
        metrics = run(lora=SMALL["lora"], learning_rate=1e-5)
    assert "lora_update_kept" not in metrics
    assert "is left" not in caplog.text
