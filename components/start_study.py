"""Checks every run of a study before anything that costs, and makes an MLflow run for each.

Returns where the context is of what the runs share, and where theirs are; the numbers of the rounds; and the shares of
a round's prompts.
"""

from larpo_kubeflow.components.component import first_component

start_study = first_component(
    "start_study", "study", "study:begin", {"run": str, "members": list, "rounds": list, "shards": list}
)
