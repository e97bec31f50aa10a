"""What is wrong with settings, in words that name the setting and the remedy."""

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from larpo_lib.config.endpoint import UNTOLD_INPUT
from larpo_lib.config.inheritance import section_of, sections_of
from larpo_lib.errors import ConfigError

UNKNOWN = "extra_forbidden"
"""Type of a validation error about a name that is none."""
_MOST_NAMED = 3


def place_of(path: Path | None) -> str:
    """How a message begins that is about a file."""
    return f"{path}: " if path else ""


def config_error(
    problems: Sequence[ErrorDetails], kind: type[BaseModel], path: Path | None, prefix: Sequence[str]
) -> ConfigError:
    """The first problem that pydantic has with settings of a kind, with the names of the others.

    Args:
        problems: at least one.
        kind: of the settings.
        path: the file that they come from, if any.
        prefix: where they stand.
    """
    # A misspelt name leaves the right one missing, so it comes first, and what is missing last.
    order = {UNKNOWN: 0, "missing": 2}
    first = min(problems, key=lambda problem: order.get(problem["type"], 1))
    names, models = _follow(kind, first["loc"])
    place = ".".join((*prefix, *names))
    others = [".".join((*prefix, *_follow(kind, each["loc"])[0])) for each in problems if each is not first]
    more = f" (and {', '.join(others[:_MOST_NAMED])}{', ...' if others[_MOST_NAMED:] else ''})" if others else ""
    if first["type"] == UNKNOWN:
        known = [name for model in models for name in model.model_fields]
        return ConfigError(f"{place_of(path)}unknown setting '{place}'{more}", remedy=did_you_mean(names[-1], known))
    if first["type"] == "missing":
        return ConfigError(
            f"{place_of(path)}setting '{place}' is missing{more}",
            remedy=f"Use --set {place}=..., or add it to your file",
        )
    if first["type"] in ("union_tag_invalid", "union_tag_not_found"):
        tag = first.get("ctx", {}).get("tag")
        problem = "has no type" if tag is None else f"has the unknown type '{tag}'"
        tags = ", ".join(model.model_fields["type"].default for model in models)
        return ConfigError(f"{place_of(path)}'{place}' {problem}{more}", remedy=f"Set {place}.type to one of {tags}")
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] in ("model_type", "model_attributes_type"):
        message = "Input should be a table of settings"
    untold = isinstance(first["input"], dict) or first["type"] == UNTOLD_INPUT
    given = "" if untold else f", not {first['input']!r:.200}"
    which = f"setting '{place}': " if place else ""
    return ConfigError(f"{place_of(path)}{which}{message}{given}{more}")


def _follow(kind: type[BaseModel], location: Sequence[int | str]) -> tuple[list[str], list[type[BaseModel]]]:
    """The setting's name, part by part, that pydantic means by `location`, and the sections that may stand there.

    Where the name is unknown, they are the sections that it stands in. In a location pydantic names the member of a
    union that it tried; a setting's name has no such part.
    """
    annotation: Any = kind
    names: list[str] = []
    models = list(sections_of(annotation))
    for part in location:
        chosen = [
            model for model in models if "type" in model.model_fields and model.model_fields["type"].default == part
        ]
        fields = models[0].model_fields if len(models) == 1 else {}
        if len(models) > 1 and chosen:
            models = chosen
            continue
        if isinstance(part, int):
            annotation = get_args(annotation)[0]
        elif part in fields:
            annotation = fields[part].annotation
        elif not models:
            continue
        else:
            return [*names, part], models
        names.append(str(part))
        models = list(sections_of(annotation))
    return names, models


def known_to_another_type(problem: ErrorDetails, kind: type[BaseModel], tree: Any) -> bool:
    """Whether an unknown name is known where the tables around it that state no `type` are of another one.

    Args:
        problem: of any type.
        kind: of the settings.
        tree: the settings as they are stated.
    """
    if problem["type"] != UNKNOWN:
        return False
    kinds, stated = [kind], tree
    for name in _follow(kind, problem["loc"])[0]:
        if isinstance(stated, list):
            annotations: list[Any] = [*kinds]
            stated = stated[int(name)]
        else:
            annotations = [each.model_fields[name].annotation for each in kinds if name in each.model_fields]
            stated = stated.get(name) if isinstance(stated, dict) else None
        if not annotations:
            return False
        chosen = isinstance(stated, dict) and "type" in stated
        found = [
            each
            for annotation in annotations
            for each in ([section_of(annotation, stated)] if chosen else sections_of(annotation))
        ]
        kinds = [each for each in found if each is not None]
    return True


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The remedy for an unknown name: the known one that it is close to, else all known ones."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f"Did you mean '{close[0]}'?"
    return f"Known: {', '.join(known)}" if known else ""
