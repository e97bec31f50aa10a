"""One command a step: paths and settings in, an artifact out, its metrics as JSON on standard output."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from larpo_lib.cli.app import Config, In, Out, Settings, app
from larpo_lib.errors import ConfigError

Launcher = Annotated[
    str | None, typer.Option(help="none, torchrun or deepspeed; short for --set <section>.launch.launcher=...")
]
Nproc = Annotated[
    int | None, typer.Option(min=1, help="Processes on this machine; short for --set <section>.launch.nproc=...")
]
OfShards = Annotated[str | None, typer.Option("--shard", help="i/n: the i-th of n shares of the prompts, from 0 on.")]
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
    """Read prompts, demonstrations or ranked responses from files, directories, a dataset's name or s3://.

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
def sft(
    policy: In,
    demonstrations: In,
    trained: Out,
    launcher: Launcher = None,
    nproc: Nproc = None,
    config: Config = None,
    settings: Settings = None,
) -> None:
    """Fine-tune a policy on demonstrations."""
    inputs = {"policy": policy, "demonstrations": demonstrations}
    chosen = _launched("sft", launcher, nproc, settings)
    _run("sft", "run", "sft", inputs, {"trained": trained}, config, chosen)


@app.command()
def sample(
    policy: In,
    prompts: In,
    candidates: Out,
    iteration: Annotated[int, typer.Option(min=1, help="Decides prompts, temperature and seeds.")] = 1,
    shard: OfShards = None,
    config: Config = None,
    settings: Settings = None,
) -> None:
    """Sample candidates from the behaviour policy."""
    inputs = {"policy": policy, "prompts": prompts}
    arguments = {"iteration": iteration, **_sharded(shard)}
    _run("sample", "run", "sample", inputs, {"candidates": candidates}, config, settings, **arguments)


@app.command("search-temperature")
def search_temperature(policy: In, prompts: In, search: Out, config: Config = None, settings: Settings = None) -> None:
    """Find a temperature to sample at: the best by reward of a grid, tried on held-out prompts."""
    inputs = {"policy": policy, "prompts": prompts}
    _run("search_temperature", "run", "search_temperature", inputs, {"search": search}, config, settings)


@app.command()
def rerank(
    prompts: In,
    candidates: Annotated[
        list[str], typer.Option(help="Candidates, ranked already or not; those of several iterations rank as one list.")
    ],
    ranked: Out,
    shard: OfShards = None,
    config: Config = None,
    settings: Settings = None,
) -> None:
    """Score and rank candidates with a reward model."""
    inputs: dict[str, str | list[str] | None] = {"prompts": prompts, "candidates": candidates}
    _run("rerank", "run", "rerank", inputs, {"ranked": ranked}, config, settings, **_sharded(shard))


@app.command("merge-shards")
def merge_shards(
    shards: Annotated[list[str], typer.Option(help="Every shard that sample or rerank made, in any order.")],
    merged: Out,
) -> None:
    """Put the shards of sample or rerank together: the same data and metrics as without shards."""
    from larpo_lib.steps import merge_shards as step
    from larpo_lib.storage import localize

    with localize(flat({"shards": shards}), {"merged": merged}) as paths:
        metrics = step.run(shards=[paths[f"shards.{i}"] for i in range(len(shards))], merged=paths["merged"])
    _print(metrics)


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
def train(
    policy: In,
    lists: In,
    trained: Out,
    reference: OptionalIn = None,
    reference_logps: Annotated[
        str | None, typer.Option(help="Trained policy whose reference log-probabilities are of these lists too.")
    ] = None,
    launcher: Launcher = None,
    nproc: Nproc = None,
    config: Config = None,
    settings: Settings = None,
) -> None:
    """Train a policy on lists. Its reference is the policy itself unless another one is given."""
    named = {"policy": policy, "lists": lists, "reference": reference, "reference_logps": reference_logps}
    inputs = {name: uri for name, uri in named.items() if uri is not None}
    chosen = _launched("train", launcher, nproc, settings)
    _run("train", "run", "train", inputs, {"trained": trained}, config, chosen)


