"""Pages and their Markdown forms from Jinja templates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, StrictUndefined


def render(source: str, context: Mapping[str, Any], *, escaped: bool) -> str:
    """A template filled in, with one line break at its end.

    Args:
        source: the template.
        context: what it names; a name that is missing is an error.
        escaped: as HTML needs it; Markdown has no escapes.
    """
    environment = Environment(autoescape=escaped, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)  # noqa: S701 - see `escaped`
    return environment.from_string(source).render(context).rstrip() + "\n"
