"""Fine-tunes the policy on demonstrations."""

from kfp import dsl

from larpo_kubeflow.components.component import RUN, component

sft = component("sft", "rounds:sft", RUN, {"model": dsl.Model, "metrics": dsl.Metrics}, target="trainer")
