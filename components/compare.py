"""Shows a policy beside the one it is compared with, and the gate's decision."""

from kfp import dsl

from larpo_kubeflow.components.component import RUN, component

compare = component("compare", "evaluation:compare", RUN, {"comparison": dsl.Markdown, "metrics": dsl.Metrics})
