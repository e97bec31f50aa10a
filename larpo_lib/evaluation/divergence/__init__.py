"""How far a policy has moved from another one."""

from larpo_lib.evaluation.benchmark import Benchmark, Number
from larpo_lib.steps.declarations import POLICY, Input

BENCHMARK = Benchmark(
    name="divergence",
    title="Divergence from another policy",
    summary="Measure how far a policy has moved from another one, such as the policy before training.",
    settings_class="DivergenceConfig",
    inputs=(
        POLICY,
        Input(
            "baseline",
            help="Policy to compare with: a directory, an s3:// URI, or org/name[@revision] on the hub.",
            model=True,
        ),
        Input("prompts"),
        Input("evaluated", help="Evaluation that `larpo evaluate` made with the policy and prompts, at temperature 1."),
    ),
    judged_by="log-probabilities",
    needs="a baseline and an evaluation",
    numbers=(
        Number(
            "kl", "KL", "nats",
            "Kullback-Leibler divergence KL(policy || baseline) of a response: the mean log-ratio of responses that "
            "the policy sampled. Longer responses have a larger one.",
            lower_is_better=True,
        ),
        Number(
            "kl_per_token", "KL per token", "nats",
            "The same, divided by the number of tokens of each response.",
            lower_is_better=True,
        ),
        Number(
            "tokens", "Response length", "tokens", "Mean number of tokens of the sampled responses.",
            lower_is_better=True,
        ),
    ),
    counts={
        "*_low, *_high, *_standard_error": "Bootstrap interval over prompts, and standard error.",
        "responses_without_token_dropped": "Sampled responses without a token, which have no log-probability.",
        "too_long_to_score_dropped": "Responses, greedy ones included, that the evaluation lacks, because its reward "
        "model could not score them. With them, the divergence would be larger.",
    },
    compare="with a divergence on other prompts, from another baseline, or with another maximum of tokens.",
)  # fmt: skip
