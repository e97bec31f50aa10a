"""Settings of the benchmark that measures how far a policy has moved from another one."""

from typing import Annotated, ClassVar

from pydantic import PositiveInt

from larpo_lib.config.base import ModelConfig
from larpo_lib.config.inheritance import Inherited
from larpo_lib.config.mixins import Bootstrap


class DivergenceConfig(Bootstrap):
    """Measures how far a policy has moved from another one, such as the policy before training."""

    execution: ClassVar[frozenset[str]] = frozenset({"batch_tokens"})

    model: Annotated[ModelConfig, Inherited("model", merge=True)] = ModelConfig()
    """How both policies are loaded, for their log-probabilities."""
    batch_tokens: PositiveInt = 4096
    """Maximum tokens scored at the same time, including padding."""
