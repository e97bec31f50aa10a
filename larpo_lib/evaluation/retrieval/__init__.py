"""The policy as a retriever of responses, and retrievers of documents on the same axes."""

from larpo_lib.evaluation.benchmark import Benchmark

BENCHMARK = Benchmark("retrieval", settings_class="RetrievalConfig")
