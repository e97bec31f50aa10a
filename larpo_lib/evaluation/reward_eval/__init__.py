"""Win rates of a policy against a baseline policy, with a reward model as the judge."""

from larpo_lib.evaluation.benchmark import Benchmark, Number
from larpo_lib.steps.declarations import Input

_NOT_ALPACA = "It is neither AlpacaEval's win rate nor any judge's."

BENCHMARK = Benchmark(
    name="reward_eval",
    title="Win rate by a reward model",
    summary="Let a policy and a baseline policy answer prompts, and have [reward_eval].reranker say which answer is"
    " better.",
    settings_class="RewardEvalConfig",
    inputs=(
        Input("policy"),
        Input("baseline", help="Policy to compare with: a directory or s3:// URI."),
        Input("prompts"),
    ),
    judged_by="a reward model, against a baseline policy",
    needs="a baseline",
    numbers=(
        Number(
            "lc_win_rate", "LC win rate", "%",
            "What the win rate would be if both responses were equally long, by a logistic regression on the difference"
            f" in length. {_NOT_ALPACA}",
        ),
        Number(
            "win_rate", "Win rate", "%",
            "Prompts on which the reward model prefers the policy's response to the baseline's, ties half."
            f" {_NOT_ALPACA}",
        ),
        Number("reward", "Mean reward", "", "Of the policy's responses; in the reward model's own unit."),
        Number("baseline_reward", "Mean reward of the baseline", "", "Of the baseline's responses."),
        Number("length", "Average length", "characters", "Of the policy's responses."),
        Number("baseline_length", "Average length of the baseline", "characters", "Of the baseline's responses."),
    ),
    counts={
        "*_low, *_high, *_standard_error": "Bootstrap interval over prompts, and standard error.",
        "wins, ties, losses": "Prompts; equal_responses are ties.",
        "too_long_to_score_dropped": "Prompts of which one response got no reward.",
    },
    compare="with AlpacaEval's win rates or any other judge's: lc_win_rate borrows AlpacaEval's idea, not its judge,"
    " reference, difficulty term or penalty; with another reward model, other prompts or another baseline. A policy"
    " trained on this reward model's scores wins by them more easily than by anybody else's.",
)  # fmt: skip
