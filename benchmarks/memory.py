"""Peak memory of one training step against TRL at a vocabulary of 262,144. Its last line is the result.

Each side runs in a process of its own. What is compared is the peak of the second step (forward, backward, optimiser)
over what is in memory before it: the weights and the optimiser's state, which both sides have alike.

`python -m benchmarks.memory --device cpu`
"""

import argparse

import torch

from benchmarks import ours, peer
from benchmarks.measure import MIB, StepMemory, in_child, report
from benchmarks.models import SIZES, random_policy
from benchmarks.train_step import NO_STEP
from benchmarks.workloads import TokenList, even_lists

BARS = {"peak_vs_trl": 1 / 3}
SIZE = SIZES["wide"]
PROMPT, RESPONSE, RESPONSES = 64, 512, 4
LOSS_TOKENS = RESPONSES * RESPONSE
VOCABULARIES = (32_768, 131_072, 262_144)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    device = parser.parse_args().device
    steps = {
        "ours": in_child(step_of_ours, device),
        "trl": in_child(step_of_trl, device, 2),
        "trl_one_pair_a_pass": in_child(step_of_trl, device, 1),
    }
    loss = {vocabulary: in_child(peak_of_loss, vocabulary, device) for vocabulary in VOCABULARIES}
    report(
        "memory",
        {
            "peak_vs_trl": round(steps["ours"]["step"] / steps["trl"]["step"], 3),
            "peak_vs_trl_one_pair_a_pass": round(steps["ours"]["step"] / steps["trl_one_pair_a_pass"]["step"], 3),
            "loss_peak_of_largest_vs_smallest_vocabulary": round(max(loss.values()) / min(loss.values()), 3),
        },
        BARS,
        peak_mib=steps,
        loss_peak_mib=loss,
        whole_logits_mib={vocabulary: LOSS_TOKENS * vocabulary * 4 / MIB for vocabulary in VOCABULARIES},
    )


def step_of_ours(device: str) -> dict[str, float]:
    """A list of four responses a step."""
    memory = StepMemory()
    ours.train(
        random_policy(SIZE, 0, device),
        SIZE,
        two_lists(),
        lists_per_step=1,
        pass_tokens=PROMPT + LOSS_TOKENS,  # a longer list would be computed again
        learning_rate=NO_STEP,
        callbacks=[memory],
    )
    return in_mib(memory)


def step_of_trl(device: str, pass_pairs: int) -> dict[str, float]:
    """The same four responses a step, as two pairs."""
    memory = StepMemory()
    pairs = [TokenList(item.prompt, item.responses[i : i + 2]) for item in two_lists() for i in (0, 2)]
    peer.train(
        random_policy(SIZE, 0, device),
        SIZE,
        pairs,
        pairs_per_step=2,
        pass_pairs=pass_pairs,
        learning_rate=NO_STEP,
        callbacks=[memory],
    )
    return in_mib(memory)


def peak_of_loss(vocabulary: int, device: str) -> float:
    """MiB of the log-probabilities of 2,048 tokens and their gradients, over weights and gradients that are there."""
    return ours.loss_peak(LOSS_TOKENS, SIZE.hidden, vocabulary, torch.device(device)) / MIB


def two_lists() -> list[TokenList]:
    """A list for the step that warms up, and one for the step that counts."""
    return even_lists(2, RESPONSES, prompt=PROMPT, response=RESPONSE, vocabulary=SIZE.vocabulary, seed=0)


def in_mib(memory: StepMemory) -> dict[str, float]:
    """What the step took, and the most that was in use in it: on a CPU of the whole process."""
    return {"step": round((memory.peak - memory.before) / MIB, 1), "whole": round(memory.peak / MIB, 1)}


if __name__ == "__main__":
    main()
