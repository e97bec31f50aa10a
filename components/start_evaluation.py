"""Checks what an evaluation is asked to do, before anything that costs; returns where the run's context is."""

from larpo_kubeflow.components.component import first_component

start_evaluation = first_component("start_evaluation", "evaluate", "evaluation:begin", {"run": str})
