"""Says what a round does: `skip` it, or `train`, or also `evaluate`, or also `promote`."""

from larpo_kubeflow.components.component import ROUND, TEXT, component

gate = component("gate", "gate:gate", ROUND, returns=TEXT)
