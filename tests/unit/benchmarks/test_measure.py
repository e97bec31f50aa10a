"""The gauges see what they are to measure."""

from dataclasses import replace

import torch

from benchmarks.measure import MIB, Run, alternate, medians, peak_memory, reset_peak

CPU = torch.device("cpu")
RUN = Run(1.0, 0.5, 3.0, 1, 0.7, [0.8], [[-1.0, -2.0]])


def test_memory_that_is_freed_again_is_in_the_peak() -> None:
    before = reset_peak(CPU)
    for _ in range(2):  # one after the other: together they would be 128 MiB
        held = torch.ones(64 * MIB // 4)
        del held
    assert 60 * MIB < peak_memory(CPU) - before < 100 * MIB


def test_memory_from_before_is_not() -> None:
    freed = torch.ones(64 * MIB // 4)
    del freed
    held = torch.ones(16 * MIB // 4)
    before = reset_peak(CPU)
    assert peak_memory(CPU) - before < 8 * MIB
    assert held[0] == 1


def test_sides_take_turns_and_the_first_round_is_not_counted() -> None:
    called: list[tuple[str, int]] = []

    def side(name: str, seconds: float) -> object:
        def run(seed: int) -> Run:
            called.append((name, seed))
            return replace(RUN, train_seconds=seconds * (10 if seed == 0 else seed))

        return run

    runs = alternate({"ours": side("ours", 1.0), "trl": side("trl", 2.0)}, 3)
    assert called == [
        *[("trl", 0), ("ours", 0)],
        *[("ours", 1), ("trl", 1)],
        *[("trl", 2), ("ours", 2)],
        *[("ours", 3), ("trl", 3)],
    ]
    assert medians(runs) == {
        "ours": {"train": 2.0, "train_and_reference": 2.5, "cpu": 3.0},
        "trl": {"train": 4.0, "train_and_reference": 4.5, "cpu": 3.0},
    }
