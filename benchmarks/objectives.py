"""Time of every objective beside the forward and backward pass it belongs to. Its last line is the result.

`python -m benchmarks.objectives --threads 1`

A step is 128 lists of 16 responses. An objective is called once for each forward pass, so its time in a step is that of
so many calls, loss and gradient.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from benchmarks.measure import report
from benchmarks.models import SIZES, random_policy
from benchmarks.workloads import PAD_ID, natural_lists
from larpo_lib.config import ObjectiveConfig
from larpo_lib.models.layout import choose_layout
from larpo_lib.models.scoring import attach_scorer
from larpo_lib.objectives import ListBatch

LISTS, RESPONSES = 128, 16
BARS = {"most_of_a_step": 0.01}


def median_seconds(work: Callable[[], None], rounds: int) -> float:
    """The median time of some rounds, after one that is not counted."""
    times = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def pass_seconds(size: str, lists: int, mean_response: int, rounds: int) -> float:
    """Forward and backward of one pass over some lists."""
    policy = random_policy(SIZES[size], 0, "cpu")
    attach_scorer(policy, None)
    made = natural_lists(LISTS, RESPONSES, mean_response=mean_response, vocabulary=SIZES[size].vocabulary, seed=0)
    typical = sorted(made, key=lambda item: len(item.prompt) + sum(map(len, item.responses)))
    middle = LISTS // 2 - lists // 2
    tokens = [(item.prompt, item.responses) for item in typical[middle : middle + lists]]
    rows = choose_layout(policy, tokens, PAD_ID)(tokens)

    def work() -> None:
        policy(**rows).sum().backward()

    return median_seconds(work, rounds)


def objective_seconds(name: str, lists: int, rounds: int) -> float:
    """Loss and gradient of one call with some lists."""
    random = torch.Generator().manual_seed(0)
    shape = (lists, RESPONSES)
    logps = (-100 + 10 * torch.randn(shape, generator=random)).requires_grad_()
    batch = ListBatch(
        policy_logps=logps,
        reference_logps=-100 + 10 * torch.randn(shape, generator=random),
        lengths=torch.randint(20, 200, shape, generator=random),
        rewards=torch.rand(shape, generator=random, dtype=torch.float64).sort(dim=1, descending=True).values,
        mask=torch.ones(shape, dtype=torch.bool),
        kl_baseline=torch.tensor(0.1),
    )
    loss = ObjectiveConfig.entries()[name]().make()

    def work() -> None:
        loss(batch).sum().backward()

    return median_seconds(work, 10 * rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=list(SIZES), default="small")
    parser.add_argument(
        "--mean-response", type=int, default=92, help="tokens; those of AlpacaEval are four times as long"
    )
    parser.add_argument("--lists-per-pass", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    lists = given.lists_per_pass
    passed = pass_seconds(given.size, lists, given.mean_response, given.rounds)
    print(f"a pass over {lists} lists: {passed:.3f} s")
    ratios = {}
    for name in sorted(set(ObjectiveConfig.entries()) - {"function"}):
        ratios[name] = round(objective_seconds(name, lists, given.rounds) / passed, 6)
        print(f"{name}: {100 * ratios[name]:.3f} %")
    report(
        "objectives",
        {"most_of_a_step": max(ratios.values()), **ratios},
        BARS,
        size=given.size,
        seconds_of_a_step=round(passed * LISTS / lists, 1),
        lists_per_pass=lists,
        responses=RESPONSES,
        mean_response=given.mean_response,
        packages=("torch", "transformers"),
    )


if __name__ == "__main__":
    main()
