"""MixEval (Ni et al. 2024, arXiv 2406.06565): questions of known benchmarks, free-form and multiple-choice.

The protocol is that of https://github.com/Psycoy/MixEval, which has no licence: the code here is our own, the prompts
and the rules of reading are facts of the protocol, without which scores could not be compared.
"""

from larpo_lib.evaluation.benchmark import Benchmark

BENCHMARK = Benchmark("mixeval", settings_class="MixEvalConfig")
