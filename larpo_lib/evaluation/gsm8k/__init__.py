"""GSM8K: school mathematics with a number as the answer."""

from larpo_lib.evaluation.benchmark import Benchmark

BENCHMARK = Benchmark("gsm8k", settings_class="Gsm8kConfig")
