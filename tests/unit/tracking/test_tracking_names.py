"""Metrics whose names MLflow does not allow, and what is told of what else it refuses."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tracked import KEY, reader

from larpo_lib.config import LarpoConfig, TrackingConfig
from larpo_lib.errors import TrackingError
from larpo_lib.tracking import Tracker
from larpo_lib.tracking.client import InvalidError
from larpo_lib.tracking.names import allowed

NAMES = st.text(alphabet="ab1_./ :-@#é\n", max_size=6) | st.text(max_size=6) | st.sampled_from(["a" * 300, "a" * 301])


def is_taken(name: str) -> bool:
    """By MLflow's own rules."""
    from mlflow.exceptions import MlflowException
    from mlflow.utils.validation import _validate_metric

    try:
        _validate_metric(name, 1.0, 0, 0)
    except MlflowException:
        return False
    return "\n" not in name and len(name) <= 250  # its pattern lets a last line end through


@given(st.sets(NAMES, max_size=8))
def test_every_name_becomes_one_that_mlflow_takes_and_no_two_become_one(names: set[str]) -> None:
    found = allowed(names)
    assert set(found) == names
    assert len(set(found.values())) == len(names)
    assert all(map(is_taken, found.values()))
    assert all(found[name] == name for name in names if is_taken(name))


def test_metrics_with_an_at_sign_are_logged_whenever_they_come(tracker: Tracker, config: LarpoConfig) -> None:
    """`mutual` and `gsm8k_cot_self_consistency` of lm-eval have such ones."""
    metrics = {"lm_eval/mutual.r@1": 0.5, "lm_eval/gsm8k.exact_match.maj@64": 0.25, "prompts": 3}
    for _ in range(2):
        with tracker.standalone_run("lm_eval", KEY, config) as run:
            run.log_metrics(metrics)
            run.log_curve([{"step": step, "pass@1": 0.5 * step, "pass_1": 9.0} for step in (0, 1)])
    client = reader(tracker)
    logged = client.get_run(run.run_id).data.metrics
    (marked,) = set(logged) - {"lm_eval/mutual.r_1", "lm_eval/gsm8k.exact_match.maj_64", "prompts", "pass_1"}
    assert marked.startswith("pass_1-")
    assert {**logged, marked: None} == {
        "lm_eval/mutual.r_1": 0.5, "lm_eval/gsm8k.exact_match.maj_64": 0.25, "prompts": 3, "pass_1": 9.0, marked: None
    }  # fmt: skip
    assert [(point.step, point.value) for point in client.get_metric_history(run.run_id, marked)] == [(0, 0), (1, 0.5)]


def test_what_was_deleted_is_told_with_a_remedy_of_its_own(
    tracker: Tracker, config: LarpoConfig, mlflow_store: Path
) -> None:
    with tracker.standalone_run("demo", KEY, config) as run:
        reader(tracker).delete_run(run.run_id)
        with pytest.raises(InvalidError, match=r"state is deleted\. .* or restore what was deleted there"):
            run.log_metrics({"loss": 0.5})
        reader(tracker).restore_run(run.run_id)
    with pytest.raises(TrackingError, match=r"not found.*Restore what was deleted there, or check .* MLFLOW_RUN_ID"):
        Tracker(TrackingConfig(), mlflow_store, parent="0" * 32)
