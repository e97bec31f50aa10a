"""The application object, its shared options, and how errors reach the user."""

import functools
import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer
import typer.core

from larpo_lib import __version__, logs
from larpo_lib.errors import ConfigError, LarpoError, StorageError
from larpo_lib.files import refusal
from larpo_lib.redaction import visible
from larpo_lib.signals import terminable

LOOP, STEPS, BENCHMARKS, KUBEFLOW, TOOLS = "The loop", "Steps", "Benchmarks", "Kubeflow", "Tools"
"""The groups of commands, in the order of `larpo --help`."""


class _Groups(typer.core.TyperGroup):
    """Shows commands by their groups."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write a section for each group."""
        commands: Any = self.commands
        widest = max(map(len, commands))
        for panel in (LOOP, STEPS, BENCHMARKS, KUBEFLOW, TOOLS):
            rows = [
                (name.ljust(widest), command.get_short_help_str(formatter.width - 6 - widest))
                for name, command in commands.items()
                if command.rich_help_panel == panel and not command.hidden
            ]
            if rows:
                with formatter.section(panel):
                    formatter.write_dl(rows)


class Commands(typer.Typer):
    """Gives each command that takes --config a --preset besides, and looks at paths before it runs."""

    def command(  # type: ignore[override]
        self, *args: Any, **kwargs: Any
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Register a command, which is told of a preset as of any other file of settings."""
        register = super().command(*args, **kwargs)

        def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
            with_preset = "config" in inspect.signature(function).parameters
            register(_with_paths(_with_presets(function) if with_preset else function))
            return function

        return decorate


def _with_presets(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def command(*, config: Path | None, preset: str | None, **given: Any) -> Any:
        from larpo_lib.presets import preset_file

        if preset is not None and config is not None:
            raise ConfigError(
                "--config and --preset cannot be used together",
                remedy="Pass one of them, and change settings with --set",
            )
        return function(config=config if preset is None else preset_file(preset), **given)

    signature = inspect.signature(function, eval_str=True)
    parameters = [*signature.parameters.values()]
    place = [*signature.parameters].index("config") + 1
    parameters.insert(place, parameters[place - 1].replace(name="preset", annotation=Preset))
    command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return command


def _with_paths(function: Callable[..., Any]) -> Callable[..., Any]:
    """Have paths on this machine be such, with `~` for the home directory even where the shell leaves it."""

    @functools.wraps(function)
    def command(**given: Any) -> Any:
        for name, value in given.items():
            if isinstance(value, Path):
                from larpo_lib.storage.locations import located_here

                given[name] = located_here(value)
        return function(**given)

    command.__signature__ = inspect.signature(function, eval_str=True)  # type: ignore[attr-defined]
    return command


class _ByAnyName(typer.core.TyperGroup):
    """Finds a benchmark by the name of its section too, which has no dashes."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command, or None."""
        return super().get_command(ctx, cmd_name.replace("_", "-"))


# Without rich's markup, to which a word in brackets is a style: `[prepare]` would not be shown.
app = Commands(
    cls=_Groups,
    rich_markup_mode=None,
    context_settings={"max_content_width": 120},
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

benchmark_app = Commands(
    cls=_ByAnyName,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Measure the quality of a policy or a reward model.",
)
score_app = Commands(
    cls=_ByAnyName,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Recompute a benchmark's numbers from stored decisions and print them as JSON.",
)
app.add_typer(benchmark_app, name="benchmark", rich_help_panel=BENCHMARKS)
app.add_typer(score_app, name="score", rich_help_panel=BENCHMARKS)

Config = Annotated[Path | None, typer.Option("--config", "-c", help="TOML file with settings.")]
Preset = Annotated[
    str | None, typer.Option(help="Name of a built-in preset, instead of --config; `larpo presets` lists them.")
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", "-s", help="Override one setting, for example rerank.part_prompts=64.")
]


Store = Annotated[Path, typer.Option(help="Folder of a local MLflow store, used if no server is set.")]
STORE = Path("mlflow")


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Show details and the messages of other libraries.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show only warnings and errors, no progress.")] = False,
    discard_partial: Annotated[
        bool, typer.Option("--discard-partial", help="Discard half-done work that was begun with other settings.")
    ] = False,
) -> None:
    """LLM alignment as retriever preference optimisation: sample, rerank, build lists, train, evaluate, promote."""
    if version:
        say(__version__)
        raise typer.Exit
    if verbose and quiet:
        raise typer.BadParameter("--verbose and --quiet cannot be used together.")
    if discard_partial:
        from larpo_lib import half_done

        os.environ[half_done.VARIABLE] = "1"  # for the processes of a step too
    logs.set_up(logs.VERBOSE if verbose else logs.QUIET if quiet else None)


_LOST = "Results are not shown, but artifacts are written"


def say(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print a result, or on standard error another line, without characters that would do something to a terminal.

    Raises:
        StorageError: whoever read the results has gone.
    """
    try:
        typer.echo(visible(text), err=err, nl=nl)
    except BrokenPipeError:
        if not err:
            sys.stdout = _nowhere()  # else the interpreter complains of it, too, when it ends
            raise StorageError("standard output was closed before all was written", remedy=_LOST) from None


def main() -> None:
    """Run the command line. A user's mistake ends in one line on standard error and exit code 2."""
    # Before torch is loaded: threads that spin while they wait for each other made a training on two busy cores eight
    # times as slow; without, it is a tenth slower on idle ones.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # registers the commands; their heavy imports happen when one is run
    from larpo_lib.cli import benchmarks, champion, hub, pipelines, rewards, runs, steps, studies  # noqa: F401

    try:
        _open_streams()
        _require_directory()
        with terminable():
            app(prog_name="larpo")
    except LarpoError as error:
        say(f"larpo: {error}", err=True)
        sys.exit(2)
    except Exception as error:
        told = refusal(error)
        if told is None:
            raise
        say(f"larpo: a file, or standard output, was refused: {told}. Fix this and run it again.", err=True)
        sys.exit(2)


def _open_streams() -> None:
    """Have the standard streams open: a file would take the place of one that is not, with what libraries print."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # it gets the lowest number that is free
    if sys.stderr is None:
        sys.stderr = _nowhere()
    if sys.stdout is None:
        sys.stdout = _nowhere()
        say(f"larpo: standard output is closed. {_LOST}.", err=True)


def _nowhere() -> TextIO:
    return Path(os.devnull).open("w", encoding="utf-8")


def _require_directory() -> None:
    """Many a path is told by where this process is."""
    try:
        Path.cwd()
    except OSError as error:
        raise StorageError(
            f"the working directory cannot be found: {error.strerror}", remedy="Change to another directory"
        ) from None
