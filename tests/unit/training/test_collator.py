import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from our_objectives import OURS

from larpo_lib.models.layout import padded_layout
from larpo_lib.training.collator import Collator, OptimizerSteps, TrainingList, list_batch
from larpo_lib.training.encode import EncodedList
from larpo_lib.training.ranks import Ranks

PAIR = TrainingList(EncodedList("a", [5, 6], [[7], [8, 9, 10]], [1.0, -2.0]), [-1.5, -2.5], [11, 12], -3.5)
TRIPLE = TrainingList(EncodedList("b", [13], [[14, 15], [16], [17]], [3.0, 2.0, 2.0]), [-4.0, -5.0, -6.0], [7], -0.5)


def test_list_fields_stand_in_their_places():
    fields = Collator(padded_layout(0), 0)([PAIR, TRIPLE])["lists"]
    assert fields["mask"].tolist() == [[True, True, False], [True, True, True]]
    assert fields["reference_logps"].tolist() == [[-1.5, -2.5, 0.0], [-4.0, -5.0, -6.0]]
    assert fields["lengths"].tolist() == [[1, 3, 0], [2, 1, 1]]
    assert fields["rewards"].tolist() == [[1.0, -2.0, 0.0], [3.0, 2.0, 2.0]]


def _loss(objective, rewards):
    item = TrainingList(replace(PAIR.encoded, rewards=rewards), PAIR.reference_logps)
    fields = Collator(padded_layout(0), 0)([item])["lists"]
    loss = OURS[objective]().loss
    return loss(list_batch(torch.tensor([-1.0, -2.0]), fields, torch.tensor(0.25))).item()


@pytest.mark.parametrize("objective", sorted(OURS))
def test_rewards_that_float32_cannot_tell_apart_keep_their_order(objective):
    close = [0.5 + 2**-40, 0.5]
    loss = _loss(objective, close)
    assert loss != _loss(objective, [0.5, 0.5])
    if objective in (
        "target",
        "nca",
        "approx_ndcg",
        "neural_ndcg",
        "gvpo",
        "group_contrast",
    ):  # match gaps: as with another gap of next to nothing, but not none
        assert loss == pytest.approx(_loss(objective, [0.5 + 2**-20, 0.5]), rel=1e-5)
    elif objective == "lambdaloss":  # weighs by the difference of gains
        assert loss == pytest.approx(_loss(objective, [0.5 + 2**-20, 0.5]) / 2**20, rel=1e-5)
    elif objective == "lipo_lambda":  # weighs by the difference of gains, 2^(.5 + d) - 2^.5 = 2^.5 (e^(d ln 2) - 1)
        factor = math.expm1(2**-40 * math.log(2)) / math.expm1(math.log(2) / 2)
        assert loss == pytest.approx(_loss(objective, [1.0, 0.5]) * factor, rel=1e-5)
    else:
        assert loss == _loss(objective, [2.0, 1.0])


def test_rows_hold_every_response_behind_its_prompt():
    """But its last token, which predicts nothing."""
    rows = Collator(padded_layout(0), 0)([PAIR, TRIPLE])["rows"]
    assert rows["input_ids"].tolist() == [[5, 6, 0, 0], [5, 6, 8, 9], [13, 14, 0, 0], [13, 0, 0, 0], [13, 0, 0, 0]]
    assert rows["targets"].tolist() == [7, 8, 9, 10, 14, 15, 16, 17]
    assert rows["owners"].tolist() == [0, 1, 1, 1, 2, 2, 3, 4]


def test_mismatched_responses_stand_behind_this_prompt():
    batch = Collator(padded_layout(0), 0)([PAIR, TRIPLE])
    assert batch["mismatched_rows"]["input_ids"].tolist() == [[5, 6, 11], [13, 0, 0]]
    assert batch["mismatched_rows"]["targets"].tolist() == [11, 12, 7]
    assert batch["mismatched_reference_logps"].tolist() == [-3.5, -0.5]
    plain = Collator(padded_layout(0), 0)([TrainingList(PAIR.encoded, PAIR.reference_logps)])
    assert plain.keys() == {"rows", "lists", "prompt_ids"}


