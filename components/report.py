"""Writes the report, and what every step dropped."""

from kfp import dsl

from larpo_kubeflow.components.component import RUN, component

report = component("report", "results:report", RUN, {"page": dsl.HTML, "drops": dsl.Markdown, "metrics": dsl.Metrics})
