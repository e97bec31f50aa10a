"""How a reward model orders lists that are ranked already."""

from larpo_lib.evaluation.benchmark import Benchmark

BENCHMARK = Benchmark("score_reward_model", settings_class="ScoreRewardModelConfig")
