"""Benchmarks with a reward model on the command line."""

from __future__ import annotations

from typing import Annotated

import typer

from larpo_lib.cli.app import BENCHMARKS, Config, In, Out, Settings, app
from larpo_lib.cli.benchmarks import run_benchmark


@app.command("reward-eval", rich_help_panel=BENCHMARKS)
def reward_eval(
    policy: In,
    baseline: Annotated[str, typer.Option(help="Policy to compare with: a directory or s3:// URI.")],
    prompts: In,
    evaluation: Out,
    config: Config = None,
    settings: Settings = None,
) -> None:
    """Let a policy and a baseline policy answer prompts, and have [reward_eval].reranker say which answer is better.

    win_rate: percent of prompts on which the policy's response has the higher reward, ties half. lc_win_rate: what it
    would be if both were equally long: P(preferred) = 1 / (1 + exp(-(theta + phi * tanh(d / s)))) is fitted by maximum
    likelihood, with a normal prior of variance 10 on phi; d is how many characters the policy's response is longer, s
    the standard deviation of d; the number is 100 / (1 + exp(-theta)). Not defined where every response is longer by
    one and the same length. reward, baseline_reward: means, where rewards do not hold only within a list. length,
    baseline_length: characters. wins, ties, losses: prompts; equal_responses are ties. *_low, *_high: bootstrap
    interval over prompts; *_standard_error. too_long_to_score_dropped: prompts of which one response got no reward.

    Must not be compared with AlpacaEval's win rates or any other judge's: lc_win_rate borrows AlpacaEval's idea, not
    its judge, reference, difficulty term or penalty. Nor with another reward model, other prompts or another baseline.
    A policy trained on this reward model's scores wins by them more easily than by anybody else's.
    """
    inputs = {"policy": policy, "baseline": baseline, "prompts": prompts}
    run_benchmark("reward_eval", inputs, evaluation, config, settings)


@app.command("score-reward-model", rich_help_panel=BENCHMARKS)
def score_reward_model(lists: In, evaluation: Out, config: Config = None, settings: Settings = None) -> None:
    """Say how [score_reward_model].reranker orders lists that are ranked already, such as lists held back.

    pair_accuracy: share of a list's pairs with different rewards that the scores put in the same order, equal scores
    one half. best_first: how often the response with the highest score is a best one. kendall_tau: tau-b of scores and
    rewards. ndcg: of the list in the order of the scores, with gains above the list's lowest reward. All are means
    over lists; *_low, *_high: bootstrap interval over lists; *_standard_error. too_long_to_score_dropped: responses
    without a score. lists_without_preference_dropped: lists of which no two responses with different rewards are left.
    lists_of_equal_scores: without a tau.

    Must not be compared over other lists, nor with the numbers of lists that the reward model was trained on.
    """
    run_benchmark("score_reward_model", {"lists": lists}, evaluation, config, settings)
