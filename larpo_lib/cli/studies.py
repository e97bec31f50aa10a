"""The paper's tables and figures, each in one command."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from larpo_lib.cli.app import LOOP, Settings, app, say
from larpo_lib.errors import ConfigError

if TYPE_CHECKING:
    from larpo_lib.studies.study import Cell, ScaleName, Study

StudyName = Annotated[
    str,
    typer.Argument(help="table2 to table5, fig2, fig3a, fig3b, fig3c, fig4, preferences, objectives, or a .toml file."),
]
Scale = Annotated[
    Literal["tiny", "small", "paper"],
    typer.Option(
        help="tiny: the built-in example, on a laptop. small: a real language model of 135 million parameters, for "
        "hours on a laptop. paper: the paper's models."
    ),
]
Seeds = Annotated[int | None, typer.Option(min=1, help="Number of runs for each cell, with seeds 0, 1, ...")]
Faithful = Annotated[
    Literal["paper", "as_published"],
    typer.Option(help="as_published: follow the authors' scripts where they differ from the paper."),
]
Jobs = Annotated[int, typer.Option(min=1, help="Number of runs at the same time, each on its own GPUs.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print the runs and their estimated cost, without running them.")
]
Assume = Annotated[
    list[str] | None,
    typer.Option(
        help="Change an assumption of --dry-run, for example gpu_hour_price=2.5 or judge_price=0.01. Can be repeated."
    ),
]
Pipeline = Annotated[
    Path | None,
    typer.Option(
        help="Write the arguments of Kubeflow runs of the pipeline `study` to this folder, without running them."
    ),
]
Out = Annotated[Path | None, typer.Option(help="Directory of the study. Default: runs/reproduce/STUDY-SCALE.")]


@app.command(rich_help_panel=LOOP)
def reproduce(
    study: StudyName,
    scale: Scale = "tiny",
    seeds: Seeds = None,
    faithful: Faithful = "paper",
    jobs: Jobs = 1,
    settings: Settings = None,
    dry_run: DryRun = False,
    assume: Assume = None,
    pipeline: Pipeline = None,
    out: Out = None,
) -> None:
    """Reproduce a table or figure of the paper. Each cell is an ordinary run that can be resumed; intervals are over
    seeds.

    The results say which of the paper's orderings hold at this scale, which do not, and which are within noise. A tiny
    policy on word problems says nothing about large models: it shows what the objectives do when everything else is
    equal.
    """
    from larpo_lib.config import parse_settings
    from larpo_lib.studies.study import cells, kind_of, load_study

    file, over = _file(study), parse_settings(settings or ())
    together = Path("runs") / "reproduce"  # studies there share what their runs have in common
    if (kind := kind_of(file)) != "grid":
        if scale != "tiny" or faithful != "paper" or assume or pipeline is not None:
            raise ConfigError(
                f"the study '{study}' has only one scale, and no runs of the loop",
                remedy="Remove --scale, --faithful, --assume and --pipeline",
            )
        run_kind = {"preferences": _preferences, "objectives": _objectives}[kind]
        run_kind(file, {**over, **({"seeds": seeds} if seeds else {})}, jobs, out, together, dry_run=dry_run)
        return
    loaded = load_study(file)
    if dry_run or pipeline is not None:
        made = cells(loaded, scale, seeds, faithful, over)
        _print(
            _dry_run(loaded, scale, made, assume or ()) if pipeline is None else _emit(loaded, scale, made, pipeline)
        )
        return
    from larpo_lib.studies.run import Request, run_study

    place = out or together / f"{loaded.name}-{scale}{'' if faithful == 'paper' else f'-{faithful}'}"
    request = Request(scale, seeds, faithful, jobs, None if out else together / "pool", over)
    _run(place, partial(run_study, loaded, request, place))


def _preferences(
    file: Path, over: Mapping[str, Any], jobs: int, out: Path | None, together: Path, *, dry_run: bool
) -> None:
    """The study whose cells are no runs of the loop."""
    from larpo_lib.studies.preferences.run import listing, run
    from larpo_lib.studies.preferences.study import load

    study = load(file, over)
    if dry_run:
        _print(listing(study))
        return
    place = out or together / study.name
    _run(place, partial(run, study, place, jobs))


def _objectives(
    file: Path, over: Mapping[str, Any], jobs: int, out: Path | None, together: Path, *, dry_run: bool
) -> None:
    """The study that searches for every objective alike."""
    from larpo_lib.studies.objectives.run import listing, run
    from larpo_lib.studies.objectives.study import load

    study = load(file, over)
    if dry_run:
        _print(listing(study))
        return
    place = out or together / study.name
    _run(place, partial(run, study, place, jobs))


def _run(place: Path, work: Callable[[str], str]) -> None:
    """Run a study, which is told the command, and print its table and where its page is."""
    from larpo_lib.files import disk_errors
    from larpo_lib.reporting.publication import PAGE

    with disk_errors(place):
        say(work(shlex.join(["larpo", *sys.argv[1:]])))
    say(f"Results: {place / 'results' / PAGE}")


def _print(lines: Sequence[str]) -> None:
    say("\n".join(lines))


def _file(study: str) -> Path:
    from larpo_lib.presets import FOLDER, preset_names

    if study.endswith(".toml"):
        return Path(study)
    known = preset_names("studies")
    if study not in known:
        raise ConfigError(f"unknown study '{study}'", remedy=f"Use one of {', '.join(known)}, or a .toml file")
    return FOLDER / "studies" / f"{study}.toml"


def _dry_run(study: Study, scale: ScaleName, made: list[Cell], assumed: Sequence[str]) -> list[str]:
    from larpo_lib.config import parse_settings
    from larpo_lib.config.load import check
    from larpo_lib.studies.benchmarks import load_benchmarks
    from larpo_lib.studies.estimate import Assumptions
    from larpo_lib.studies.listing import listing
    from larpo_lib.studies.worlds import placed

    size = study.scale(scale)
    if assumed and size.cost is None:
        raise ConfigError(
            f"--assume has no effect: there is no cost estimate at the scale '{scale}'", remedy="Remove --assume"
        )
    given = size.cost and check(Assumptions, {**size.cost.model_dump(), **parse_settings(assumed)})
    calls = sum(one.calls for one in load_benchmarks(size.benchmarks, {}).values())
    return listing(study, scale, [placed(cell, scale, Path("worlds")) for cell in made], given, calls)


def _emit(study: Study, scale: ScaleName, made: list[Cell], folder: Path) -> list[str]:
    """Write a file of arguments for each run of the pipeline; returns what to say of them."""
    from larpo_lib.files import disk_errors, make_directory, write_json
    from larpo_lib.pipeline.grid import grids

    if scale != "paper":
        raise ConfigError(
            f"--pipeline cannot be used with --scale {scale}, which runs on one machine only",
            remedy="Use --scale paper",
        )
    found = grids({cell.key: cell.config() for cell in made})
    lines = []
    with disk_errors(folder):
        make_directory(folder)
        for number, grid in enumerate(found, start=1):
            name = f"{study.name}-{scale}-{number}"
            write_json(folder / f"{name}.json", {"run_id": name, **grid.arguments()})
            lines.append(f"{folder / name}.json: {len(grid.names)} runs")
            lines += [f"  {place}: {run}" for place, run in enumerate(grid.names, start=1)]
    lines.append(
        "Submit each file: larpo submit --pipeline larpo-study --arguments FILE --parameter root=s3://BUCKET/RUNS"
    )
    if study.scale(scale).benchmarks:
        lines.append("The pipeline does not run benchmarks: measure its policies with `larpo benchmark` afterwards.")
    return lines
