"""Publishes prompts, held-out prompts and, where they are set, demonstrations.

Returns `sft` where the policy is to be fine-tuned on demonstrations first, `baseline` where there is a policy to
compare with, else `ready`.
"""

from kfp import dsl

from larpo_kubeflow.components.component import RUN, TEXT, component

prepare = component("prepare", "rounds:prepare", RUN, {"prompts": dsl.Dataset, "metrics": dsl.Metrics}, returns=TEXT)
