"""Scores and ranks candidates, for one share of a round's prompts."""

from larpo_kubeflow.components.component import SHARD, component

rerank = component("rerank", "rounds:rerank", SHARD, target="base")
