"""KFP components, one a file: what each is told and shows. `component` makes them.

What they have in common: `run` is where the run's context is, as `start` gave it; `iteration` the number of a round,
from 1 on; `shard` i/n, the i-th of n shares of a round's prompts, from 0 on. `gpus`, `memory`, `node_selector` and
`tolerations` are of the task's pod; the task itself does not read them. The last two do not reach a TrainJob's nodes.
These are told here and not in each component: a component's source and descriptions are in the state of each of its
tasks, and that has a limit.
"""
