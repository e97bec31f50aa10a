"""AlpacaEval 2: a judge prefers the policy's answer to an instruction, or the reference's."""

from larpo_lib.evaluation.benchmark import Benchmark

BENCHMARK = Benchmark("alpaca_eval", settings_class="AlpacaEvalConfig")
