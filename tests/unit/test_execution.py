from types import SimpleNamespace
from unittest.mock import Mock, patch

import pytest

from larpo_lib.config import ReportConfig, SftConfig, TrainConfig
from larpo_lib.execution import execute_step
from larpo_lib.files import write_json
from larpo_lib.steps.declarations import STEPS, Step
from larpo_lib.training.history import write_history

OUT = (SimpleNamespace(name="trained"),)


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
    step = SimpleNamespace(run=lambda *_, **__: {"steps": 1}, trains=True, needs_registry=False, logs=(), outputs=OUT)
    call, run = SimpleNamespace(step=step, config=config, arguments={}, name="train", asked=()), Mock()
    assert execute_step(call, {"trained": tmp_path}, run) == {"steps": 1}
    run.log_curve.assert_any_call(rows)
    assert [text.startswith(told) and file for (text, file), _ in run.log_text.call_args_list] == (
        ["advice.txt"] if told else []
    )


def test_a_report_gives_mlflow_a_curve_over_the_iterations(tmp_path):
    rows = [{"step": 0, "watch_rules": 0.5, "kl": None}, {"step": 1, "watch_rules": 0.4, "kl": 2.0}]
    write_json(tmp_path / "reward_hacking.json", {"iterations": rows, "advice": ["Stop."], "trained": "reward"})
    call = SimpleNamespace(
        step=STEPS["report"], config=ReportConfig(), arguments={}, name="report", asked=(), inputs={}, outputs={}
    )
    run = Mock()
    with patch.object(Step, "run", lambda *_, **__: {"examples": 1}):
        execute_step(call, {"report": tmp_path}, run)
    run.log_curve.assert_called_once_with(rows)
    run.log_artifact.assert_called_once_with(tmp_path / "reward_hacking.json")
