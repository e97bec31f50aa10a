"""The sizes and the example of docs/kubernetes.md follow from what the page says they follow from."""

import re

import pytest
from built import ROOT

PAGE = (ROOT / "docs" / "kubernetes.md").read_text("utf-8")
N = 7.2e9


def row(start: str) -> list[str]:
    """The cells of the table's row that begins so."""
    (found,) = re.findall(rf"^\| {re.escape(start)}.*$", PAGE, re.MULTILINE)
    return [cell.strip() for cell in found.strip("|").split("|")]


@pytest.mark.parametrize(
    ("name", "whole", "shared"),
    [("no ZeRO", 20, 0), ("1 |", 4, 16), ("2 |", 2, 18), ("2, `offload`", 2, 0), ("3 |", 0, 18)],
)
def test_bytes_a_gpu(name: str, whole: int, shared: int) -> None:
    expected = [f"{N * (whole + shared / gpus) / 1e9 + 1e-9:.1f}" for gpus in (8, 16, 32)]
    assert row(name)[2:] == expected


def test_gpus_and_main_memory_are_as_deepspeed_estimates() -> None:
    zero2 = pytest.importorskip("deepspeed.runtime.zero.stage_1_and_2", reason="compares with DeepSpeed")
    zero3 = pytest.importorskip("deepspeed.runtime.zero.stage3", reason="compares with DeepSpeed")
    for column, machines in enumerate((1, 2, 4), start=2):
        _, second = zero2.estimate_zero2_model_states_mem_needs(N, 8, machines, cpu_offload=False)
        _, beside = zero2.estimate_zero2_model_states_mem_needs(N, 8, machines, cpu_offload=True)
        _, third, _ = zero3.estimate_zero3_model_states_mem_needs(
            N, 0, 8, machines, cpu_offload=False, cpu_offload_params=False
        )
        told = [row(name)[column] for name in ("2 |", "2, `offload`", "3 |")]
        assert told == [f"{size / 1e9 + 1e-9:.1f}" for size in (second, beside, third)]
    main, _ = zero2.estimate_zero2_model_states_mem_needs(N, 8, 1, cpu_offload=True)
    assert f"{main / 1e9:.1f} GB on a machine of 8 GPUs" in PAGE


def test_disks() -> None:
    policy, checkpoint = 2 * N / 1e9, 12 * N / 1e9
    assert [row("a policy")[-1], row("a checkpoint")[-1]] == [f"{policy:.1f}", f"{checkpoint:.1f}"]
    assert row("cache volume")[-1] == f"{5 * policy + 2 * checkpoint:.1f}"
    assert row("S3 for")[-1] == f"{3 * policy + 2 * checkpoint:.1f}"


def test_gpu_hours_of_the_example() -> None:
    speed = 989e12 * 0.4 * 3600
    assert row("training")[-1] == f"{20_000 * 2_500 * N * (2 + 8 * 2) / speed:.1f}"
    assert row("sampling | 2")[-1] == f"{20_000 * 10 * 500 / 2_500 / 3600:.1f}"
    assert row("reranking | t")[-1] == f"{2e8 * 2 * N / speed:.1f}"
