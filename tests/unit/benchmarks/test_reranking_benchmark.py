"""Both sides score the same responses, a tenth of them repeated, by the same model."""

import pytest

from benchmarks.models import SIZES
from benchmarks.reranking import compare, scorables
from benchmarks.workloads import natural_lists


def test_a_tenth_of_the_responses_is_repeated() -> None:
    items = scorables(natural_lists(10, 5, mean_response=12, vocabulary=60, seed=0), 0)
    assert len(items) == 50
    assert len({(item.prompt_id, item.response) for item in items}) == 45
    assert [item.prompt_id for item in items] == [str(i) for i in range(10) for _ in range(5)]


def test_the_sides_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    items = scorables(natural_lists(2, 3, mean_response=8, vocabulary=60, seed=0), 0)
    seconds = compare(SIZES["tiny"], "cpu", items, 64, 1)
    assert set(seconds) == {"batched", "one"}
    monkeypatch.setattr("benchmarks.reranking.one_by_one", lambda *_: [9.0] * len(items))
    with pytest.raises(SystemExit, match="the sides disagree"):
        compare(SIZES["tiny"], "cpu", items, 64, 1)
