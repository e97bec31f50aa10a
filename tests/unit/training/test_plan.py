from itertools import product

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from larpo_lib.training.plan import plan_steps, rank_micro_batches

counts = st.integers(1, 40)
batch_sizes = st.integers(1, 12)
seeds = st.integers(0, 2**31 - 1)


def _plan(count, batch_size, *, epochs=1, max_steps=None, seed=0):
    return plan_steps(count, batch_size=batch_size, epochs=epochs, max_steps=max_steps, seed=seed)


@given(counts, batch_sizes, st.integers(1, 4), seeds)
def test_every_list_is_trained_on_once_an_epoch(count, batch_size, epochs, seed):
    steps = _plan(count, batch_size, epochs=epochs, seed=seed)
    order = [i for step in steps for i in step]
    assert len(order) == count * epochs
    for epoch in range(epochs):
        assert sorted(order[epoch * count : (epoch + 1) * count]) == list(range(count))


def test_the_last_step_of_an_epoch_has_what_is_left():
    assert [len(step) for step in _plan(10, 4, epochs=2)] == [4, 4, 2, 4, 4, 2]
    assert [len(step) for step in _plan(8, 4)] == [4, 4]
    assert [len(step) for step in _plan(3, 128)] == [3]


@given(counts, batch_sizes, st.integers(1, 30), st.integers(0, 30), seeds)
def test_a_number_of_steps_is_kept_and_only_cuts_the_plan_off(count, batch_size, fewer, more, seed):
    short = _plan(count, batch_size, epochs=3, max_steps=fewer, seed=seed)
    assert len(short) == fewer
    assert short == _plan(count, batch_size, max_steps=fewer + more, seed=seed)[:fewer]


def test_seeds_and_epochs_have_orders_of_their_own():
    first, again, other = (_plan(50, 50, epochs=2, seed=seed) for seed in (0, 0, 1))
    assert first == again
    orders = [*first, *other, list(range(50))]
    assert len({tuple(order) for order in orders}) == 5


def _rows_of_the_longest(sizes):
    """What padded rows cost."""
    return lambda indices: len(indices) * max((sizes[i] for i in indices), default=0)


def _blocks_of_eight(sizes):
    """What one row that is rounded up costs."""
    return lambda indices: -(-sum(sizes[i] for i in indices) // 8) * 8


sized = st.lists(st.integers(1, 30), min_size=1, max_size=25)
costs = st.sampled_from([_rows_of_the_longest, _blocks_of_eight])


@given(sized, costs, st.integers(1, 5), st.integers(1, 100))
def test_every_list_is_dealt_out_once_in_passes_within_the_budget(sizes, cost_of, processes, budget):
    cost = cost_of(sizes)
    batch = range(0, len(sizes), 2)  # a step's lists are some of all
    rank_batches = rank_micro_batches(batch, cost, processes, budget)
    assert len(rank_batches) == processes
    assert sorted(i for rank_batch in rank_batches for cut in rank_batch for i in cut) == list(batch)
    assert len({len(rank_batch) for rank_batch in rank_batches}) == 1
    assert all(cost(cut) <= budget for rank_batch in rank_batches for cut in rank_batch if len(cut) > 1)


@given(sized, costs, st.integers(1, 5), st.integers(1, 100))
def test_passes_are_empty_only_where_there_are_too_few_lists(sizes, cost_of, processes, budget):
    for rank_batch in rank_micro_batches(range(len(sizes)), cost_of(sizes), processes, budget):
        lists = sum(len(cut) for cut in rank_batch)
        assert sum(not cut for cut in rank_batch) == max(0, len(rank_batch) - lists)


@given(sized, st.integers(1, 5))
def test_no_process_gets_much_more_than_the_others(sizes, processes):
    loads = _loads(rank_micro_batches(range(len(sizes)), _rows_of_the_longest(sizes), processes, 10**9), sizes)
    assert max(loads) <= sum(sizes) / processes + max(sizes)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=6), st.integers(1, 3))
def test_the_largest_share_is_near_the_best_possible(sizes, processes):
    """Graham's bound for longest-processing-time-first (1969), against all ways to deal them out."""
    loads = _loads(rank_micro_batches(range(len(sizes)), _rows_of_the_longest(sizes), processes, 10**9), sizes)
    best = min(
        max(sum(size for size, owner in zip(sizes, way, strict=True) if owner == process) for process in way)
        for way in product(range(processes), repeat=len(sizes))
    )
    assert max(loads) <= best * (4 / 3 - 1 / (3 * processes)) + 1e-9


def _loads(rank_batches, sizes):
    return [sum(sizes[i] for cut in rank_batch for i in cut) for rank_batch in rank_batches]


@given(sized, st.integers(1, 100))
def test_one_process_makes_no_more_passes_than_first_come_first_served(sizes, budget):
    """Lists of like length in a pass waste less on padding than lists as they come."""
    assume(max(sizes) <= budget)
    (rank_batch,) = rank_micro_batches(range(len(sizes)), _rows_of_the_longest(sizes), 1, budget)
    as_they_come = [[0]]
    for i in range(1, len(sizes)):
        if _rows_of_the_longest(sizes)([*as_they_come[-1], i]) <= budget:
            as_they_come[-1].append(i)
        else:
            as_they_come.append([i])
    assert len(rank_batch) <= len(as_they_come)


@pytest.mark.parametrize(
    ("sizes", "processes", "budget", "expected"),
    [
        ([9, 3, 20, 7, 4], 1, 20, [[[2], [0, 3], [4, 1]]]),
        ([9, 3, 20, 7, 4], 1, 10**9, [[[2, 0, 3, 4, 1]]]),
        ([9, 3, 20, 7, 4], 2, 10**9, [[[2, 1]], [[0, 3, 4]]]),
        ([9, 3, 20, 7, 4], 2, 20, [[[2], [1]], [[0, 3], [4]]]),
        ([16, 9, 8, 7], 2, 18, [[[0], [3]], [[1], [2]]]),  # 9 and 8 would fit together: halved to keep step
        ([16, 2, 1], 2, 1, [[[0], []], [[1], [2]]]),
        ([5], 3, 1, [[[0]], [[]], [[]]]),
    ],
)
def test_lists_of_these_lengths_are_dealt_out_like_this(sizes, processes, budget, expected):
    assert rank_micro_batches(range(len(sizes)), _rows_of_the_longest(sizes), processes, budget) == expected
