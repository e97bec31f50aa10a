"""Checks the whole request before anything that costs, and writes down what the run is to do.

Returns where the run's context is; the numbers of the rounds; the shares of a round's prompts; and what the pod needs
that trains, which is little where it only follows other machines.
"""

from larpo_kubeflow.components.component import first_component

start = first_component(
    "start",
    "larpo",
    "begin:begin",
    {"run": str, "rounds": list, "shards": list, "train_gpus": str, "train_memory": str},
)
