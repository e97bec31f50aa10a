"""Commands that are more than one step, and those about the machine."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from larpo_lib.cli.app import LOOP, TOOLS, Config, Settings, app, say

if TYPE_CHECKING:
    from larpo_lib.config import LarpoConfig

RunDirectory = Annotated[
    str,
    typer.Option(help="Directory or s3:// URI of the run. To resume a stopped run, pass the same one again."),
]
Work = Annotated[
    Path | None,
    typer.Option(
        help="For a run at an s3:// URI: local folder for MLflow's database, needed if no MLflow server is set."
    ),
]
Pool = Annotated[
    Path | None,
    typer.Option(help="Directory through which runs share artifacts that are the same for them, such as prompts."),
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of all random choices.")]


@app.command(rich_help_panel=LOOP)
def run(
    out: RunDirectory,
    work: Work = None,
    pool: Pool = None,
    config: Config = None,
    settings: Settings = None,
) -> None:
    """Run the whole loop on this machine, from prompts to a promoted policy and a report, or resume it."""
    from larpo_lib.config import load_config

    loaded = load_config(config, settings or ())
    from larpo_lib.files import disk_errors
    from larpo_lib.loop import run_loop  # takes seconds to import; a mistake in the settings is told before
    from larpo_lib.run_place import RunPlace

    place = RunPlace.find(out, work)
    with disk_errors(place.work):
        run_loop(loaded, place.root, pool, work)
    _show(place.root)


@app.command(rich_help_panel=LOOP)
def quickstart(
    objective: Annotated[str, typer.Option(help="listmle, lambdarank, contrastive, dpo, ...")] = "listmle",
    seed: Seed = 0,
    out: Annotated[
        str | None,
        typer.Option(
            help="Directory or s3:// URI of the run; runs/quickstart by default, with --real runs/quickstart-real."
        ),
    ] = None,
    real: Annotated[
        bool, typer.Option("--real", help="Train SmolLM2-135M-Instruct, a real language model, to follow instructions.")
    ] = False,
    work: Work = None,
    pool: Pool = None,
    settings: Settings = None,
) -> None:
    """Run the whole loop on a small built-in example: no GPU, no downloads, a few minutes on two cores."""
    out = out or ("runs/quickstart-real" if real else "runs/quickstart")
    from larpo_lib.files import disk_errors
    from larpo_lib.loop import run_loop
    from larpo_lib.run_place import RunPlace

    place = RunPlace.find(out, work)
    with disk_errors(place.work):
        loaded = (_real_world if real else _toy_world)(place.work / "world", objective, seed, settings or ())
        run_loop(loaded, place.root, pool, work)
    _show(place.root)


def _toy_world(world: Path, objective: str, seed: int, settings: Sequence[str]) -> LarpoConfig:
    from larpo_lib.config import load_config
    from larpo_lib.playground.world import make_world, world_settings
    from larpo_lib.presets import preset_file

    loaded = load_config(preset_file("quickstart"), [*world_settings(world, objective), f"seed={seed}", *settings])
    make_world(world, seed)
    return loaded


def _real_world(world: Path, objective: str, seed: int, settings: Sequence[str]) -> LarpoConfig:
    from larpo_lib.config import load_config, parse_settings
    from larpo_lib.playground.real import make_real_world, real_settings
    from larpo_lib.presets import preset_file

    make_real_world(world, seed, parse_settings(settings).get("policy"))
    chosen = [*real_settings(world, objective), f"seed={seed}", *settings]
    return load_config(preset_file("quickstart-real"), chosen)


@app.command(rich_help_panel=LOOP)
def plan(
    config: Config = None,
    settings: Settings = None,
    gpus: Annotated[int | None, typer.Option(min=0, help="GPUs; 0: none. Default: train.launch.nproc.")] = None,
    memory: Annotated[float, typer.Option(min=1, help="GiB of each GPU, or of the machine without one.")] = 80.0,
    prompts: Annotated[
        int | None, typer.Option(min=1, help="Prompts of an iteration, if the settings do not tell.")
    ] = None,
    prompt_tokens: Annotated[int, typer.Option(min=1, help="Mean tokens of a prompt; UltraFeedback has 164.")] = 164,
    response_tokens: Annotated[int, typer.Option(min=1, help="Mean tokens of a response; AlpacaEval has 367.")] = 367,
    like: Annotated[Path | None, typer.Option(help="Directory of an earlier run whose rates are taken.")] = None,
    sample_rate: Annotated[
        float | None, typer.Option(min=0.001, help="Response tokens/s that the machine samples.")
    ] = None,
    rerank_rate: Annotated[float | None, typer.Option(min=0.001, help="Response tokens/s that it scores.")] = None,
    train_rate: Annotated[float | None, typer.Option(min=0.001, help="Response tokens/s that it trains on.")] = None,
    price: Annotated[float | None, typer.Option(min=0, help="Price of a GPU for an hour.")] = None,
) -> None:
    """Estimate memory, hours and cost of a run before it starts; exit code 1 if a step does not fit."""
    from larpo_lib.config import load_config

    loaded = load_config(config, settings or ())
    from larpo_lib.budget.needs import Machine
    from larpo_lib.budget.rates import measured_rates
    from larpo_lib.budget.report import Asked, estimate_run, render

    stated = {"sample": sample_rate, "rerank": rerank_rate, "train": train_rate}
    rates = {} if like is None else measured_rates(like)
    rates |= {name: rate for name, rate in stated.items() if rate is not None}
    machine = Machine(loaded.train.launch.nproc if gpus is None else gpus, int(memory * 2**30))
    estimate = estimate_run(loaded, Asked(machine, prompts, prompt_tokens, response_tokens, rates, price))
    say(render(estimate))
    if not estimate.fits:
        raise typer.Exit(1)


@app.command(rich_help_panel=TOOLS)
def playground(
    out: Annotated[Path, typer.Option(help="Directory to write to.")],
    seed: Seed = 0,
) -> None:
    """Write the files of the built-in example (tiny policy, demonstrations, prompts), to try the steps one by one."""
    from larpo_lib.files import disk_errors
    from larpo_lib.playground.world import make_world
    from larpo_lib.presets import preset_file

    with disk_errors(out):
        make_world(out, seed)
        shutil.copyfile(preset_file("quickstart"), out / "quickstart.toml")
    say(f"{out}: {', '.join(sorted(path.name for path in out.iterdir()))}")


@app.command(rich_help_panel=TOOLS)
def presets(name: Annotated[str | None, typer.Argument(help="Name of the preset to print.")] = None) -> None:
    """List the built-in presets for --preset, or print one of them."""
    from larpo_lib.presets import preset_file, preset_names, preset_summary

    if name is not None:
        say(preset_file(name).read_text("utf-8"), nl=False)
        return
    names = preset_names()
    for each in names:
        say(f"{each:{max(map(len, names))}}  {preset_summary(each)}")


@app.command(rich_help_panel=TOOLS)
def doctor(config: Config = None, settings: Settings = None) -> None:
    """Check what is installed, what can run on this machine, and what to install for the rest.

    With --config, it also checks whether the servers in it answer: of samplers, rerankers and judges. The file may hold
    the settings of a benchmark alone.
    """
    from larpo_lib.config.load import load_given
    from larpo_lib.doctor import diagnose, ok_for_main_job, render

    findings = diagnose(load_given(config, settings or ()) if config or settings else None)
    say(render(findings))
    if not ok_for_main_job(findings):
        raise typer.Exit(1)


def _show(out: str) -> None:
    from larpo_lib.artifacts import AGAIN
    from larpo_lib.caches import cache_dir
    from larpo_lib.files import read_json
    from larpo_lib.reporting.gate import became
    from larpo_lib.run_files import read_summary
    from larpo_lib.storage import fetch

    def find(name: str) -> Path:
        return fetch(f"{out.rstrip('/')}/{name}", cache_dir())

    summary = read_summary(find("summary.json").parent)
    decision = read_json(find("promotion/promotion.json"), remedy=AGAIN)
    say(find("report/summary.txt").read_text("utf-8"))
    outcome = f"{decision['model_name']} version {decision['version']} {became(decision)} {decision['alias']}"
    say(f"{outcome}: {decision['reason']}")
    calls = summary.get("seconds_by_call", [])  # runs of earlier versions kept none
    resumed = f" in {len(calls)} calls, {calls[-1]} s of them in the last one" if len(calls) > 1 else ""
    say(f"{summary['seconds']} s{resumed}. Report: {out.rstrip('/')}/report/report.html")
