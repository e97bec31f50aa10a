"""Compiled pipelines: what a package declares, and typed arguments for it."""

import difflib
import hashlib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from larpo_lib.errors import ConfigError
from larpo_lib.parsing import parse_json

Json = dict[str, Any]

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Parameter:
    """One declared parameter of a pipeline.

    `kind` is the type in the compiled form: STRING, NUMBER_INTEGER, NUMBER_DOUBLE, BOOLEAN, LIST or STRUCT.
    """

    kind: str
    required: bool


@dataclass(frozen=True)
class Package:
    """A compiled pipeline: its name, its spec as the API takes it, its parameters, and the sha256 of its file."""

    name: str
    spec: Json
    parameters: Mapping[str, Parameter]
    digest: str


def read_package(path: Path) -> Package:
    """Read a file that the compiler wrote: the pipeline's spec and, behind it, the platform's.

    Raises:
        ConfigError: there is no such file, or it is not a compiled pipeline.
    """
    remedy = "Create one with `larpo compile --output FILE`"
    try:
        data = path.read_bytes()
        documents = [one for one in yaml.load_all(data, Loader=_Loader) if one]
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}", remedy=remedy) from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise ConfigError(f"{path}: is not YAML", remedy=remedy) from None
    well_formed = len(documents) in (1, 2) and all(isinstance(document, dict) for document in documents)
    if not well_formed or not isinstance(documents[0].get("root"), dict):
        raise ConfigError(f"{path}: is not a compiled pipeline", remedy=remedy)
    spec = documents[0] if len(documents) == 1 else {"pipeline_spec": documents[0], "platform_spec": documents[1]}
    name = documents[0].get("pipelineInfo", {}).get("name", path.stem)
    return Package(name, spec, declared(spec), hashlib.sha256(data).hexdigest())


def declared(spec: Json) -> dict[str, Parameter]:
    """The parameters of a spec, whether or not a platform's part stands beside it."""
    root = spec.get("pipeline_spec", spec).get("root", {})
    found = root.get("inputDefinitions", {}).get("parameters", {})
    return {
        name: Parameter(one["parameterType"], not one.get("isOptional") and "defaultValue" not in one)
        for name, one in found.items()
    }


def parse_arguments(texts: Iterable[str], parameters: Mapping[str, Parameter]) -> Json:
    """`["rounds=3"]` to `{"rounds": 3}`, each value of the type that its parameter declares.

    Lists and structs are JSON. The later of two values for one parameter wins.

    Raises:
        ConfigError: a text is not in the form name=value, its parameter is unknown or its value of another type.
    """
    arguments: Json = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"--parameter {text!r} is not in the form name=value")
        require_known(name, parameters)
        arguments[name] = _typed(name, value, parameters[name].kind)
    return arguments


def require_known(name: str, parameters: Mapping[str, Parameter]) -> None:
    """Raise ConfigError if the pipeline declares no parameter `name`."""
    if name in parameters:
        return
    close = difflib.get_close_matches(name, parameters, n=1)
    known = ", ".join(sorted(parameters)) or "none"
    remedy = f"Did you mean '{close[0]}'?" if close else f"Known: {known}"
    raise ConfigError(f"the pipeline has no parameter '{name}'", remedy=remedy)


def require_complete(arguments: Json, parameters: Mapping[str, Parameter]) -> None:
    """Raise ConfigError if a parameter without a default has no value."""
    missing = [name for name, one in parameters.items() if one.required and name not in arguments]
    if missing:
        names = ", ".join(f"--parameter {name}=..." for name in missing)
        raise ConfigError(
            f"the pipeline's parameter '{missing[0]}' has no default and no value", remedy=f"Pass {names}"
        )


def _typed(name: str, text: str, kind: str) -> Any:
    if kind not in _KINDS:
        raise ConfigError(f"the parameter '{name}' is of type {kind}, which cannot be set as text")
    cls, parse, what = _KINDS[kind]
    try:
        value = parse(text)
    except ValueError:
        value = None
    if not isinstance(value, cls) or (cls is float and not math.isfinite(value)):  # JSON has no such numbers
        raise ConfigError(
            f"the parameter '{name}' must be {what}, not {text[:80]!r}", remedy=f"Use --parameter {name}=<{what}>"
        )
    return value


_KINDS: dict[str, tuple[type[Any], Callable[[str], Any], str]] = {
    "STRING": (str, str, "text"),
    "NUMBER_INTEGER": (int, int, "a whole number"),
    "NUMBER_DOUBLE": (float, float, "a number"),
    "BOOLEAN": (bool, lambda text: parse_json(text.lower()), "true or false"),
    "LIST": (list, parse_json, "a JSON list"),
    "STRUCT": (dict, parse_json, "a JSON object"),
}
