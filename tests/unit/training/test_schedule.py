import logging

import pytest
import torch
from transformers import get_scheduler

from larpo_lib.config import TrainingConfig
from larpo_lib.errors import ConfigError
from larpo_lib.training.schedule import check_steps_change_weights, lr_factor, total_learning_rate, warmup_steps

NAMES = {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}


def _theirs(schedule: str, warmup: int, total: int) -> list[float]:
    """The rates of `transformers`, from 1."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = get_scheduler(NAMES[schedule], optimizer, num_warmup_steps=warmup, num_training_steps=total)
    rates = []
    for _ in range(total):
        rates += scheduler.get_last_lr()
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize("schedule", NAMES)
@pytest.mark.parametrize(("warmup", "total"), [(0, 1), (0, 7), (1, 1), (1, 2), (3, 12), (10, 10), (47, 470)])
def test_no_step_is_wasted_and_the_rest_is_the_schedule_of_transformers(schedule, warmup, total):
    rates = [lr_factor(done, schedule=schedule, warmup=warmup, total=total) for done in range(total)]
    theirs = _theirs(schedule, warmup, total)
    assert min(rates) > 0
    assert max(rates) == 1
    assert rates[warmup:] == pytest.approx(theirs[warmup:])
    assert rates[:warmup] == pytest.approx([(done + 1) / warmup for done in range(warmup)])


def test_the_warm_up_is_a_share_of_the_steps_rounded_up():
    assert [warmup_steps(0.1, total) for total in (1, 10, 11, 470)] == [1, 1, 2, 47]
    assert warmup_steps(0.0, 470) == 0


def test_the_reach_is_the_sum_of_the_rates():
    """Two steps of warm-up, then a line over eight: 1/2 + 1 + (8 + 7 + ... + 1) / 8."""
    config = TrainingConfig(learning_rate=1e-3, schedule="linear", warmup_ratio=0.2)
    assert total_learning_rate(config, 10) == pytest.approx(1e-3 * (1.5 + 4.5))


def _weights(std: float, reach: float = 1.0) -> list[tuple[torch.Tensor, float]]:
    """As a model comes that was published in bfloat16."""
    return [((std * torch.randn(64, 64, generator=torch.Generator().manual_seed(0))).bfloat16().float(), reach)]


def test_steps_that_move_no_weight_are_refused():
    """Near 1 the next float32 is 1.2e-7 away, or half of that below."""
    config = TrainingConfig(learning_rate=1e-9)
    with pytest.raises(ConfigError, match=r"2 steps with a learning rate of 1e-09 move no weight.*Increase"):
        check_steps_change_weights(config, 2, [(torch.ones(8), 1.0)], torch.float32)
    check_steps_change_weights(config, 200, [(torch.ones(8), 1.0)], torch.float32)
    check_steps_change_weights(config, 2, [], torch.float32)


@pytest.mark.parametrize(
    ("steps", "dtype", "told"), [(2, torch.bfloat16, True), (470, torch.bfloat16, False), (2, torch.float32, False)]
)
def test_steps_that_hardly_matter_in_the_precision_of_the_policy_are_told(caplog, steps, dtype, told):
    """Weights of .02, as language models have them, are 6e-5 to 1.2e-4 apart in bfloat16; two steps reach 1e-6."""
    with caplog.at_level(logging.WARNING):
        check_steps_change_weights(TrainingConfig(learning_rate=5e-7), steps, _weights(0.02), dtype)
    assert bool(caplog.messages) == told
    if told:
        assert "2 steps with a learning rate of 5e-07 move a weight by at most about 1e-06" in caplog.text
        assert "When the policy is loaded as bfloat16, only 2.1 % of the weights" in caplog.text


def test_what_goes_less_far_by_the_same_rate_is_told_of(caplog):
    """As weights beside adapters do: 470 steps that change whole weights leave most of these as they were."""
    with caplog.at_level(logging.WARNING):
        check_steps_change_weights(TrainingConfig(learning_rate=5e-7), 470, _weights(0.02, 0.01), torch.bfloat16)
    assert "move a weight by at most about 1e-06" in caplog.text
