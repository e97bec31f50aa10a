"""AlpacaEval 2 on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from larpo_lib.cli.app import BENCHMARKS, Config, Out, Settings, app, score_app
from larpo_lib.cli.benchmarks import DecisionsFile, MaxJudgeCalls, OptionalIn, run_benchmark


@app.command("alpaca-eval", rich_help_panel=BENCHMARKS)
def alpaca_eval(
    reference: Annotated[str, typer.Option(help="The reference's answers: alpaca_eval_gpt4_baseline.json, or .gz.")],
    evaluation: Out,
    policy: OptionalIn = None,
    answers: Annotated[
        str | None, typer.Option(help="JSON of instruction, output and generator: answers instead of --policy.")
    ] = None,
    gamed: Annotated[str | None, typer.Option(help="df_gamed.csv, or .gz; without it there is no LC win rate.")] = None,
    difficulty: Annotated[
        str | None, typer.Option(help="instruction_difficulty.csv; without it what --gamed says of it.")
    ] = None,
    decisions: DecisionsFile = None,
    max_judge_calls: MaxJudgeCalls = None,
    config: Config = None,
    settings: Settings = None,
) -> None:
    """Let a policy answer AlpacaEval's 805 instructions, and have [alpaca_eval].judge compare them with the reference.

    win_rate: percent of instructions on which the judge prefers the policy's answer to the reference's, a draw being
    half of one; protocols that weigh both answers give shares. lc_win_rate: what it would be if both answers were
    equally long, by the official fit. *_standard_error: of these means, in percent; that of lc_win_rate leaves out how
    uncertain the fit is. average_length: characters of the policy's answers. undecided: instructions without a
    preference, left out of win_rate as the official client does: the judge's answer could not be read, or they were
    too_long_for_judge. draws: among them equal answers, which nobody is asked about. *_dropped: what was not judged.

    Must not be compared: scores of different judges or protocols (tables 2 and 3 of the paper have different ones),
    against different references, or of a part of the instructions (alpaca_eval.partial).

    Every decision is stored as it arrives: the same command goes on after a stop and buys none twice.
    """
    inputs: dict[str, str | list[str] | None] = {
        "reference": reference,
        "gamed": gamed,
        "difficulty": difficulty,
        "policy": policy,
        "answers": answers,
    }
    run_benchmark(
        "alpaca_eval", inputs, evaluation, config, settings, max_judge_calls=max_judge_calls, decisions=decisions
    )


@score_app.command("alpaca_eval")
def score_alpaca_eval(
    preferences: Annotated[
        Path, typer.Option(help="CSV of model, row (place in AlpacaEval, from 0), preference, len_ref, len_model.")
    ],
    gamed: Annotated[Path | None, typer.Option(help="df_gamed.csv; without it there is no LC win rate.")] = None,
    difficulty: Annotated[
        Path | None, typer.Option(help="instruction_difficulty.csv; without it what --gamed says of it.")
    ] = None,
    partial: Annotated[bool, typer.Option("--partial", help="Score models with fewer than 805 instructions.")] = False,
) -> None:
    """Win rates of models from the judge's stored preferences: {model: {win_rate, lc_win_rate, ...}}.

    win_rate: percent of instructions on which the judge prefers the model's answer to the reference's, a draw being
    half of one; a judge that weighs both gives shares. lc_win_rate: what it would be if both answers were equally long.
    *_standard_error: of these means, in percent. average_length: characters of the model's answers. undecided: rows
    without a preference, left out of win_rate as the official client does. Rows may stand in any order, and files may
    be compressed (.gz, .xz, .zst). Scores of different judges, or of a part of the instructions, must not be compared.
    """
    from larpo_lib.evaluation.alpaca_eval.files import read_length_control, read_preferences, require_whole
    from larpo_lib.evaluation.alpaca_eval.scoring import SIZE, score

    control = read_length_control(gamed, difficulty)
    models = read_preferences(preferences)
    for model, comparisons in models.items():
        require_whole(len(comparisons), f"{preferences}, model {model}", partial=partial)
    found = {
        model: {**score(comparisons, control).metrics(), "partial": len(comparisons) != SIZE}
        for model, comparisons in models.items()
    }
    typer.echo(json.dumps(found, indent=2, sort_keys=True))
