"""MixEval on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from larpo_lib.cli.app import BENCHMARKS, Config, Out, Settings, app, score_app
from larpo_lib.cli.benchmarks import DecisionsFile, MaxJudgeCalls, OptionalIn, run_benchmark


@app.command("mixeval", rich_help_panel=BENCHMARKS)
def mixeval(
    free_form: Annotated[str, typer.Option(help="Published free-form.json, or .json.gz.")],
    multiple_choice: Annotated[str, typer.Option(help="Published multiple-choice.json, or .json.gz.")],
    evaluation: Out,
    policy: OptionalIn = None,
    answers: Annotated[
        list[str] | None,
        typer.Option(help="Answers in MixEval's output format instead of --policy; one file a kind, or one for both."),
    ] = None,
    decisions: DecisionsFile = None,
    max_judge_calls: MaxJudgeCalls = None,
    config: Config = None,
    settings: Settings = None,
) -> None:
    """Let a policy answer MixEval's or MixEval-Hard's questions, and have the answers judged by [mixeval].judge.

    overall: the official score, 0 to 1: the means of both kinds, each rounded to three decimals, weighted by their
    questions. free_form: mean score of the judge, 0 to 1 a question. multiple_choice: share of questions with the right
    option. *_standard_error: of these means, copies of a question counted as one draw. unparsed: judgements that could
    not be read after mixeval.attempts; mixeval.unparsed says what they score. judged_again: further attempts.
    too_long_for_judge, prompts_too_long_dropped: answers and questions of which nothing came; the latter are wrong.
    distinct_questions: questions asked, equal ones once.

    Must not be compared: MixEval with MixEval-Hard, one version of the questions with another, scores of other judges
    than gpt-3.5-turbo-0125 with published ones, options read by rule with options read by a judge.

    Every decision is stored as it arrives: the same command goes on after a stop and buys none twice.
    """
    inputs = {"free_form": free_form, "multiple_choice": multiple_choice, "policy": policy, "answers": answers or []}
    run_benchmark("mixeval", inputs, evaluation, config, settings, max_judge_calls=max_judge_calls, decisions=decisions)


@score_app.command("mixeval")
def score_mixeval(
    judged: Annotated[list[Path], typer.Option(help="Judgements, JSON Lines or .gz; several files are scored as one.")],
) -> None:
    """Scores from stored judgements: {overall, free_form, multiple_choice, benchmarks, ...}.

    A line holds kind (ff or mp), id, benchmark, judge (the judge's text) and score, or n, target and option; MixEval's
    own judge_results_*.jsonl are read as well. The text decides; where it cannot be read (unparsed) the score or option
    beside it does, and without one the question is left out. parsed_otherwise: texts that say something else than what
    stands beside them. Scores of other questions, versions and judges must not be compared.
    """
    from larpo_lib.evaluation.mixeval.scoring import as_json, read_judged, score

    typer.echo(json.dumps(as_json(score(read_judged(judged))), indent=2))
