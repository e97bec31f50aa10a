"""Makes the commands of steps from their declarations."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from larpo_lib.cli.app import Config, Settings, app, say
from larpo_lib.errors import ConfigError
from larpo_lib.steps.declarations import Step

if TYPE_CHECKING:
    from larpo_lib.steps.edge import Location

_WRITE = "Artifact to write: a directory or s3:// URI."
_MAY_WRITE = "Artifact to write."


@dataclass(frozen=True)
class Request:
    """A step as the command line asks for it.

    Attributes:
        step: the step.
        inputs: paths or s3:// URIs by the step's names; None: not given.
        outputs: those given, by the step's names.
        arguments: further ones of its function.
        config: TOML file with the settings.
        settings: of `--set`, those behind short options included.
    """

    step: Step
    inputs: Mapping[str, str | list[str] | None]
    outputs: Mapping[str, str]
    arguments: Mapping[str, Any]
    config: Path | None
    settings: Sequence[str]

    def load(self) -> tuple[Any, Mapping[str, Location]]:
        """The step's section of the settings (None where it has none), and its inputs; models of the hub are pinned."""
        from larpo_lib.config import load_section

        name = self.step.section
        section = None if name is None else load_section(name, self.config, self.settings)
        from larpo_lib.steps.edge import pinned
        from larpo_lib.storage import with_code

        return pinned(self.step, None if section is None else with_code(section), self.inputs)


def add_command(
    steps: Sequence[Step],
    panel: str,
    run: Callable[[Request], None],
    *,
    to: typer.Typer = app,
    hidden: bool = False,
) -> None:
    """Register a command.

    Args:
        steps: what it does; of several, the outputs that are given decide.
        panel: the group that `larpo --help` shows it in.
        run: does what is asked for.
        to: the group of commands that it belongs to.
        hidden: it is another name of a command, which the help does not show.
    """

    def command(**given: Any) -> None:
        run(_request(steps, given))

    command.__signature__ = inspect.Signature(_parameters(steps))  # type: ignore[attr-defined]
    to.command(steps[0].command_name, help=steps[0].help, rich_help_panel=panel, hidden=hidden)(command)


def show(metrics: Mapping[str, Any]) -> None:
    """Print a step's metrics as JSON."""
    say(json.dumps(metrics, indent=2, sort_keys=True))


def _request(steps: Sequence[Step], given: Mapping[str, Any]) -> Request:
    from larpo_lib.files import check_output
    from larpo_lib.storage.locations import is_remote, located

    names = dict.fromkeys(output.name for step in steps for output in step.outputs)
    outputs = {name: located(given[name]) for name in names if given[name] is not None}
    for output in outputs.values():
        if not is_remote(output):
            check_output(Path(output))
    step = next((step for step in steps if step.makes([*outputs])), None)
    if step is None:
        problem = f"cannot make {' and '.join(outputs)}" if outputs else "needs an output"
        raise ConfigError(f"{steps[0].command_name} {problem}", remedy=_choices(steps))
    inputs = {
        one.name: [*map(located, given[one.name] or ())]
        if one.several
        else given[one.name] and located(given[one.name])
        for one in step.inputs
    }
    short = [
        f"{step.section}.{option.setting}={given[option.name]}"
        for option in step.command_options
        if option.setting and given[option.name] is not None
    ]
    arguments = {
        option.name: given[option.name] if option.read is None else option.read(given[option.name])
        for option in step.command_options
        if not option.setting
    }
    return Request(step, inputs, outputs, arguments, given.get("config"), [*short, *(given.get("settings") or ())])


def _choices(steps: Sequence[Step]) -> str:
    """The outputs that go together, as in: Pass --a, --a --b, or --c."""
    found = []
    for step in steps:
        flags = [f"--{output.name}" for output in step.outputs]
        if step.outputs[-1].optional:
            found.append(" ".join(flags[:-1]))
        found.append(" ".join(flags))
    return f"Pass {', '.join(found[:-1])}, or {found[-1]}"


def _parameters(steps: Sequence[Step]) -> list[inspect.Parameter]:
    """The command's options: what it must be told, then what it may be told, then the settings."""
    step, alone = steps[0], len(steps) == 1
    outputs = {output.name: alone and not output.optional for each in steps for output in each.outputs}
    needed = [_option(one.name, list[str] if one.several else str, one.meaning) for one in step.inputs if one.required]
    needed += [_option(name, str, _WRITE) for name, required in outputs.items() if required]
    found = [_option(name, str | None, _MAY_WRITE, None) for name, required in outputs.items() if not required]
    found += [
        _option(one.name, (list[str] if one.several else str) | None, one.meaning, None)
        for one in step.inputs
        if not one.required
    ]
    found += [
        _option(one.name, one.type | None if one.default is None else one.type, one.help, one.default, one.least)
        for one in step.command_options
    ]
    if step.section is not None:
        found += [_parameter("config", Config, None), _parameter("settings", Settings, None)]
    return [*needed, *found]


def _option(
    name: str, kind: Any, meaning: str, default: Any = inspect.Parameter.empty, least: int | None = None
) -> inspect.Parameter:
    flag = [f"--{name.replace('_', '-')}"] if kind is bool else []  # without one that says no
    return _parameter(name, Annotated[kind, typer.Option(*flag, help=meaning, min=least)], default)


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)
