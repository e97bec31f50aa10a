"""The trainers: `transformers.Trainer` with the project's own batches, losses and metrics.

The loss of an optimiser step is the sum over the global batch divided by its weight (its number of lists, or of
response tokens), whatever the micro-batches, ranks or accumulation.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from larpo_lib.errors import ModelError
from larpo_lib.objectives import ListBatch
from larpo_lib.training.collator import list_batch
from larpo_lib.training.metrics import batch_metrics

Batch = dict[str, Any]
MetricLogger = Callable[[Mapping[str, float], int], None]
"""Called with the metrics of an optimiser step and its number."""


class PolicyTrainer(Trainer):
    """Trains a policy whose forward pass gives response log-probabilities (`attach_scorer`)."""

    def __init__(self, model: PreTrainedModel, args: TrainingArguments, **options: Any) -> None:
        super().__init__(model=model, args=args, **options)
        self.loss_is_scaled_for_ga = True  # compute_loss divides by the weight of the whole accumulated batch
        self._sums: dict[str, float] = {}
        self._weight = 0.0

    @abstractmethod
    def batch_weight(self, batch: Batch) -> float:
        """How much of the global batch's mean a micro-batch makes up."""

    @abstractmethod
    def summed_loss(self, logps: Tensor, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """The loss summed over a micro-batch, and metrics summed over it likewise."""

    def get_batch_samples(
        self, epoch_iterator: Iterator[Batch], num_batches: int, device: torch.device
    ) -> tuple[list[Batch], Tensor]:
        """Collect the micro-batches of one optimiser step and weigh them over all ranks."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        weight = torch.tensor(sum(self.batch_weight(batch) for batch in batches), dtype=torch.float64, device=device)
        return batches, self.accelerator.reduce(weight, reduction="sum")

    def compute_loss(
        self, model: torch.nn.Module, inputs: Batch, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """This micro-batch's part of the global batch's mean loss."""
        assert not return_outputs, "evaluation is a step of its own"
        loss, sums = self.summed_loss(model(**inputs["rows"]), inputs)
        self._accumulate(loss, sums, self.batch_weight(inputs))
        # data-parallel wrappers average gradients over ranks, so that each rank's share counts world_size-fold
        return loss * (self.accelerator.num_processes / num_items_in_batch.to(loss.dtype))

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the step's own metrics to what the trainer logs, and stop where training has broken down.

        A finite loss can have gradients that are not: they would reach the weights, and the last step's be published.
        """
        grad_norm = logs.get("grad_norm", 0.0)
        if not math.isfinite(grad_norm):
            raise _broken_down("gradient norm", grad_norm, self.state.global_step)
        if "loss" in logs and self._weight:
            logs = {**logs, **{name: total / self._weight for name, total in self._sums.items()}}
            self._sums, self._weight = {}, 0.0
        super().log(logs, start_time)

    def _accumulate(self, loss: Tensor, sums: dict[str, float], weight: float) -> None:
        total = loss.item()
        if not math.isfinite(total):
            raise _broken_down("loss", total, self.state.global_step + 1)
        for name, value in {"loss": total, **sums}.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._weight += weight


def _broken_down(what: str, value: float, step: int) -> ModelError:
    return ModelError(
        f"the {what} became {value} at step {step}",
        remedy="Lower train.learning_rate or train.objective.beta, or use float32",
    )


class ListwiseTrainer(PolicyTrainer):
    """Distils the reranker's order into the policy.

    Args:
        loss: an objective with its settings bound: ListBatch of B lists -> (B,).
        needs_kl: it reads a KL estimate over the global batch.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        args: TrainingArguments,
        *,
        loss: Callable[[ListBatch], Tensor],
        needs_kl: bool,
        **options: Any,
    ) -> None:
        super().__init__(model, args, **options)
        self._loss = loss
        self._needs_kl = needs_kl
        self._kl_baseline: Tensor | None = None

    def batch_weight(self, batch: Batch) -> float:
        """The number of lists."""
        return float(len(batch["lists"]["mask"]))

    def get_batch_samples(
        self, epoch_iterator: Iterator[Batch], num_batches: int, device: torch.device
    ) -> tuple[list[Batch], Tensor]:
        """Also estimate the KL divergence over the whole global batch where the objective needs it (KTO's z0)."""
        batches, weight = super().get_batch_samples(epoch_iterator, num_batches, device)
        if self._needs_kl and batches:
            self._kl_baseline = self._estimate_kl(batches) / weight
        return batches, weight

    def summed_loss(self, logps: Tensor, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Sum of the objective over the micro-batch's lists."""
        lists = list_batch(logps, batch["lists"], self._kl_baseline)
        return self._loss(lists).sum(), batch_metrics(lists)

    @torch.no_grad()
    def _estimate_kl(self, batches: list[Batch]) -> Tensor:
        total = torch.zeros((), dtype=torch.float64, device=self.args.device)
        policy: Any = self.model
        for batch in batches:
            inputs: Batch = self._prepare_inputs(batch)
            total += (policy(**inputs["mismatched_rows"]) - inputs["mismatched_reference_logps"]).sum()
        return self.accelerator.reduce(total, reduction="sum").clamp(min=0)


class SftTrainer(PolicyTrainer):
    """Maximises the likelihood of demonstrations, a mean over response tokens."""

    def batch_weight(self, batch: Batch) -> float:
        """The number of response tokens."""
        return float(len(batch["rows"]["targets"]))

    def summed_loss(self, logps: Tensor, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Negative log-likelihood."""
        return -logps.sum(), {}


class StepLogger(TrainerCallback):
    """Hands each optimiser step's metrics to a logger."""

    def __init__(self, logger: MetricLogger) -> None:
        self._logger = logger

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Pass on what was logged for a step."""
        logs: dict[str, float] = kwargs.get("logs") or {}
        if state.is_world_process_zero and "loss" in logs:
            self._logger(logs, state.global_step)
