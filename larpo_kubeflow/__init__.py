"""The components and pipelines for Kubeflow Pipelines, under a name that no other package has.

`components` and `pipelines` here are links to the folders of those names at the top of the repository. A package built
from it has their files in their place.
"""
