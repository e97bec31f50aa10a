"""AlpacaEval 2 on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from larpo_lib.cli.app import score_app


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
    from larpo_lib.evaluation.alpaca_eval import SIZE, score
    from larpo_lib.sources.alpaca_eval import read_length_control, read_preferences, require_whole

    control = read_length_control(gamed, difficulty)
    models = read_preferences(preferences)
    for model, comparisons in models.items():
        require_whole(len(comparisons), f"{preferences}, model {model}", partial=partial)
    found = {
        model: {**score(comparisons, control).metrics(), "partial": len(comparisons) != SIZE}
        for model, comparisons in models.items()
    }
    typer.echo(json.dumps(found, indent=2, sort_keys=True))