@app.command("train-reward-model")
def train_reward_model(
    policy: In,
    lists: In,
    trained: Out,
    launcher: Launcher = None,
    nproc: Nproc = None,
    config: Config = None,
    settings: Settings = None,
) -> None:
    """Train a reward model on lists, from a policy or from another reward model."""
    chosen = _launched("reward_model", launcher, nproc, settings)
    inputs = {"policy": policy, "lists": lists}
    _run("reward_model", "run", "reward_model", inputs, {"trained": trained}, config, chosen)


@app.command()
def evaluate(policy: In, prompts: In, evaluation: Out, config: Config = None, settings: Settings = None) -> None:
    """Measure a policy on held-out prompts: mean reward, accuracy, Pass@N, best-of-N.

    mean_reward, accuracy: means over prompts of the evaluate.n sampled responses; *_low, *_high: bootstrap
    intervals over prompts. pass_at_i: chance that at least one of i sampled responses is right, unbiased, over the
    pass_at_i_prompts prompts with so many judged ones. best_of_n_reward: expected highest reward of n, over
    best_of_n_prompts prompts. greedy_reward, greedy_accuracy: of one greedy response a prompt.
    responses_without_judgement: what the judge could not decide, left out of accuracy and Pass@N.
    too_long_to_score_dropped: responses without a reward. responses_with_thoughts, thoughts_unfinished: with a <think>
    block, and without its end, so that nothing was there to score. distinct_share, truncated_share, mean_tokens,
    duplicate_share, distinct_2: of the responses as they were drawn.

    Must not be compared: rewards of different rerankers, which have no unit; accuracies and Pass@N at another
    temperature, n, length limit or on other prompts; Pass@N with an accuracy; and any of these with the paper's tables,
    whose numbers are AlpacaEval 2 win rates, MixEval scores and GSM8K accuracies by other judges. Tables 2 and 3 of the
    paper have different judges for the same models and must not be compared with one another either. The reward of the
    reranker you trained with is no quality: a policy learns to please it. `larpo alpaca-eval`, `mixeval`, `gsm8k`,
    `retrieval` and `reward-eval` are the benchmarks; docs/evaluation.md says what each number means.
    """
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


def _launched(section: str, launcher: str | None, nproc: int | None, settings: Settings) -> list[str]:
    """The settings with the launcher's own options as settings."""
    given = {"launcher": launcher, "nproc": nproc}
    own = [f"{section}.launch.{name}={value}" for name, value in given.items() if value is not None]
    return [*own, *(settings or ())]


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
    from larpo_lib.steps.edge import at_edge

    loaded = load_section(section, SECTIONS[section], config, settings or ())
    module = importlib.import_module(f"larpo_lib.steps.{step}")
    with at_edge(loaded, flat(inputs), _own(outputs)) as paths:
        named = {**nested(inputs, paths), **{name: paths[name] for name in outputs}}
        metrics = getattr(module, function)(loaded, **named, **arguments)
    _print(metrics)


def _print(metrics: Mapping[str, Any]) -> None:
    typer.echo(json.dumps(metrics, indent=2, sort_keys=True))


def _sharded(shard: str | None) -> dict[str, Any]:
    from larpo_lib.shards import UNSHARDED, Shard

    return {"shard": UNSHARDED if shard is None else Shard.parse(shard)}


def _own(outputs: Mapping[str, str]) -> Mapping[str, str]:
    """The outputs that this process publishes: none where it only helps another one to make them."""
    from larpo_lib.launcher import is_secondary_process
    from larpo_lib.storage import cache_dir, is_remote

    if not is_secondary_process():
        return outputs
    return {name: str(cache_dir() / "followed" / name) if is_remote(uri) else uri for name, uri in outputs.items()}


def flat(inputs: Mapping[str, str | list[str] | None]) -> dict[str, str]:
    """A name for every URI; what is None is left out."""
    found = {}
    for name, value in inputs.items():
        if isinstance(value, list):
            found.update({f"{name}.{i}": uri for i, uri in enumerate(value)})
        elif value is not None:
            found[name] = value
    return found


def nested(inputs: Mapping[str, str | list[str] | None], paths: Mapping[str, Path]) -> dict[str, Any]:
    """A step's keywords, from the paths by the names of `flat`."""
    found: dict[str, Any] = {}
    for name, value in inputs.items():
        if isinstance(value, list):
            found[name] = [paths[f"{name}.{i}"] for i in range(len(value))]
        else:
            found[name] = None if value is None else paths[name]
    return found
