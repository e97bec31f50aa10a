"""Writes `parameters.md` from the forms of the pipelines: `python docs/generate_parameters.py`."""

from __future__ import annotations

import json
from pathlib import Path

from larpo_lib.pipeline.form import FORMS, Form

TYPES = {str: "text", int: "whole number", dict: "object", list: "list"}
HEAD = """\
# Parameters of the pipelines

Written by `docs/generate_parameters.py`. "As the settings say" means: the preset, with `settings` over it. What a
setting means stands in [the configuration](configuration.md); how parameters, settings and presets meet, in
[pipelines](pipelines.md#parameters-settings-presets).
"""


def render() -> str:
    """The whole document."""
    return HEAD + "".join(f"\n## `{name}`\n\n{_table(form)}" for name, form in FORMS.items())


def _table(form: Form) -> str:
    rows = [
        f"| `{field.name}` | {TYPES[field.kind]} | `{json.dumps(field.default)}` | {_escaped(field.meaning)} |"
        for field in form
    ]
    return "\n".join(["| parameter | type | default | meaning |", "|---|---|---|---|", *rows]) + "\n"


def _escaped(text: str) -> str:
    return text.replace("|", chr(92) + "|")


if __name__ == "__main__":
    (Path(__file__).parent / "parameters.md").write_text(render(), "utf-8")
