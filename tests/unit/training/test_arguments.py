import pytest

from larpo_lib.config import ModelConfig, TrainingConfig
from larpo_lib.training.arguments import training_arguments

PLAIN = ModelConfig(device="cpu")


@pytest.mark.parametrize(("dtype", "bf16"), [("float32", False), ("auto", False), ("bfloat16", True)])
def test_precision_follows_the_model_settings(dtype, bf16):
    arguments = training_arguments(TrainingConfig(model=ModelConfig(device="cpu", dtype=dtype)))
    assert arguments.bf16 is bf16
    assert arguments.use_cpu


def test_a_batch_of_the_trainer_is_an_optimiser_step():
    """Whatever the settings' batch size: the steps are planned elsewhere."""
    arguments = training_arguments(TrainingConfig(model=PLAIN, batch_size=12, micro_batch_tokens=7))
    assert arguments.train_batch_size == arguments.gradient_accumulation_steps == 1
