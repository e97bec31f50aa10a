"""From a data set of ranked lists to what `ListwiseTrainer` trains on."""

import logging
from collections.abc import Sequence
from typing import Any

from datasets import Dataset

from larpo_lib.api.listwise_batches import RowCollator, as_dataset, encode, layout_of
from larpo_lib.api.listwise_config import Criterion, ListwiseConfig
from larpo_lib.api.listwise_data import read_lists
from larpo_lib.api.listwise_models import Policy
from larpo_lib.models.layout import Layout, padded_layout
from larpo_lib.steps.train import check_rewards
from larpo_lib.training.collator import TrainingList
from larpo_lib.training.encode import EncodeCounts, EncodedList, report_encoding
from larpo_lib.training.ranks import Ranks
from larpo_lib.training.reference import (
    MISMATCHED,
    OWN,
    check_finite_logps,
    micro_batches,
    reference_logps,
    wanted_logps,
    with_logps,
)


class Preparation:
    """Encodes data sets for a policy, and adds the reference's log-probabilities where the objective reads them.

    Args:
        policy: with its models attached, where they will be trained.
        criterion: the objective.
        args: settings.
        ranks: the processes.
    """

    def __init__(self, policy: Policy, criterion: Criterion, args: ListwiseConfig, ranks: Ranks) -> None:
        self._policy, self._criterion, self._args, self._ranks = policy, criterion, args, ranks
        self._lists = args.lists()
        self._layout: Layout | None = None

    @property
    def collator(self) -> RowCollator:
        """From rows of what was prepared to the tensors of a forward pass."""
        assert self._layout is not None, "it is chosen by the first data set"
        return RowCollator(self._layout, self._policy.pad_id)

    def __call__(self, data: Any, name: str) -> tuple[Dataset, EncodeCounts]:
        """Prepare a data set; `name` is what messages call it.

        Raises:
            DataError: it does not fit.
            ModelError: the models or the tokenizer do not fit it.
        """
        policy, criterion = self._policy, self._criterion
        lists = read_lists(data, name)
        if criterion.settings is not None:
            check_rewards(criterion.settings, lists.rows, name)
        encoded, counts = encode(lists, policy.tokenizer, policy.stops, self._lists, name)
        policy.check(encoded)
        if self._ranks.is_main:
            _report(counts, name)
        if self._layout is None:
            self._layout = layout_of(policy.base, encoded, policy.pad_id, padding_free=self._args.padding_free)
        return as_dataset(self._with_reference(encoded, self._layout, name)), counts

    def _with_reference(self, encoded: Sequence[EncodedList], layout: Layout, name: str) -> list[TrainingList]:
        if not self._criterion.needs_reference:
            return [TrainingList(item) for item in encoded]
        layouts = {OWN: layout, MISMATCHED: padded_layout(self._policy.pad_id)}
        limit = self._lists.max_tokens
        wanted = wanted_logps(encoded, needs_kl=self._criterion.needs_kl, max_tokens=limit)
        budget = self._args.train_batch_size * max(layout.cost([item]) for item in wanted[OWN])
        cut = micro_batches(wanted[OWN], layout, [range(len(encoded))], budget, self._ranks)
        with self._policy.reference() as model:
            found = {
                each: reference_logps(model, lists, layouts[each], cut, self._ranks) for each, lists in wanted.items()
            }
        check_finite_logps(found, encoded, name)
        return with_logps(encoded, found, limit)


def _report(counts: EncodeCounts, name: str) -> None:
    """Say what was dropped, and what is taught of texts that may be read otherwise than they are meant."""
    dropped = [
        f"{value} {what.replace('_', ' ')}" for what, value in vars(counts).items() if "dropped" in what and value
    ]
    if dropped:
        logging.getLogger(__name__).warning("%s: %s", name, ", ".join(dropped))
    report_encoding(counts)
