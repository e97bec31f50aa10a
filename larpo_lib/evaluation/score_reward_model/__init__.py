"""How a reward model orders lists that are ranked already."""

from larpo_lib.evaluation.benchmark import Benchmark, Number
from larpo_lib.steps.declarations import Input

BENCHMARK = Benchmark(
    name="score_reward_model",
    title="A reward model on ranked lists",
    summary="Say how [score_reward_model].reranker orders lists that are ranked already, such as lists held back.",
    settings_class="ScoreRewardModelConfig",
    inputs=(Input("lists"),),
    judged_by="the rewards of ranked lists",
    needs="lists",
    numbers=(
        Number(
            "pair_accuracy", "Pair accuracy", "",
            "Share of a list's pairs with different rewards that the scores put in the same order, equal scores one"
            " half; 0.5 is chance. Of pairs alone it is what RewardBench calls accuracy. A mean over lists.",
        ),
        Number(
            "best_first", "Best first", "",
            "Whether the response with the highest score is a best one of its list. A mean over lists.",
        ),
        Number(
            "kendall_tau", "Kendall's tau", "",
            "tau-b of scores and rewards, from -1 to 1; 0 is chance. A mean over lists.",
        ),
        Number(
            "ndcg", "nDCG", "",
            "Of the list in the order of the scores; a gain is how far a reward is above the list's lowest. A mean over"
            " lists.",
        ),
    ),
    counts={
        "*_low, *_high, *_standard_error": "Bootstrap interval over lists, and standard error.",
        "too_long_to_score_dropped": "Responses without a score.",
        "lists_without_preference_dropped": "Lists of which no two responses with different rewards are left.",
        "lists_of_equal_scores": "Lists without a tau.",
    },
    compare="with the numbers of other lists, nor with those of lists that the reward model was trained on.",
)  # fmt: skip
