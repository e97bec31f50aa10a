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
    [("0 (and", 16, 0), ("1 |", 4, 12), ("2 |", 2, 14), ("2, `offload`", 2, 2), ("3 |", 0, 16)],
)
def test_bytes_a_gpu(name: str, whole: int, shared: int) -> None:
    expected = [f"{N * (whole + shared / gpus) / 1e9 + 1e-9:.1f}" for gpus in (8, 16, 32)]
    assert row(name)[2:] == expected


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
