"""Logs the numbers of a registered policy to MLflow, where its version and the run that registers it show them."""

from typing import Any

from larpo_lib.artifacts import Metrics
from larpo_lib.tracking import PARENT, TrackingClient
from larpo_lib.tracking.names import allowed


def log_numbers(client: TrackingClient, run: Any, model_id: str, metrics: Metrics) -> None:
    """Log a policy's numbers, for its logged model and for a run, and which model that run made.

    Of a model, a run, a number and a time, MLflow keeps one value, and refuses another one. So a number whose value has
    changed, such as by another evaluation, stands a millisecond behind the last one, and one that is there is left.

    Args:
        client: of MLflow.
        run: that registers the policy.
        model_id: identity of the logged model.
        metrics: the numbers, each logged by a name that MLflow takes; None is skipped.
    """
    from mlflow.entities import LoggedModelOutput, Metric

    run_id, names = run.info.run_id, allowed(metrics)
    own = [one for one in client.get_logged_model(model_id).metrics or () if one.run_id == run_id]
    last = {one.key: one for one in sorted(own, key=lambda one: one.timestamp)}
    points = [
        Metric(
            name, value, last[name].timestamp + 1 if name in last else run.info.start_time, 0, model_id, run_id=run_id
        )
        for name, value in ((names[name], float(value)) for name, value in metrics.items() if value is not None)
        if name not in last or last[name].value != value
    ]
    client.log_batch(run_id, metrics=points)
    for outputs_of in filter(None, (run_id, run.data.tags.get(PARENT))):
        outputs = client.get_run(outputs_of).outputs
        if model_id not in {made.model_id for made in (outputs.model_outputs if outputs else [])}:
            client.log_outputs(outputs_of, [LoggedModelOutput(model_id, 0)])
