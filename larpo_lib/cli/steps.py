"""One command a step: paths and settings in, an artifact out, its metrics as JSON on standard output."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from larpo_lib.cli.app import Config, In, Out, Settings, app
from larpo_lib.errors import ConfigError

OptionalIn = Annotated[str | None, typer.Option(help="Artifact to read, if there is one.")]
OptionalOut = Annotated[str | None, typer.Option(help="Artifact to write.")]


@app.command()
def prepare(
    prompts: OptionalOut = None,
    heldout: OptionalOut = None,
    demonstrations: OptionalOut = None,
    ranked: OptionalOut = None,
    config: Config = None,
    settings: Settings = None,
) -> None:
    """Read prompts, demonstrations or ranked responses from JSONL, JSON, CSV, Parquet, a dataset's name or s3://.

    What is named decides what is made: --prompts (and --heldout) from [prepare], --demonstrations from
    [demonstrations], or --prompts with --ranked from a [prepare] source that has responses with scores.
    """
    wanted = {"prompts": prompts, "heldout": heldout, "demonstrations": demonstrations, "ranked": ranked}
    outputs = {name: uri for name, uri in wanted.items() if uri is not None}
    functions = {
        ("prompts",): ("run", "prepare"),
        ("prompts", "heldout"): ("run", "prepare"),
        ("demonstrations",): ("demonstrations", "demonstrations"),
        ("prompts", "ranked"): ("ranked", "prepare"),
    }
    if tuple(outputs) not in functions:
        raise ConfigError(
            f"prepare cannot make {' and '.join(outputs) or 'nothing'}",
            remedy="Give --prompts, --prompts --heldout, --demonstrations, or --prompts --ranked",
        )
    function, section = functions[tuple(outputs)]
    _run("prepare", function, section, {}, outputs, config, settings)


@app.command()
def sft(policy: In, demonstrations: In, trained: Out, config: Config = None, settings: Settings = None) -> None:
    """Fine-tune a policy on demonstrations."""
    inputs = {"policy": policy, "demonstrations": demonstrations}
    _run("sft", "run", "sft", inputs, {"trained": trained}, config, settings)


@app.command()
def sample(
    policy: In,
    prompts: In,
    candidates: Out,
    iteration: Annotated[int, typer.Option(min=1, help="Decides prompts, temperature and seeds.")] = 1,
    config: Config = None,
    settings: Settings = None,
) -> None:
    """Sample candidates from the behaviour policy."""
    inputs = {"policy": policy, "prompts": prompts}
    _run("sample", "run", "sample", inputs, {"candidates": candidates}, config, settings, iteration=iteration)


@app.command()
def rerank(prompts: In, candidates: In, ranked: Out, config: Config = None, settings: Settings = None) -> None:
    """Score and rank candidates with a reward model."""
    inputs = {"prompts": prompts, "candidates": candidates}
    _run("rerank", "run", "rerank", inputs, {"ranked": ranked}, config, settings)


@app.command("build-lists")
def build_lists(
    prompts: In,
    ranked: Annotated[list[str], typer.Option(help="Ranked artifacts, one an iteration, the current one last.")],
    lists: Out,
    config: Config = None,
    settings: Settings = None,
) -> None:
    """Build training lists from the ranked candidates of one or more iterations."""
    _run("build_lists", "run", "lists", {"prompts": prompts, "ranked": ranked}, {"lists": lists}, config, settings)


@app.command()
def train(policy: In, lists: In, trained: Out, config: Config = None, settings: Settings = None) -> None:
    """Train a policy on lists."""
    _run("train", "run", "train", {"policy": policy, "lists": lists}, {"trained": trained}, config, settings)


@app.command()
def evaluate(policy: In, prompts: In, evaluation: Out, config: Config = None, settings: Settings = None) -> None:
    """Measure a policy on held-out prompts: mean reward, accuracy, Pass@N, best-of-N."""
    inputs = {"policy": policy, "prompts": prompts}
    _run("evaluate", "run", "evaluate", inputs, {"evaluation": evaluation}, config, settings)


@app.command()
def report(
    prompts: In,
    evaluations: Annotated[list[str], typer.Option(help="Evaluations: of the starting policy, then one an iteration.")],
    ranked: Annotated[list[str], typer.Option(help="Ranked artifacts, one an iteration.")],
    lists: Annotated[list[str], typer.Option(help="Lists, one artifact an iteration.")],
    policies: Annotated[list[str], typer.Option(help="Trained policies, one an iteration.")],
    report: Out,
    promotion: OptionalIn = None,
    preparations: Annotated[list[str] | None, typer.Option(help="Prompts, demonstrations, SFT, for drops.")] = None,
    candidates: Annotated[list[str] | None, typer.Option(help="Candidates, one artifact an iteration.")] = None,
    config: Config = None,
    settings: Settings = None,
) -> None:
    """Write the HTML report of a run."""
    inputs: dict[str, Any] = {
        "prompts": prompts,
        "evaluations": evaluations,
        "ranked": ranked,
        "lists": lists,
        "policies": policies,
        "promotion": promotion,
        "preparations": preparations or [],
        "candidates": candidates or [],
    }
    _run("report", "run", "report", inputs, {"report": report}, config, settings)


def _run(
    step: str,
    function: str,
    section: str,
    inputs: Mapping[str, str | list[str] | None],
    outputs: Mapping[str, str],
    config: Config,
    settings: Settings,
    **arguments: Any,
) -> None:
    """Run a step function with its section of the settings; remote paths are fetched before and published after."""
    from larpo_lib.config import SECTIONS, load_section
    from larpo_lib.storage import localize

    loaded = load_section(section, SECTIONS[section], config, settings or ())
    module = importlib.import_module(f"larpo_lib.steps.{step}")
    with localize(_flat(inputs), outputs) as paths:
        nested: dict[str, Any] = {}
        for name, value in inputs.items():
            if isinstance(value, list):
                nested[name] = [paths[f"{name}.{i}"] for i in range(len(value))]
            else:
                nested[name] = None if value is None else paths[name]
        nested.update({name: paths[name] for name in outputs})
        metrics = getattr(module, function)(loaded, **nested, **arguments)
    typer.echo(json.dumps(metrics, indent=2, sort_keys=True))


def _flat(inputs: Mapping[str, str | list[str] | None]) -> dict[str, str]:
    flat = {}
    for name, value in inputs.items():
        if isinstance(value, list):
            flat.update({f"{name}.{i}": uri for i, uri in enumerate(value)})
        elif value is not None:
            flat[name] = value
    return flat