def test_log_probabilities_go_to_their_lists_and_carry_gradients():
    logps = torch.tensor([-1.0, -2.0, -3.0, -4.0, -5.0], requires_grad=True)
    batch = list_batch(logps, Collator(padded_layout(0), 0)([PAIR, TRIPLE])["lists"], torch.tensor(0.25))
    assert batch.policy_logps.tolist() == [[-1.0, -2.0, 0.0], [-3.0, -4.0, -5.0]]
    assert batch.kl_baseline == 0.25
    (batch.policy_logps * torch.tensor([[1.0, 2.0, 9.0], [3.0, 4.0, 5.0]])).sum().backward()
    assert logps.grad.tolist() == [1.0, 2.0, 3.0, 4.0, 5.0]


@given(st.lists(st.integers(1, 5), min_size=1, max_size=6))
def test_every_response_keeps_its_place_whatever_the_sizes(sizes):
    lists, number = [], 0
    for size in sizes:
        numbers = list(range(number, number + size))
        number += size
        encoded = EncodedList("p", [1], [[2] for _ in numbers], [float(-n) for n in numbers])
        lists.append(TrainingList(encoded, [float(n) for n in numbers]))
    batch = list_batch(torch.arange(float(number)), Collator(padded_layout(0), 0)(lists)["lists"])
    assert torch.equal(batch.policy_logps, batch.reference_logps)
    assert torch.equal(batch.policy_logps[batch.mask], torch.arange(float(number)))
    assert torch.equal(batch.rewards[batch.mask], -torch.arange(float(number)))
    assert batch.mask.sum(-1).tolist() == sizes


SINGLE = TrainingList(EncodedList("c", [18, 19, 20], [[21, 22]], [0.0]), [-7.0])


def _rank_batches(batches, *, processes=1, budget=1000):
    """For each process its part of each step."""
    lists = [PAIR, TRIPLE, SINGLE]
    collate = Collator(padded_layout(0), 0)
    plain = [TrainingList(item.encoded, item.reference_logps) for item in lists]
    steps = [
        OptimizerSteps(plain, batches, collate, lambda item: len(item.responses) + 0.5, Ranks(rank, processes), budget)
        for rank in range(processes)
    ]
    assert all(len(own) == len(batches) for own in steps)
    return [list(own) for own in steps]


def test_a_share_tells_of_the_whole_step_whoever_has_it():
    """A prompt's tokens count once, however many responses stand behind it; padding does not count."""
    for processes in (1, 2, 4):
        for rank_batch, _ in _rank_batches([[0, 1], [2]], processes=processes):
            assert rank_batch.prompt_ids == ["a", "b"]
            assert rank_batch.weight == 2.5 + 3.5
            assert (rank_batch.tokens, rank_batch.response_tokens) == (2 + 4 + 1 + 4, 4 + 4)


def test_steps_are_those_of_the_plan():
    (steps,) = _rank_batches([[2, 0], [1], [0]])
    assert [rank_batch.prompt_ids for rank_batch in steps] == [["c", "a"], ["b"], ["a"]]


def test_a_budget_cuts_a_step_into_passes():
    (whole,), (cut,) = (_rank_batches([[0, 1, 2]], budget=budget)[0] for budget in (1000, 12))
    assert len(whole.micro_batches) == 1
    assert [batch["lists"]["lengths"].tolist() for batch in cut.micro_batches] == [[[1, 3]], [[2, 1, 1]], [[2]]]
    assert cut.counted == [True, True, True]


def test_processes_share_a_step_and_the_idle_keep_pace():
    """Each list counts on one process. A pass that does not count goes over the shortest list, to cost little."""
    rank_batches = [rank_batch for (rank_batch,) in _rank_batches([[0, 1, 2]], processes=4, budget=12)]
    assert {len(rank_batch.micro_batches) for rank_batch in rank_batches} == {1}
    lengths = [rank_batch.micro_batches[0]["lists"]["lengths"].tolist() for rank_batch in rank_batches]
    assert [rank_batch.counted for rank_batch in rank_batches] == [[True], [True], [True], [False]]
    assert sorted(lengths[:3]) == [[[1, 3]], [[2]], [[2, 1, 1]]]
    assert lengths[3] == [[2, 1, 1]]  # the second list takes two tokens in a row, the others four


def test_lists_may_be_completed_after_the_steps_are_made():
    """The model says what it thinks of them only once it is where it will be trained."""
    steps = OptimizerSteps(
        [TrainingList(PAIR.encoded)], [[0]], Collator(padded_layout(0), 0), lambda _: 1.0, Ranks(), 1000
    )
    steps.lists = [TrainingList(PAIR.encoded, PAIR.reference_logps)]
    assert steps[0].micro_batches[0]["lists"]["reference_logps"].tolist() == [[-1.5, -2.5]]
