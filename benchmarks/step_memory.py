"""Peak memory of a training step of 135 million parameters on a CPU, by the length of its list; the last line says it.

`python -m benchmarks.step_memory --tokens 1000 2000`

Random weights in SmolLM2-135M's shape, one list of four responses a step, `micro_batch_tokens` = 1024. A longer list is
computed again in the backward pass (`computed_again`), against `kept`, as before larpo did so. Each measurement has a
process of its own; its peak is of the second step, and of the whole process: Python, libraries, weights, optimiser.
"""

import argparse

import torch

from benchmarks import ours
from benchmarks.gpu.shapes import SMOL, make
from benchmarks.measure import MIB, StepMemory, in_child, report
from benchmarks.models import Size
from benchmarks.train_step import NO_STEP
from benchmarks.workloads import even_lists

VOCABULARY, HIDDEN, LAYERS, HEADS, KEY_VALUE_HEADS, INTERMEDIATE = 49_152, 576, 30, 9, 3, 1_536
SIZE = Size(VOCABULARY, HIDDEN, LAYERS, HEADS, KEY_VALUE_HEADS, INTERMEDIATE)
PROMPT, RESPONSES, PASS_TOKENS = 200, 4, 1_024


def peak(tokens: int, dtype: str, computed_again: bool, threads: int) -> float:
    """MiB of this process at most in a step on a list of about so many tokens."""
    torch.set_num_threads(threads)
    memory = StepMemory()
    policy = make(SMOL, "cpu", dtype=torch.float32)
    type(policy).supports_gradient_checkpointing = computed_again
    response = (tokens - PROMPT) // RESPONSES
    ours.train(
        policy,
        SIZE,
        even_lists(2, RESPONSES, prompt=PROMPT, response=response, vocabulary=VOCABULARY, seed=0),
        lists_per_step=1,
        pass_tokens=PASS_TOKENS,
        learning_rate=NO_STEP,
        callbacks=[memory],
        dtype=dtype,
    )
    return round(memory.peak / MIB)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, nargs="+", default=[1_000, 2_000], help="of a list")
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16", help="of the passes")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args()
    peaks: dict[str, dict[str, float]] = {}
    for tokens in given.tokens:
        sides = {"kept": False, "computed_again": True}
        peaks[str(tokens)] = {
            name: in_child(peak, tokens, given.dtype, again, given.threads) for name, again in sides.items()
        }
        print(f"{tokens} tokens: {peaks[str(tokens)]}", flush=True)
    longest = peaks[str(max(given.tokens))]
    ratio = round(longest["computed_again"] / longest["kept"], 3)
    report("step_memory", {"computed_again_vs_kept": ratio}, {}, peak_mib=peaks, dtype=given.dtype)


if __name__ == "__main__":
    main()
