"""Speed of a sequence classifier as a reranker, against one response at a time. Its last line is the result.

`python -m benchmarks.reranking --device cpu`

Ours: each distinct response once, in batches of like length and a budget of tokens. The other side: the same model, one
forward pass a response, in the order given, as the scripts published with the paper do.
"""

import argparse
import random
import statistics
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase

from benchmarks.measure import Seconds, alternate, report, timed
from benchmarks.models import SIZES, Size, save_classifier, words
from benchmarks.workloads import TokenList, natural_lists
from larpo_lib.config import ModelConfig
from larpo_lib.models.model_dir import ModelDir
from larpo_lib.rewards.answers import Scorable
from larpo_lib.rewards.rerankers.classifier import ClassifierConfig
from larpo_lib.rewards.rerankers.engines.classifier import ClassifierReranker

BARS = {"batched_vs_one": 1.5}
REPEATED = 0.1
"""Share of the responses that repeat another one to the same prompt."""
TOLERANCE = {"cpu": 1e-5, "cuda": 0.05}
"""Largest difference of a score between the sides; float32 on a CPU, bfloat16 on a GPU."""


def scorables(lists: Sequence[TokenList], seed: int) -> list[Scorable]:
    """Every response with its prompt as text; `REPEATED` of them are replaced by another one to the same prompt."""
    draw = random.Random(seed)
    items = []
    for number, item in enumerate(lists):
        prompt = [{"role": "user", "content": words(item.prompt)}]
        items += [
            Scorable(str(number), prompt, words(response[:-1])) for response in item.responses
        ]  # the template ends them
    size = len(lists[0].responses)
    for place in draw.sample([i for i in range(len(items)) if i % size], round(REPEATED * len(items))):
        items[place] = items[place - place % size]  # the first of its list, which is never replaced
    return items


@torch.inference_mode()
def one_by_one(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, items: Sequence[Scorable]) -> list[float]:
    """Score one response after another."""
    scores = []
    for item in items:
        conversation = [*item.messages, {"role": "assistant", "content": item.response}]
        text = tokenizer.apply_chat_template(conversation, tokenize=False)
        encoded = tokenizer(text, add_special_tokens=False, return_tensors="pt").to(model.device)
        scores.append(model(**encoded).logits[0, 0].float().item())
    return scores


def compare(size: Size, device: str, items: Sequence[Scorable], batch_tokens: int, rounds: int) -> dict[str, float]:
    """Median seconds of each side over `rounds` that alternate, after one that warms up and checks the scores."""
    with tempfile.TemporaryDirectory() as directory:
        save_classifier(size, 0, Path(directory))
        settings = ModelConfig(device=device)
        config = ClassifierConfig(path=directory, model=settings, batch_tokens=batch_tokens, max_tokens=8192)
        reranker = ClassifierReranker(config)
        model = ModelDir(Path(directory), settings).load(AutoModelForSequenceClassification)
        tokenizer = ModelDir(Path(directory), settings).tokenizer
    scores: dict[str, list[float]] = {}

    def check(side: str, score: Callable[[], list[float]], _number: int) -> Seconds:
        seconds, scores[side] = timed(score)
        furthest = max(abs(a - b) for one in scores.values() for a, b in zip(one, scores[side], strict=True))
        if furthest > TOLERANCE[device]:
            raise SystemExit(f"the sides disagree: scores differ by up to {furthest}")
        return seconds

    sides: dict[str, Any] = {
        "batched": lambda: reranker.score(items),
        "one": lambda: one_by_one(model, tokenizer, items),
    }
    seconds = alternate({side: partial(check, side, score) for side, score in sides.items()}, rounds)
    return {side: round(statistics.median(times), 3) for side, times in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--size", choices=[*SIZES], help="small on a CPU, 8b on a GPU")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--responses", type=int, default=4, help="of a prompt")
    parser.add_argument("--mean-response", type=int, help="tokens; 96 on a CPU, 370 on a GPU")
    parser.add_argument("--batch-tokens", type=int, help="of a batch of ours; 1024 on a CPU, 16384 on a GPU")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    on_cpu = given.device == "cpu"
    name = given.size or ("small" if on_cpu else "8b")
    size = SIZES[name]
    mean = given.mean_response or (96 if on_cpu else 370)
    batch_tokens = given.batch_tokens or (1024 if on_cpu else 16_384)
    lists = natural_lists(given.prompts, given.responses, mean_response=mean, vocabulary=size.vocabulary, seed=0)
    items = scorables(lists, 0)
    seconds = compare(size, given.device, items, batch_tokens, given.rounds)
    report(
        "reranking",
        {"batched_vs_one": round(seconds["one"] / seconds["batched"], 3)},
        BARS,
        seconds=seconds,
        size=name,
        responses={"all": len(items), "distinct": len({(item.prompt_id, item.response) for item in items})},
        mean_tokens=round(
            statistics.mean(len(item.messages[0]["content"].split()) + len(item.response.split()) for item in items)
        ),
        batch_tokens=batch_tokens,
        rounds=given.rounds,
    )


if __name__ == "__main__":
    main()
