"""Several rows of pairs with one prompt: nothing is ordered that they do not order, beside networkx's closure."""

from collections import Counter
from itertools import permutations

import networkx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from raw_rows import UNTOUCHED, USUAL, raw

from larpo_lib.sources.conversion import ranked
from larpo_lib.sources.merging import Scored, stated_orders

Pairs = list[tuple[str, str]]


def rows_of(pairs: Pairs) -> list[list[Scored]]:
    return [[Scored(better, 1.0, "x"), Scored(worse, 0.0, "x")] for better, worse in pairs]


def merged(pairs: Pairs) -> tuple[dict[str, float], dict[str, int]]:
    found = stated_orders(rows_of(pairs))
    counts = {name.removesuffix("_dropped"): count for name, count in found.counts.items() if count}
    return {one.response: one.reward for one in found.candidates}, counts


@pytest.mark.parametrize(
    ("pairs", "rewards", "counts"),
    [
        (["ab"], {"a": 1, "b": 0}, {}),
        (["ab", "ab"], {"a": 1, "b": 0}, {}),
        (["ab", "ac", "ad"], {"a": 1, "b": 0, "c": 0, "d": 0}, {}),
        (["ac", "bc"], {"a": 1, "c": 0, "b": 1}, {}),
        (["ab", "bc"], {"a": 2, "b": 1, "c": 0}, {}),
        (["ab", "ac", "bc"], {"a": 2, "b": 1, "c": 0}, {}),
        (["ac", "ad", "bc", "bd"], {"a": 1, "c": 0, "d": 0, "b": 1}, {}),
        # of a and d, b and c nobody says anything
        (["ab", "cd"], {"a": 1, "b": 0}, {"incomparable_pairs": 1, "incomparable_responses": 2}),
        (["ab", "ac", "bd"], {"a": 1, "b": 0, "c": 0}, {"incomparable_pairs": 1, "incomparable_responses": 1}),
        (["ab", "cd", "ce"], {"c": 1, "d": 0, "e": 0}, {"incomparable_pairs": 1, "incomparable_responses": 2}),
        (["ab", "ba"], {"a": 1, "b": 0}, {"contradicting_pairs": 1}),
        (["aa", "ab"], {"a": 1, "b": 0}, {"contradicting_pairs": 1}),
        (["aa"], {"a": 0}, {"contradicting_pairs": 1}),
        (["ab", "bc", "ca"], {"a": 1, "b": 0}, {"incomparable_pairs": 2, "incomparable_responses": 1}),
    ],
)
def test_orders_by_hand(pairs: list[str], rewards: dict[str, float], counts: dict[str, int]) -> None:
    assert merged([(better, worse) for better, worse in pairs]) == (rewards, counts)


@given(st.lists(st.permutations("abcde").map(lambda some: (some[0], some[1])), min_size=1, max_size=9))
def test_a_list_orders_what_follows_from_its_pairs_and_nothing_else(pairs: Pairs) -> None:
    """Of what is kept, the pairs' transitive closure is the rewards' order; a whole weak order is always kept."""
    rewards, counts = merged(pairs)
    kept: Pairs = []
    for pair in pairs:
        if pair[::-1] not in kept:
            kept.append(pair)
    if counts.get("incomparable_pairs"):
        chosen = Counter(better for better, _ in dict.fromkeys(kept))
        kept = [pair for pair in kept if pair[0] == max(chosen, key=chosen.__getitem__)]
    closure = networkx.transitive_closure(networkx.DiGraph(kept))
    assert {*closure.nodes} == {*rewards}
    assert {*closure.edges} == {(a, b) for a, b in permutations(rewards, 2) if rewards[a] > rewards[b]}


@given(st.lists(st.integers(0, 3), min_size=2, max_size=6), st.randoms())
def test_all_pairs_of_a_list_are_the_list_again(rewards: list[int], draw: object) -> None:
    names = "abcdef"[: len(rewards)]
    given = dict(zip(names, rewards, strict=True))
    pairs = [(a, b) for a, b in permutations(names, 2) if given[a] > given[b]]
    draw.shuffle(pairs)  # type: ignore[attr-defined]
    levels = sorted({*rewards})
    expected = {name: float(levels.index(given[name])) for name in names} if len(levels) > 1 else {}
    assert merged(pairs) == (expected, {})


def test_a_prepared_source_counts_what_it_leaves_out() -> None:
    """Two pairs of one prompt that nobody compares with each other, one of them twice; and a whole order."""
    rows = [("q", "good", "fine"), ("q", "bad", "awful"), ("q", "bad", "awful"), ("r", "1", "2"), ("r", "2", "3")]
    converted = ranked(raw(*({"prompt": q, "chosen": c, "rejected": r} for q, c, r in rows)), USUAL)
    found = [(row["response"], row["reward"], row["rank"]) for row in converted.tables["ranked"]]
    assert found == [("good", 1, 1), ("fine", 0, 2), ("1", 2, 1), ("2", 1, 2), ("3", 0, 3)]
    assert converted.counts == UNTOUCHED | {
        "rows_read": 5,
        "duplicates_dropped": 3,  # bad, awful and 2
        "reference_conflicts": 0,
        "contradicting_pairs_dropped": 0,
        "incomparable_pairs_dropped": 1,
        "incomparable_responses_dropped": 2,
    }
