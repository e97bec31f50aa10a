"""Win rates of a policy against a baseline policy, with a reward model as the judge."""

from larpo_lib.evaluation.benchmark import JUDGE_CHECK, Benchmark, Number
from larpo_lib.steps.declarations import Input

_NOT_ALPACA = "It is not the win rate of AlpacaEval or of any other judge."

BENCHMARK = Benchmark(
    name="reward_eval",
    title="Win rate by a reward model",
    summary="Let a policy and a baseline policy answer prompts, and let [reward_eval].reranker decide which answer is "
        "better.",
    settings_class="RewardEvalConfig",
    inputs=(
        Input("policy", model=True),
        Input(
            "baseline",
            help="Policy to compare with: a directory, an s3:// URI, or org/name[@revision] on the hub.",
            model=True,
        ),
        Input("prompts"),
        JUDGE_CHECK,
    ),
    judged_by="a reward model, by comparison with a baseline policy",
    needs="a baseline",
    numbers=(
        Number(
            "lc_win_rate", "LC win rate", "%",
            "The win rate if both responses were equally long, estimated with a logistic regression on the "
            f"difference in length. {_NOT_ALPACA}",
            by_reward=True,
        ),
        Number(
            "win_rate", "Win rate", "%",
            "Fraction of prompts on which the reward model prefers the policy's response to the baseline's; ties "
            f"count half. {_NOT_ALPACA}",
            by_reward=True,
        ),
        Number(
            "reward", "Mean reward", "", "Mean reward of the policy's responses, in the reward model's own unit.",
            by_reward=True,
        ),
        Number(
            "baseline_reward", "Mean reward of the baseline", "", "Mean reward of the baseline's responses.",
            by_reward=True,
        ),
        Number(
            "length", "Average length", "characters", "Mean length of the policy's responses.", lower_is_better=True,
            by_reward=True,  # which decides whether thoughts are part of it
        ),
        Number("baseline_length", "Average length of the baseline", "characters", "Mean length of the baseline's "
            "responses.", by_reward=True),
    ),
    counts={
        "*_low, *_high, *_standard_error": "Bootstrap interval over prompts, and standard error.",
        "wins, ties, losses": "Numbers of prompts; equal_responses are ties.",
        "too_long_to_score_dropped": "Prompts with a response that got no reward.",
    },
    compare="with win rates of AlpacaEval or any other judge: lc_win_rate uses AlpacaEval's idea, but not its judge, "
        "reference, difficulty term or penalty; nor with another reward model, other prompts or another "
        "baseline. A policy trained on this reward model's scores wins more easily here than with any other judge.",
)  # fmt: skip
