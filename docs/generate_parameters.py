"""Writes `parameters.md` from the compiled pipelines: `python docs/generate_parameters.py`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

COMPILED = Path(__file__).parents[1] / "pipelines" / "compiled"
NAMES = ("larpo", "evaluate", "study")
TYPES = {
    "STRING": "text", "NUMBER_INTEGER": "whole number", "NUMBER_DOUBLE": "number", "STRUCT": "object", "LIST": "list",
}  # fmt: skip
HEAD = """\
# Parameters of the pipelines

Written by `docs/generate_parameters.py`. "As the settings say" means: the preset, with `settings` over it. What a
setting means stands in [the configuration](configuration.md); how parameters, settings and presets meet, in
[pipelines](pipelines.md#parameters-settings-presets).
"""


def render() -> str:
    """The whole document."""
    return HEAD + "".join(f"\n## `{name}`\n\n{_table(name)}" for name in NAMES)


def _table(name: str) -> str:
    spec = next(yaml.safe_load_all((COMPILED / f"{name}.yaml").read_text("utf-8")))
    parameters: dict[str, Any] = spec["root"]["inputDefinitions"]["parameters"]
    rows = [
        f"| `{parameter}` | {TYPES[found['parameterType']]} | `{_default(found)}` |"
        f" {' '.join(found['description'].split()).replace('|', chr(92) + '|')} |"
        for parameter, found in sorted(parameters.items())
    ]
    return "\n".join(["| parameter | type | default | meaning |", "|---|---|---|---|", *rows]) + "\n"


def _default(parameter: dict[str, Any]) -> str:
    """KFP keeps whole numbers as others."""
    value = parameter["defaultValue"]
    return json.dumps(int(value) if parameter["parameterType"] == "NUMBER_INTEGER" else value)


if __name__ == "__main__":
    (Path(__file__).parent / "parameters.md").write_text(render(), "utf-8")
