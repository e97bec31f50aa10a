"""How a reward model orders lists that are ranked already."""

from larpo_lib.evaluation.benchmark import Benchmark, Number
from larpo_lib.steps.declarations import Input

BENCHMARK = Benchmark(
    name="score_reward_model",
    title="A reward model on ranked lists",
    summary="Measure how well [score_reward_model].reranker orders lists whose order is known, for example held-out "
        "lists.",
    settings_class="ScoreRewardModelConfig",
    inputs=(Input("lists"),),
    judged_by="the rewards of ranked lists",
    needs="lists",
    numbers=(
        Number(
            "pair_accuracy", "Pair accuracy", "",
            "Fraction of a list's pairs with different rewards that the scores put in the same order; equal "
            "scores count half, and 0.5 is chance. For lists of two without equal scores it is RewardBench's accuracy, "
            "which counts equal scores as wrong. Mean over lists.",
        ),
        Number(
            "best_first", "Best first", "",
            "Fraction of lists in which the response with the highest score is one of the best. Mean over lists.",
        ),
        Number(
            "kendall_tau", "Kendall's tau", "",
            "tau-b of scores and rewards, from -1 to 1; 0 is chance. Mean over lists.",
        ),
        Number(
            "ndcg", "nDCG", "",
            "nDCG of the list in the order of the scores; the gain of a response is its reward minus the list's "
            "lowest reward. Mean over lists.",
        ),
    ),
    counts={
        "*_low, *_high, *_standard_error": "Bootstrap interval over lists, and standard error.",
        "too_long_to_score_dropped": "Responses without a score.",
        "lists_without_preference_dropped": "Lists without two scored responses with different rewards.",
        "lists_of_equal_scores": "Lists without a tau.",
    },
    compare="with numbers for other lists, or for lists that the reward model was trained on.",
)  # fmt: skip
