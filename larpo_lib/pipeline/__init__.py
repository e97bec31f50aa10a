"""What the components of the Kubeflow pipelines call. Each runs in a pod of its own, and is told the run's context.

Nothing here imports KFP: a component hands over strings and the objects in which KFP shows its artifacts.
"""
