"""The paper's tables and figures, each in one command."""

from __future__ import annotations

import shlex
import sys
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from larpo_lib.cli.app import app
from larpo_lib.errors import ConfigError

if TYPE_CHECKING:
    from larpo_lib.studies.study import Cell, Study

Jobs = Annotated[int, typer.Option(min=1, help="Runs at one time, each with GPUs of its own.")]


@app.command()
def reproduce(
    study: Annotated[str, typer.Argument(help="table2 to table5, fig2, fig3a, fig3b, fig3c, fig4, or a file.")],
    scale: Annotated[
        Literal["tiny", "paper"], typer.Option(help="tiny: the embedded world, on a laptop. paper: the paper's models.")
    ] = "tiny",
    seeds: Annotated[int | None, typer.Option(min=1, help="Runs of each cell, seeds 0, 1, ...")] = None,
    faithful: Annotated[
        Literal["paper", "as_published"],
        typer.Option(help="as_published: as the authors' scripts do, where they differ from the paper."),
    ] = "paper",
    jobs: Jobs = 1,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the runs and what they would take; run none.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="The study's directory; runs/reproduce/STUDY-SCALE if not given.")
    ] = None,
) -> None:
    """Reproduce a table or figure of the paper: every cell an ordinary run, resumable, with intervals over seeds.

    The results say which of the paper's orderings hold at this scale, which do not, and which are within noise. A tiny
    policy on word problems says nothing about large models: it shows what the objectives do when all else is equal.
    """
    from larpo_lib.studies.study import cells, load_study

    presets = Path(str(resources.files("pipelines"))) / "configs"
    loaded = load_study(_file(study, presets / "studies"))
    if dry_run:
        made = cells(loaded, scale, presets, seeds, faithful)
        for line in _listed(loaded, scale, made):
            typer.echo(line)
        return
    from larpo_lib.artifacts import disk_errors
    from larpo_lib.studies.run import Request, run_study

    suffix = "" if faithful == "paper" else f"-{faithful}"
    together = Path("runs") / "reproduce"  # studies there share what their runs have in common
    place = out or together / f"{loaded.name}-{scale}{suffix}"
    request = Request(scale, presets, seeds, faithful, jobs, pool=None if out else together / "pool")
    command = shlex.join(["larpo", *sys.argv[1:]])
    with disk_errors(place):
        typer.echo(run_study(loaded, request, place, command))
    typer.echo(f"Results: {place / 'results' / 'study.html'}")


def _file(study: str, folder: Path) -> Path:
    if study.endswith(".toml"):
        return Path(study)
    known = sorted(path.stem for path in folder.glob("*.toml"))
    if study not in known:
        raise ConfigError(f"there is no study '{study}'", remedy=f"Name one of {', '.join(known)}, or a .toml file")
    return folder / f"{study}.toml"


def _listed(study: Study, scale: Literal["tiny", "paper"], made: list[Cell]) -> list[str]:
    from larpo_lib.reporting.table import aligned
    from larpo_lib.studies.estimate import estimate
    from larpo_lib.studies.run import placed

    given = study.scale(scale).cost
    head = ["run", "objective", "iterations", "k", "temperature", "memory", "learning rate"]
    rows = [[*head, *(["prompts", "responses", "GPU-hours", "judge calls"] if given else [])]]
    total = 0.0
    for cell in made:
        config = placed(cell, scale, Path("worlds")).config()
        row = [
            cell.key,
            config.train.objective.type,
            str(config.loop.iterations),
            "+".join(map(str, [config.sample.k, *(draw.count for draw in config.sample.extra_draws)])),
            "+".join(map(str, [config.sample.temperature, *(draw.temperature for draw in config.sample.extra_draws)])),
            config.lists.memory,
            f"{config.train.learning_rate:g}",
        ]
        if given:
            cost = estimate(config, given)
            total += cost.gpu_hours
            row += [f"{cost.prompts:,}", f"{cost.responses:,}", f"{cost.gpu_hours:.0f}", f"{cost.judge_calls:,}"]
        rows.append(row)
    lines = [f"{study.title} ({study.source}), {scale}: {len(made)} runs", *aligned(rows)]
    size = study.scale(scale)
    if given:
        calls = given.judge_calls * len(made)
        lines.append(f"In all about {total:,.0f} GPU-hours and {calls:,} judge calls, if the assumptions hold:")
        lines += [f"  {name} = {value:g}" for name, value in given.model_dump().items()]
    if size.search is not None:
        lines.append(
            f"Before that, {size.search.setting} is chosen for each cell among "
            f"{', '.join(f'{value:g}' for value in size.search.values)}, with seed {size.search.seed}."
        )
    return [*lines, *(f"Choice: {choice}" for choice in size.choices)]
