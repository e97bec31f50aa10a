from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from larpo_lib.config import SftConfig, TrainConfig
from larpo_lib.execution import execute_step
from larpo_lib.training.history import write_history


@pytest.mark.parametrize(
    ("config", "drift", "told"),
    [
        (TrainConfig(), -40.0, "The log-probability of the best responses fell by 40 nats: "),
        (TrainConfig(), -1.0, None),
        (SftConfig(), -40.0, None),
    ],
)
def test_advice_about_a_training_is_logged_with_its_curve(tmp_path, config, drift, told):
    rows = [{"step": 1, "epoch": 1.0, "loss": 1.0, "chosen_logp_drift": drift}]
    write_history(tmp_path, rows)
    step = SimpleNamespace(run=lambda *_, **__: {"steps": 1}, trains=True, needs_registry=False, logs=())
    call, run = SimpleNamespace(step=step, config=config, arguments={}, name="train"), Mock()
    assert execute_step(call, {"trained": tmp_path}, run) == {"steps": 1}
    run.log_curve.assert_any_call(rows)
    assert [text.startswith(told) and file for (text, file), _ in run.log_text.call_args_list] == (
        ["advice.txt"] if told else []
    )
