"""Sampling and reranking, with the library's own samplers and rerankers."""

import statistics
import tempfile
from contextlib import closing
from pathlib import Path

from benchmarks import reranking, sampling
from benchmarks.gpu.parts import Bench
from benchmarks.measure import timed
from benchmarks.models import SIZES
from benchmarks.workloads import natural_lists
from larpo_lib.config import ModelConfig
from larpo_lib.samplers import SamplingLimits, make_sampler
from larpo_lib.samplers.hf import HfSamplerConfig


def run(bench: Bench, what: str) -> None:
    """One of the three."""
    {"sampling": sample, "reranking": rerank, "vllm": against_vllm}[what](bench)


def sample(bench: Bench) -> None:
    """Tokens/s of `hf`, by its batch size; no response ends before its last token."""
    size = SIZES["1b" if bench.on_gpu else "tiny"]
    with tempfile.TemporaryDirectory() as folder:
        policy = Path(folder) / "policy"
        sampling.write_endless_policy(policy, size, bench.device)
        limits = SamplingLimits(sampling.LONG, sampling.NEW_TOKENS, 1.0)
        for batch_size in (64, 256) if bench.on_gpu else (64,):
            config = HfSamplerConfig(model=ModelConfig(device=bench.device), batch_size=batch_size)
            with closing(make_sampler(config, policy, limits)) as sampler:
                for workload in sampling.LENGTHS if bench.on_gpu else ("short",):
                    requests = sampling.make_requests(size.vocabulary, workload)[: 512 if bench.on_gpu else 64]
                    sampler.sample(requests[:8])
                    seconds, found = timed(lambda requests=requests: sampler.sample(requests))  # type: ignore[misc]
                    tokens = sum(response.num_tokens or 0 for response in found)
                    whole = tokens == len(requests) * sampling.NEW_TOKENS
                    bench.tell(
                        f"{workload} prompts, batches of {min(batch_size, len(requests))}",
                        tokens / seconds,
                        "tokens/s",
                        ok=whole,
                    )


def rerank(bench: Bench) -> None:
    """Scores must agree; `benchmarks.reranking` has the two sides."""
    size = SIZES["1b" if bench.on_gpu else "tiny"]
    lists = natural_lists(
        32 if bench.on_gpu else 4, 4, mean_response=370 if bench.on_gpu else 24, vocabulary=size.vocabulary, seed=0
    )
    items = reranking.scorables(lists, 0)
    seconds = reranking.compare(size, bench.device, items, 16_384 if bench.on_gpu else 1_024, 1)
    for side, taken in seconds.items():
        bench.tell(f"{side}: {len(items)} responses", taken, "s")
    bench.tell("one at a time against batched", seconds["one"] / seconds["batched"], "times as long")


def against_vllm(bench: Bench) -> None:
    """The comparison of `benchmarks.sampling`, one round."""
    found = sampling.compare(SIZES["1b" if bench.on_gpu else "small"], bench.device, 1)
    for workload, sides in found.items():
        tokens = sampling.PROMPTS[workload] * sampling.RESPONSES * sampling.NEW_TOKENS
        for side, times in sides.items():
            bench.tell(f"{workload} prompts, {side}", tokens / statistics.median(times), "tokens/s")
