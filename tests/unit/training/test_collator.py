from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from larpo_lib.policies.layout import padded
from larpo_lib.training.collator import Collator, TrainingList, list_batch
from larpo_lib.training.encode import EncodedList

PAIR = TrainingList(EncodedList("a", [5, 6], [[7], [8, 9, 10]], [1.0, -2.0]), [-1.5, -2.5], [11, 12], -3.5)
TRIPLE = TrainingList(EncodedList("b", [13], [[14, 15], [16], [17]], [3.0, 2.0, 2.0]), [-4.0, -5.0, -6.0], [7], -0.5)


def test_list_fields_stand_in_their_places():
    fields = Collator(padded(0), 0)([PAIR, TRIPLE])["lists"]
    assert fields["mask"].tolist() == [[True, True, False], [True, True, True]]
    assert fields["reference_logps"].tolist() == [[-1.5, -2.5, 0.0], [-4.0, -5.0, -6.0]]
    assert fields["lengths"].tolist() == [[1, 3, 0], [2, 1, 1]]
    assert fields["rewards"].tolist() == [[1.0, -2.0, 0.0], [3.0, 2.0, 2.0]]


def test_rows_hold_every_response_behind_its_prompt():
    rows = Collator(padded(0), 0)([PAIR, TRIPLE])["rows"]
    assert rows["input_ids"].tolist() == [
        [5, 6, 7, 0, 0],
        [5, 6, 8, 9, 10],
        [13, 14, 15, 0, 0],
        [13, 16, 0, 0, 0],
        [13, 17, 0, 0, 0],
    ]
    assert rows["targets"].tolist() == [7, 8, 9, 10, 14, 15, 16, 17]
    assert rows["owners"].tolist() == [0, 1, 1, 1, 2, 2, 3, 4]


def test_mismatched_responses_stand_behind_this_prompt():
    batch = Collator(padded(0), 0)([PAIR, TRIPLE])
    assert batch["mismatched_rows"]["input_ids"].tolist() == [[5, 6, 11, 12], [13, 7, 0, 0]]
    assert batch["mismatched_reference_logps"].tolist() == [-3.5, -0.5]
    plain = Collator(padded(0), 0)([TrainingList(PAIR.encoded, PAIR.reference_logps)])
    assert plain.keys() == {"rows", "lists"}


def test_log_probabilities_go_to_their_lists_and_carry_gradients():
    logps = torch.tensor([-1.0, -2.0, -3.0, -4.0, -5.0], requires_grad=True)
    batch = list_batch(logps, Collator(padded(0), 0)([PAIR, TRIPLE])["lists"], torch.tensor(0.25))
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
    batch = list_batch(torch.arange(float(number)), Collator(padded(0), 0)(lists)["lists"])
    assert torch.equal(batch.policy_logps, batch.reference_logps)
    assert torch.equal(batch.policy_logps[batch.mask], torch.arange(float(number)))
    assert torch.equal(batch.rewards[batch.mask], -torch.arange(float(number)))
    assert batch.mask.sum(-1).tolist() == sizes
