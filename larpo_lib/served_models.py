"""Which models an OpenAI-compatible server has."""

from collections.abc import Iterable
from itertools import islice

from pydantic import BaseModel, PositiveInt

from larpo_lib.config import EndpointConfig
from larpo_lib.endpoint import Endpoint
from larpo_lib.errors import ConfigError

_MOST_NAMED, _LONGEST_NAME = 10, 200


class _Model(BaseModel):
    id: str
    max_model_len: PositiveInt | None = None


class _Models(BaseModel):
    data: list[_Model]


def check_served(
    config: EndpointConfig, route: str, model: str | None, setting: str, retries: int | None = None, tokens: int = 0
) -> None:
    """Check that a server answers and has a model. A server that does not list its models passes.

    Args:
        config: the server.
        route: where it lists its models.
        model: the name it is asked by; None: any.
        setting: which holds that name.
        retries: instead of the settings' own.
        tokens: of an answer, for which the model must have room, if the server says how much it has.

    Raises:
        ConfigError: the key is not set, the server has other models, or the model no room for an answer.
        EndpointError: the server does not answer.
    """
    models = Endpoint(config, route, _Models, retries=retries).get()
    if models is None or model is None:
        return
    served = {one.id: one.max_model_len for one in models.data}
    if model not in served:
        raise ConfigError(
            f"{config.base_url} does not serve a model '{model}'", remedy=f"Set {setting} to one of {listed(served)}"
        )
    room = served[model]
    if room is not None and tokens >= room:
        raise ConfigError(
            f"{config.base_url} serves '{model}' with {room} tokens, but max_tokens = {tokens}",
            remedy="Reduce max_tokens, or serve the model with a longer context length",
        )


def listed(models: Iterable[str]) -> str:
    """The names of some models, for a message: the first of them, and of each no more than a name has."""
    first = [f"{name:.{_LONGEST_NAME}}" for name in islice(models, _MOST_NAMED + 1)]
    return ", ".join([*first[:_MOST_NAMED], *(["..."] if first[_MOST_NAMED:] else [])])
