"""Speed of an epoch of training against TRL, and with shared prompts against without. Its last line is the result.

`python -m benchmarks.train_step --device cpu`
"""

import argparse
from dataclasses import dataclass

import torch

from benchmarks import ours, peer
from benchmarks.agreement import BFLOAT16, FLOAT32, check_agreement
from benchmarks.measure import Run, alternate, medians, report
from benchmarks.models import SIZES, Size, random_policy
from benchmarks.workloads import TokenList, even_lists, natural_lists, pairs_of, sequence_tokens, unique_tokens

BARS = {
    "pairs_vs_trl": 1.15,
    "pairs_vs_trl_with_reference": 1.3,
    "lambdarank4_vs_trl_pairs": 3.5,
    "shared_vs_unshared": 1.8,
}
NO_STEP = 1e-9
"""A learning rate that leaves the weights as they are, so that every loss of the epoch is that of the first step."""
STEPS = 4
"""Optimiser steps an epoch."""

Medians = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Bench:
    """What is trained, and where.

    Attributes:
        mean_response: tokens, for the lists of natural lengths.
        pass_tokens: tokens of a forward pass on our side, where it has more than one list.
        pass_pairs: pairs of a forward pass on TRL's, at most; a step's pairs are divided evenly.
    """

    size: Size
    device: str
    rounds: int
    mean_response: int
    pass_tokens: int
    pass_pairs: int

    def lists(self, count: int, responses: int) -> list[TokenList]:
        """Lists with the lengths of real ones."""
        return natural_lists(
            count, responses, mean_response=self.mean_response, vocabulary=self.size.vocabulary, seed=0
        )

    def ours(self, lists: list[TokenList], seed: int, layout: ours.LayoutName = "chosen", steps: int = STEPS) -> Run:
        """An epoch on our side."""
        return ours.train(
            random_policy(self.size, seed, self.device),
            self.size,
            lists,
            lists_per_step=len(lists) // steps,
            pass_tokens=self.pass_tokens,
            learning_rate=NO_STEP,
            layout=layout,
        )

    def trl(self, pairs: list[TokenList], seed: int, steps: int = STEPS) -> Run:
        """An epoch on TRL's side."""
        per_step = len(pairs) // steps
        return peer.train(
            random_policy(self.size, seed, self.device),
            self.size,
            pairs,
            pairs_per_step=per_step,
            pass_pairs=max(count for count in range(1, self.pass_pairs + 1) if per_step % count == 0),
            learning_rate=NO_STEP,
            logging_steps=1,  # as on our side
        )

    def against_trl(self, lists: list[TokenList]) -> Medians:
        """Lists on our side against every pair of each on TRL's, once it is known that both do the same work."""
        pairs = pairs_of(lists)
        tolerance = FLOAT32 if self.device == "cpu" else BFLOAT16
        few = lists[: len(lists) // STEPS]
        check_agreement(self.ours(few, 0, steps=1), self.trl(pairs_of(few), 0, steps=1), tolerance)
        runs = alternate(
            {"ours": lambda seed: self.ours(lists, seed), "trl": lambda seed: self.trl(pairs, seed)}, self.rounds
        )
        for own, theirs in zip(runs["ours"], runs["trl"], strict=True):
            check_agreement(own, theirs, tolerance)
        return medians(runs)

    def mfu(self, lists: list[TokenList], seconds: Medians) -> dict[str, float | None]:
        """Of each side, by the same count: what the lists take where every prompt is worked on once."""
        shape = random_policy(self.size, 0, "meta")
        return {side: ours.utilisation(shape, lists, clocks["train"], self.device) for side, clocks in seconds.items()}

    def sharing(self, lists: list[TokenList]) -> Medians:
        """The same lists with their prompts shared and not."""
        return medians(
            alternate(
                {
                    "shared": lambda seed: self.ours(lists, seed),
                    "unshared": lambda seed: self.ours(lists, seed, layout="padded"),
                },
                self.rounds,
            )
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--size", choices=[*SIZES], help="small on a CPU, 1b on a GPU")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--pairs", type=int, default=32, help="of the first comparison; there are a quarter as many lists"
    )
    parser.add_argument("--mean-response", type=int, help="tokens; 96 on a CPU, 370 on a GPU")
    parser.add_argument("--pass-tokens", type=int, help="tokens a forward pass of ours; 512 on a CPU, 16384 on a GPU")
    parser.add_argument("--pass-pairs", type=int, help="most pairs a forward pass of TRL's; 1 on a CPU, 8 on a GPU")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    on_cpu = given.device == "cpu"
    bench = Bench(
        size=SIZES[given.size or ("small" if on_cpu else "1b")],
        device=given.device,
        rounds=given.rounds,
        mean_response=given.mean_response or (96 if on_cpu else 370),
        pass_tokens=given.pass_tokens or (512 if on_cpu else 16_384),
        pass_pairs=given.pass_pairs or (1 if on_cpu else 8),
    )
    half = bench.mean_response * 2 // 3
    workloads = {
        "pairs": bench.lists(given.pairs, 2),
        "lambdarank4": bench.lists(given.pairs // 4, 4),
        "sharing": even_lists(
            given.pairs // 4, 8, prompt=2 * half, response=half, vocabulary=bench.size.vocabulary, seed=0
        ),
    }
    seconds = {
        "pairs": bench.against_trl(workloads["pairs"]),
        "lambdarank4": bench.against_trl(workloads["lambdarank4"]),
        "sharing": bench.sharing(workloads["sharing"]),
    }
    report(
        "train_step",
        ratios(seconds, "train", "train_and_reference"),
        BARS,
        cpu_ratios=ratios(seconds, "cpu", "cpu"),
        seconds=seconds,
        tokens={
            name: {"sequences": sequence_tokens(lists), "unique": unique_tokens(lists)}
            for name, lists in workloads.items()
        },
        mfu={name: bench.mfu(lists, seconds[name]) for name, lists in workloads.items()},
        rounds=bench.rounds,
    )


def ratios(seconds: dict[str, Medians], clock: str, clock_with_reference: str) -> dict[str, float]:
    """How many times faster our side is by a clock."""

    def faster(workload: str, slow: str, fast: str, by: str) -> float:
        return round(seconds[workload][slow][by] / seconds[workload][fast][by], 3)

    return {
        "pairs_vs_trl": faster("pairs", "trl", "ours", clock),
        "pairs_vs_trl_with_reference": faster("pairs", "trl", "ours", clock_with_reference),
        "lambdarank4_vs_trl_pairs": faster("lambdarank4", "trl", "ours", clock),
        "shared_vs_unshared": faster("sharing", "unshared", "shared", clock),
    }


if __name__ == "__main__":
    main()
