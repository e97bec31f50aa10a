"""One command a step: paths and settings in, an artifact out, its metrics as JSON on standard output."""

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from larpo_lib.cli.app import STEPS as PANEL
from larpo_lib.cli.app import STORE, Config, Settings, Store, app, say
from larpo_lib.cli.commands import Request, add_command, show
from larpo_lib.cli.registries import existing_registry
from larpo_lib.errors import ConfigError
from larpo_lib.steps.declarations import STEPS


def run_step(request: Request) -> None:
    """Run a step; remote inputs are fetched before and remote outputs published after it."""
    config, inputs = request.load()
    from larpo_lib.steps.edge import at_edge

    with at_edge(config, inputs, request.outputs) as paths:
        metrics = request.step.run(config, **paths, **request.arguments)
    show(metrics)


for _name in dict.fromkeys(step.command_name for step in STEPS.values() if step.help):
    add_command([step for step in STEPS.values() if step.command_name == _name], PANEL, run_step)


@app.command(rich_help_panel=PANEL)
def promote(
    policy: Annotated[Path | None, typer.Option(help="Policy directory to register.")] = None,
    evaluation: Annotated[Path | None, typer.Option(help="Evaluation of the policy.")] = None,
    baseline: Annotated[Path | None, typer.Option(help="Evaluation to beat if there is no champion yet.")] = None,
    promotion: Annotated[Path | None, typer.Option(help="Artifact to write.")] = None,
    benchmarks: Annotated[
        list[Path] | None, typer.Option(help="Evaluation of the policy by a benchmark, for promote.must_improve.")
    ] = None,
    baseline_benchmarks: Annotated[
        list[Path] | None, typer.Option(help="The same to beat if there is no champion yet.")
    ] = None,
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Make the previous champion the champion again.")
    ] = False,
    store: Store = STORE,
    config: Config = None,
    settings: Settings = None,
) -> None:
    """Register a policy in MLflow, and make it the champion if it beats the current one. --rollback undoes that."""
    from larpo_lib.config import PromoteConfig, TrackingConfig, load_config, load_section

    gate: PromoteConfig = load_section("promote", config, settings or ())
    if rollback:
        before, after = existing_registry(store, config, settings or ()).rollback(gate.model_name)
        say(f"{gate.model_name}: champion was version {before}, is version {after} again")
        return
    if policy is None or evaluation is None or promotion is None:
        raise ConfigError(
            "promote needs --policy, --evaluation and --promotion", remedy="Pass all three, or only --rollback"
        )
    from larpo_lib.api import steps

    tracking: TrackingConfig = load_section("tracking", config, settings or ())
    known = None
    with suppress(ConfigError):  # a file may hold the gate alone: then the model card says what is not known
        known = load_config(config, settings or ()) if config is not None else None
    steps.promote(
        gate,
        policy=policy,
        evaluation=evaluation,
        baseline=baseline,
        promotion=promotion,
        tracking=tracking,
        store=store,
        run=known,
        benchmarks=benchmarks or (),
        baseline_benchmarks=baseline_benchmarks or (),
    )
    say((promotion / "promotion.json").read_text("utf-8"))


@app.command(rich_help_panel=PANEL)
def export(
    lists: Annotated[str, typer.Option(help="Lists to read: a directory or s3:// URI.")],
    out: Annotated[str, typer.Option(help="File to write: .jsonl or .parquet.")],
    layout: Annotated[
        str, typer.Option(help="pairs, all_pairs, several_rejected, kto or lists: what a row is.")
    ] = "pairs",
) -> None:
    """Write training lists as a data set for TRL and other trainers. `prepare` reads them back.

    pairs: the best response with each worse one, a row for each (DPOTrainer). all_pairs: every response with each
    worse one. several_rejected: the best response with all worse ones. kto: each response, with whether its reward is
    the best of its list (KTOTrainer). lists: all responses with their rewards, which loses nothing.

    Prints how many rows were written and what was dropped: pairs and responses with equal rewards, of which none is
    better. responses_cut ended at the length limit; TRL ends them all the same.
    """
    from larpo_lib.steps import export as step
    from larpo_lib.steps.edge import at_edge

    with at_edge(None, {"lists": lists}, {}) as paths:
        show(step.run(paths["lists"], out, layout))
