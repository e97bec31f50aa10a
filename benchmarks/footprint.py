"""Peak memory of sampling, reranking and list building against the number of prompts. Its last line is the result.

`python -m benchmarks.footprint --prompts 1000 5000 --source FILE`

Every step runs in a process of its own, as the commands do; its peak is the most memory that the process ever held.
"""

import argparse
import json
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure import MIB, in_child, peak_memory, report
from benchmarks.models import SIZES, save_byte_models
from benchmarks.workloads import natural_lists
from larpo_lib.config import ListsConfig, ModelConfig, PrepareConfig, RerankConfig, SampleConfig
from larpo_lib.rewards.rerankers.classifier import ClassifierConfig
from larpo_lib.samplers.hf import HfSamplerConfig
from larpo_lib.steps import build_lists, prepare, rerank, sample

BARS = {"most_vs_fewest_prompts": 1.1}
K, NEW_TOKENS = 4, 16


def measured(step: Callable[..., Any], arguments: dict[str, Any], threads: int) -> float:
    """Peak of this process in MiB once the step is done."""
    torch.set_num_threads(threads)
    step(**arguments)
    return peak_memory(torch.device("cpu")) / MIB


def steps(here: Path, count: int, source: str | None, threads: int) -> dict[str, float]:
    """Peak of each step over `count` prompts, in MiB."""
    paths = {name: here / name for name in ("policy", "classifier", "prompts", "candidates", "ranked", "lists")}
    save_byte_models(SIZES["tiny"], 0, paths["policy"], paths["classifier"])
    model = ModelConfig(device="cpu")
    sampling = SampleConfig(
        sampler=HfSamplerConfig(batch_size=128, model=model), k=K, max_new_tokens=NEW_TOKENS, max_prompt_tokens=512
    )
    scoring = RerankConfig(reranker=ClassifierConfig(path=str(paths["classifier"]), model=model, batch_tokens=4096))
    preparing = PrepareConfig(source=source or str(made_up(here / "prompts.jsonl", count)), limit=count)
    prompts, candidates, ranked = paths["prompts"], paths["candidates"], paths["ranked"]
    prepare.run(preparing, prompts=prompts)
    calls: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
        "sample": (
            sample.run,
            {"config": sampling, "policy": paths["policy"], "prompts": prompts, "candidates": candidates},
        ),
        "rerank": (rerank.run, {"config": scoring, "prompts": prompts, "candidates": [candidates], "ranked": ranked}),
        "build_lists": (
            build_lists.run,
            {"config": ListsConfig(), "prompts": prompts, "ranked": [ranked], "lists": paths["lists"]},
        ),
    }
    return {name: round(in_child(measured, step, given, threads), 1) for name, (step, given) in calls.items()}


def made_up(path: Path, count: int) -> Path:
    """Prompts of letters, as long as UltraFeedback's are in characters (see `workloads`)."""
    draw = random.Random(0)
    rows = []
    for item in natural_lists(count, 1, mean_response=1564, vocabulary=28, seed=0):
        text = "".join(chr(ord("a") + token - 2) for token in item.prompt)
        rows.append(json.dumps({"prompt": f"{draw.random()} {text}"}))
    path.write_text("\n".join(rows), "utf-8")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, nargs="+", default=[1000, 5000])
    parser.add_argument("--source", help="prompts to take; made up at UltraFeedback's lengths if not given")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args()
    peaks: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as directory:
        for count in given.prompts:
            here = Path(directory) / str(count)
            here.mkdir()
            peaks[str(count)] = steps(here, count, given.source, given.threads)
            print(f"{count} prompts: {peaks[str(count)]}")
    fewest, most = str(min(given.prompts)), str(max(given.prompts))
    ratios = {step: round(peaks[most][step] / peaks[fewest][step], 3) for step in peaks[most]}
    report(
        "footprint",
        {"most_vs_fewest_prompts": max(ratios.values()), **ratios},
        BARS,
        peak_mib=peaks,
        responses_a_prompt=K,
        new_tokens=NEW_TOKENS,
    )


if __name__ == "__main__":
    main()
