"""From the configuration and `--parameter` texts to the arguments of a run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from larpo_lib.config.load import check_given, load_tree
from larpo_lib.errors import ConfigError
from pipelines.package import Parameter, parse_arguments, require_complete

SETTINGS = "settings"
"""The parameter that takes the configuration as JSON."""


def run_arguments(
    parameters: Mapping[str, Parameter],
    config: Path | None,
    settings: Sequence[str],
    texts: Sequence[str],
    file: Path | None = None,
) -> dict[str, Any]:
    """What a run of a pipeline with these parameters is given.

    Args:
        parameters: what the pipeline declares.
        config: a TOML file, or None.
        settings: `a.b=value` texts over the file.
        texts: `name=value` texts for single parameters, which win over the file's.
        file: JSON of parameters, as `larpo reproduce --pipeline` writes it, or None.

    Raises:
        ConfigError: something is unknown, of the wrong type, or missing; before anything is sent.
    """
    arguments = parse_arguments([*_texts(file), *texts], parameters)
    tree = load_tree(config, settings)
    if tree:
        if SETTINGS not in parameters:
            raise ConfigError("the pipeline takes no --config and no --set", remedy="Give --parameter name=value")
        if SETTINGS in arguments:
            given = "--arguments" if file is not None else f"--parameter {SETTINGS}"
            raise ConfigError(f"{given} and --config or --set are one thing", remedy="Give one of them")
        check_given(tree, config)
        arguments[SETTINGS] = json.dumps(tree, sort_keys=True)
    require_complete(arguments, parameters)
    return arguments


def _texts(file: Path | None) -> list[str]:
    """Parameters of a JSON file as `name=value` texts, so that they are checked as those are."""
    if file is None:
        return []
    try:
        tree = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{file}: no such file", remedy="Give --arguments an existing JSON file") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file}: cannot be read as JSON: {error}") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"{file}: is no JSON object of parameters", remedy='Write it as in {"rounds": 3}')
    return [f"{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in tree.items()]
