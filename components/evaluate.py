"""Measures a policy on held-out prompts."""

from kfp import dsl

from larpo_kubeflow.components.component import ROUND, component

evaluate = component(
    "evaluate", "rounds:evaluate", ROUND, {"evaluation": dsl.Dataset, "metrics": dsl.Metrics}, target="sampler"
)
