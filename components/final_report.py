"""Says how a run ended, also one that failed, and why; ends its MLflow run, and cleans up."""

from kfp import dsl

from larpo_kubeflow.components.component import component

final_report = component(
    "final_report", "closing:close", {"job": str, "root": str, "run_id": str}, {"text": dsl.Markdown}, example="text"
)
