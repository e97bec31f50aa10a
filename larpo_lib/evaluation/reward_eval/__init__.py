"""Win rates of a policy against a baseline policy, with a reward model as the judge."""

from larpo_lib.evaluation.benchmark import Benchmark

BENCHMARK = Benchmark("reward_eval", settings_class="RewardEvalConfig")
