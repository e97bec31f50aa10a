"""GSM8K on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from larpo_lib.cli.app import BENCHMARKS, Config, Out, Settings, app, score_app
from larpo_lib.cli.benchmarks import OptionalIn, run_benchmark


@app.command("gsm8k", rich_help_panel=BENCHMARKS)
def gsm8k(
    evaluation: Out,
    policy: OptionalIn = None,
    problems: Annotated[
        str | None, typer.Option(help="Problems as GSM8K's test.jsonl: question and answer; .gz is read as well.")
    ] = None,
    answers: Annotated[
        str | None,
        typer.Option(help="Solutions as in GSM8K's example_model_solutions.jsonl, instead of --policy and --problems."),
    ] = None,
    config: Config = None,
    settings: Settings = None,
) -> None:
    """Let a policy solve GSM8K's problems: accuracy, Pass@N and majority vote, by numeric match.

    accuracy: percent of problems whose greedy response ends on the right number; the number to report.
    sampled_accuracy: the same of the gsm8k.n sampled responses, on average. majority_accuracy: percent on which the
    number that most sampled responses agree on is right. pass_at_i: chance in percent that at least one of i sampled
    responses is right, unbiased. *_low, *_high: bootstrap interval over problems; *_standard_error: in percent as well.
    *_without_number: responses that end on no number, which are wrong. prompts_too_long_counted_wrong: problems nobody
    was asked.

    Must not be compared: accuracy with a majority vote or Pass@N; accuracies of other templates, worked examples
    (gsm8k.examples) or problems; accuracies by a test whether the answer stands anywhere in the response, as the
    paper's scripts have it, which calls 133 of 5,276 published solutions right that are wrong.
    """
    inputs = {"policy": policy, "problems": problems, "answers": answers}
    run_benchmark("gsm8k", inputs, evaluation, config, settings)


@score_app.command("gsm8k")
def score_gsm8k(
    solutions: Annotated[
        Path, typer.Option(help="JSON Lines or .gz: question, ground_truth and, for each model, {solution}.")
    ],
) -> None:
    """Accuracies of models from their stored solutions: {model: percent}, to three decimals as published.

    A solution is right if its final number is that of the ground truth; the stored is_correct is not read.
    """
    from larpo_lib.evaluation.gsm8k.files import read_solutions
    from larpo_lib.evaluation.gsm8k.scoring import accuracy

    solved = read_solutions(solutions, str(solutions))
    found = {
        name: accuracy([(one.problem.answer, one.solutions[name]) for one in solved]) for name in solved[0].solutions
    }
    typer.echo(json.dumps(found, indent=2))
