"""Puts the runs of a study in one table."""

from kfp import dsl

from larpo_kubeflow.components.component import RUN, component

study_table = component("study_table", "study:table", RUN, {"table": dsl.Markdown, "metrics": dsl.Metrics})
