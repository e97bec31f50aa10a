"""Puts the shares of sampled candidates together."""

from kfp import dsl

from larpo_kubeflow.components.component import ROUND, component

merge_candidates = component(
    "merge_candidates", "rounds:merge_candidates", ROUND, {"candidates": dsl.Dataset, "metrics": dsl.Metrics}
)
