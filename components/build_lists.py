"""Puts the shares of ranked candidates together (`ranked`, `rewards`), builds training lists (`lists`, `metrics`)."""

from kfp import dsl

from larpo_kubeflow.components.component import ROUND, component

build_lists = component(
    "build_lists",
    "rounds:build_lists",
    ROUND,
    {"ranked": dsl.Dataset, "rewards": dsl.Metrics, "lists": dsl.Dataset, "metrics": dsl.Metrics},
)
