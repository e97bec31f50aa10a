"""The gate to the model registry."""

from kfp import dsl

from larpo_kubeflow.components.component import ROUND, component

promote = component("promote", "results:promote", ROUND, {"promotion": dsl.Markdown, "metrics": dsl.Metrics})
