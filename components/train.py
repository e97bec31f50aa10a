"""Trains the policy on lists; on several nodes by a TrainJob."""

from kfp import dsl

from larpo_kubeflow.components.component import ROUND, component

train = component("train", "rounds:train", ROUND, {"model": dsl.Model, "metrics": dsl.Metrics}, target="trainer")
