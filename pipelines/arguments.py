"""From the configuration and `--parameter` texts to the arguments of a run."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from larpo_kubeflow.pipelines.package import Parameter, parse_arguments, require_complete
from larpo_lib.config.load import check_given, load_tree
from larpo_lib.errors import ConfigError
from larpo_lib.parsing import parse_json
from larpo_lib.pipeline.functions import check_code_size, with_local_code
from larpo_lib.pipeline.parameters import read_settings
from larpo_lib.redaction import secret_places

SETTINGS = "settings"
"""The parameter that takes the configuration as JSON."""

_OF_SETTINGS = (SETTINGS, "grid")
"""The parameters that hold settings as JSON: of a run, and what each run of a study changes."""


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
        ConfigError: something is unknown, of the wrong type, or missing, or holds a password, or a function's file is
            not here; before anything is sent.
    """
    arguments = parse_arguments([*_texts(file), *texts], parameters)
    tree = load_tree(config, settings)
    if tree:
        if SETTINGS not in parameters:
            raise ConfigError("this pipeline does not support --config and --set", remedy="Use --parameter name=value")
        if SETTINGS in arguments:
            given = "--arguments" if file is not None else f"--parameter {SETTINGS}"
            raise ConfigError(f"{given} cannot be combined with --config or --set", remedy="Pass one of them")
        check_given(tree, config)
        arguments[SETTINGS] = json.dumps(tree, sort_keys=True)
    elif SETTINGS in arguments:
        check_given(read_settings(arguments[SETTINGS]))
    require_complete(arguments, parameters)
    arguments = {name: _with_code(value) if name in _OF_SETTINGS else value for name, value in arguments.items()}
    _require_no_password(arguments)
    check_code_size([_settings_in(arguments.get(name)) for name in _OF_SETTINGS])
    return arguments


def _with_code(value: Any) -> Any:
    """JSON of settings, or a list of such, with the code of the functions whose files are here."""
    if isinstance(value, list):
        return [_with_code(text) for text in value]
    tree = _settings_in(value)
    found = with_local_code(tree)
    return value if found == tree else json.dumps(found, sort_keys=True)


def _settings_in(value: Any) -> Any:
    """The settings that JSON texts hold. Another text is refused by the first task of the run."""
    if isinstance(value, list):
        return [_settings_in(text) for text in value]
    try:
        return parse_json(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _require_no_password(arguments: Mapping[str, Any]) -> None:
    """Kubeflow keeps what a run is given, and shows it to all that see the run."""
    for place in secret_places({name: _parsed(value) for name, value in arguments.items()}):
        raise ConfigError(
            f"{place} contains a user, a password or a key, which Kubeflow would store",
            remedy="Put it into a secret of the cluster; for MLflow, set MLFLOW_TRACKING_USERNAME and _PASSWORD in "
            "Secret larpo-mlflow",
        )


def _parsed(value: Any) -> Any:
    """A value with what JSON in its texts says in their place."""
    if isinstance(value, Mapping):
        return {name: _parsed(below) for name, below in value.items()}
    if isinstance(value, list):
        return [_parsed(below) for below in value]
    try:
        return _parsed(parse_json(value)) if isinstance(value, str) and value[:1] in ("{", "[") else value
    except ValueError:
        return value


def _texts(file: Path | None) -> list[str]:
    """Parameters of a JSON file as `name=value` texts, so that they are checked as those are."""
    if file is None:
        return []
    try:
        tree = parse_json(file.read_text("utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{file}: no such file", remedy="Pass an existing JSON file to --arguments") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file}: cannot be read as JSON: {error}") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"{file}: is not a JSON object with parameters", remedy='Write it like {"rounds": 3}')
    return [f"{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in tree.items()]
