"""DPO against TRL's trainer, on the same pairs, once losses, gradients and reference log-probabilities agree."""

from benchmarks.gpu.parts import Bench
from benchmarks.models import SIZES
from benchmarks.train_step import Bench as Comparison


def run(bench: Bench, _peer: str) -> None:
    """Pairs, then lists of four against all their pairs; TRL at its best settings (`benchmarks.peer`)."""
    comparison = Comparison(
        size=SIZES["1b" if bench.on_gpu else "tiny"],
        device=bench.device,
        rounds=1,
        mean_response=370 if bench.on_gpu else 24,
        pass_tokens=8_192 if bench.on_gpu else 512,
        pass_pairs=8 if bench.on_gpu else 1,
    )
    for name, lists in {"16 pairs": comparison.lists(16, 2), "4 lists of 4": comparison.lists(4, 4)}.items():
        with bench.about(name):
            seconds = comparison.against_trl(lists)
            mfu = comparison.mfu(lists, seconds)
            for side, clocks in seconds.items():
                used = mfu[side]
                told = "" if used is None else f", MFU {100 * used:.1f} %"
                bench.tell(
                    f"{side}, training", clocks["train"], f"s (with reference {clocks['train_and_reference']} s{told})"
                )
            bench.tell(
                "training, TRL against ours", seconds["trl"]["train"] / seconds["ours"]["train"], "times as long"
            )
