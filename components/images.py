"""The container images that components run in: one tag for all of them."""

from dataclasses import dataclass
from typing import Literal

from larpo_lib import __version__

Target = Literal["base", "sampler", "trainer", "evaluator"]
"""A target of docker/Dockerfile."""


@dataclass(frozen=True)
class Images:
    """Where the images are.

    Attributes:
        prefix: registry and path they were pushed to, such as registry.example.com/team; empty: on the machine.
        tag: of all of them; continuous integration gives the commit.
    """

    prefix: str = ""
    tag: str = __version__

    def reference(self, target: Target) -> str:
        """The image of a target of the Dockerfile."""
        name = f"larpo-{target}:{self.tag}"
        return f"{self.prefix.rstrip('/')}/{name}" if self.prefix else name
