"""Samples candidates, for one share of a round's prompts."""

from larpo_kubeflow.components.component import SHARD, component

sample = component("sample", "rounds:sample", SHARD, target="sampler")
