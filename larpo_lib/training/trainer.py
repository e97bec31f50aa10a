"""The trainers: `transformers.Trainer` with the project's own batches, losses and metrics.

The loss of an optimiser step is the sum over the global batch divided by its weight (its number of lists, or of
response tokens), whatever the micro-batches and processes.
"""

import json
import math
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader
from transformers import PreTrainedModel, SchedulerType, Trainer, TrainingArguments
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled

from larpo_lib.errors import ModelError
from larpo_lib.heartbeat import mark
from larpo_lib.objectives import ListBatch
from larpo_lib.objectives.masked import log_ratios
from larpo_lib.training.collator import Batch, OptimizerSteps, RankBatch, list_batch
from larpo_lib.training.encode import EncodedList
from larpo_lib.training.history import TOP_LIST
from larpo_lib.training.metrics import Pulls, batch_metrics, list_metrics, reference_free_metrics, top_share
from larpo_lib.training.ranks import Ranks
from larpo_lib.training.schedule import lr_factor, warmup_steps

BROKEN_BATCH = "broken-batch.json"
START_LOG_RATIO = "start_log_ratio_max_abs"
"""Largest distance in nats of policy and reference over the first step's responses, before any update.

Where the reference is the policy itself it is 0 but for what is left of rounding: the noise of all log-ratios.
"""


class PolicyTrainer(Trainer):
    """Trains a model whose forward pass gives a number for each response (`attach_scorer`).

    A batch of the `Trainer` is this process's part of an optimiser step, a `RankBatch` of micro-batches.

    Args:
        model: with a scorer attached.
        args: with one batch an optimiser step.
        steps: what is trained on.
        ranks: the processes.
        scratch: where the prompts of a step that broke down are written; None on those that do not lead.
        steps_per_epoch: for the `epoch` that is logged.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        args: TrainingArguments,
        *,
        steps: OptimizerSteps,
        ranks: Ranks,
        scratch: Path | None,
        steps_per_epoch: int,
        **options: Any,
    ) -> None:
        super().__init__(model=model, args=args, train_dataset=steps, **options)
        self.loss_is_scaled_for_ga = True  # compute_loss divides by the weight of the whole step
        self._steps = steps
        self._ranks = ranks
        self._scratch = scratch
        self._steps_per_epoch = steps_per_epoch
        self._sums: dict[str, float] = {}
        self._broken: list[str] = []
        self.rank_batch: RankBatch | None = None

    @staticmethod
    def weigh(item: EncodedList) -> float:  # noqa: ARG004 - unless a trainer says otherwise
        """How much of the global batch's mean a list makes up: all the same, however many responses it has."""
        return 1.0

    @abstractmethod
    def summed_loss(self, scores: Tensor, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """The loss summed over a forward pass, and metrics summed over it likewise."""

    def get_train_dataloader(self) -> DataLoader[RankBatch]:
        """The steps as they come: nothing is left to shuffle, to batch or to deal out."""
        return DataLoader(self._steps, batch_size=None)

    def create_scheduler(self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None) -> LambdaLR:
        """The project's own, whose warm-up has no step with a rate of 0."""
        if self.lr_scheduler is None:
            factor = partial(
                lr_factor,
                schedule=SchedulerType(self.args.lr_scheduler_type).value,
                warmup=warmup_steps(self.args.warmup_steps, num_training_steps),
                total=num_training_steps,
            )
            optimizer = optimizer or self.optimizer
            assert optimizer is not None, "it is made first"
            self.lr_scheduler = LambdaLR(optimizer, factor)
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], None]:
        """One batch makes a step, and brings its weight."""
        return [next(epoch_iterator)], None

    def training_step(
        self, model: torch.nn.Module, inputs: Any, num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """Forward and backward over this process's micro-batches; gradients are exchanged with the last one."""
        self.rank_batch = rank_batch = inputs
        total = torch.zeros((), device=self.args.device)
        for number, batch in enumerate(rank_batch.micro_batches):
            last = number == len(rank_batch.micro_batches) - 1
            self.accelerator.gradient_state._set_sync_gradients(last)
            alone = last or self.is_deepspeed_enabled  # DeepSpeed minds the boundary itself
            apart = nullcontext() if alone else self.accelerator.no_sync(model=model)
            with apart, self._within_budget(batch):
                counted = {**batch, "counted": rank_batch.counted[number]}
                total += super().training_step(model, counted, rank_batch.weight)
        return total

    @contextmanager
    def _within_budget(self, batch: Batch) -> Iterator[None]:
        """Compute activations again in the backward pass where a single list is longer than micro-batches may be.

        Its gradients are the same. Not with ZeRO-3, whose processes must go through their layers together.
        """
        model: Any = self.model
        longer = batch["rows"]["input_ids"].numel() > self._steps.budget and model.supports_gradient_checkpointing
        if not longer or self.args.gradient_checkpointing or is_deepspeed_zero3_enabled():
            yield
            return
        model.gradient_checkpointing_enable(self.args.gradient_checkpointing_kwargs)
        try:
            yield
        finally:
            model.gradient_checkpointing_disable()

    def compute_loss(
        self, model: torch.nn.Module, inputs: Batch, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """This pass's part of the global batch's mean loss."""
        assert not return_outputs, "evaluation is a step of its own"
        scores = model(**inputs["rows"])
        if not inputs["counted"]:
            return scores.sum() * 0.0
        loss, sums = self.summed_loss(scores, inputs)
        summed = {"loss": loss.item(), **sums}
        mark()  # the pass is done on the GPU, too
        for name, value in summed.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        if not math.isfinite(loss.item()):
            self._broken += _broken_prompts(scores, inputs)
        # data-parallel wrappers average gradients over processes, so that each one's part counts that many times
        return loss * (self._ranks.world_size / num_items_in_batch)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the step's own metrics to what the trainer logs, and stop where training has broken down.

        A finite loss can have gradients that are not: they would reach the weights, and the last step's be published.
        """
        if "loss" in logs:
            assert self.rank_batch is not None
            sums = [*self._ranks.gather(self._sums)]
            self._sums = {}
            names = [name for found in sums for name in found]
            means = {
                name: sum(f.get(name, 0.0) for f in sums) / self.rank_batch.weight for name in dict.fromkeys(names)
            }
            logs = {**logs, **means}
            for what in ("loss", "grad_norm"):
                if not math.isfinite(value := logs.get(what, 0.0)):  # DeepSpeed's stage 0 tells no gradient norm
                    self._break_down(what.replace("grad_", "gradient "), value, self.state.global_step)
            self.state.epoch = self.state.global_step / self._steps_per_epoch
        super().log(logs, start_time)

    def floating_point_ops(self, inputs: Any) -> int:
        """Not counted here: `larpo_lib.training.performance` does, without padding."""
        return 0

    def _prepare_inputs(self, inputs: Batch) -> Batch:
        """To the device as they are: under DeepSpeed the parent would round rewards and references to bfloat16."""
        moved: Batch = self._moved(inputs)
        return moved

    def _moved(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return value.to(self.args.device, non_blocking=True)
        return {name: self._moved(part) for name, part in value.items()} if isinstance(value, dict) else value

    def _break_down(self, what: str, value: float, step: int) -> None:
        assert self.rank_batch is not None
        broken = [prompt_id for found in self._ranks.gather(self._broken) for prompt_id in found]
        told = f", first for a response to prompt {broken[0]}" if broken else ""
        if self._scratch is not None:
            place = self._scratch / BROKEN_BATCH
            place.write_text(
                json.dumps({"step": step, what: str(value), "prompt_ids": self.rank_batch.prompt_ids}, indent=2)
            )
            told += f" (its prompts are in {place})"
        remedy = "Reduce the learning rate or the objective's beta, or use float32"
        if self._scratch is not None:  # half-done work refuses other settings
            remedy += ", and run `larpo --discard-partial ...`: this training cannot be continued"
        raise ModelError(f"the {what} became {value} at step {step}{told}", remedy=remedy)


def _broken_prompts(scores: Tensor, batch: Batch) -> list[str]:
    """The prompts of a pass whose (P,) scores are not finite."""
    places = batch["lists"]["mask"].nonzero()[:, 0][~scores.isfinite()].tolist()
    return [batch["prompt_ids"][i] for i in dict.fromkeys(places)]


class PreferenceTrainer(PolicyTrainer):
    """Distils the reranker's order into the policy.

    Args:
        loss: an objective with its settings bound: ListBatch of B lists -> (B,).
        needs_reference: the lists have reference log-probabilities.
        needs_kl: the loss reads a KL estimate over the global batch.
        exponents: as `ObjectiveConfig.exponents`; only for what is told of a step.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        args: TrainingArguments,
        *,
        loss: Callable[[ListBatch], Tensor],
        needs_reference: bool,
        needs_kl: bool,
        exponents: Callable[[ListBatch], Tensor | None] = lambda _lists: None,
        **options: Any,
    ) -> None:
        super().__init__(model, args, **options)
        self._loss = loss
        self._metrics = batch_metrics if needs_reference else reference_free_metrics
        self._needs_kl = needs_kl
        self._kl_baseline: Tensor | None = None
        self._needs_reference = needs_reference
        self._exponents = exponents
        self._start = 0.0
        self._pulls = Pulls()

    def training_step(
        self, model: torch.nn.Module, inputs: Any, num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """Also estimate the KL divergence over the whole global batch where the objective needs it (KTO's z0)."""
        if self._needs_kl:
            self.rank_batch = inputs
            self._kl_baseline = self._estimate_kl(inputs)
        return super().training_step(model, inputs, num_items_in_batch)

    def summed_loss(self, scores: Tensor, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Sum of the objective over the pass's lists."""
        progress = self.state.global_step / self.state.max_steps
        lists = list_batch(scores, batch["lists"], self._kl_baseline, progress)
        if self._needs_reference and self.state.global_step == 0:
            self._start = max(self._start, float(log_ratios(lists).detach().abs().max()))
        self._pulls.watch(lists)
        apart = list_metrics(lists, self._exponents(lists), has_reference=self._needs_reference)
        return self._loss(lists).sum(), {**self._metrics(lists), **apart}

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the largest list's part of the gradient, and to the first step how far the reference was away."""
        if "loss" in logs:
            logs = {**logs, TOP_LIST: top_share(self._ranks.gather(self._pulls.take()))}
            if self._needs_reference and self.state.global_step == 1:
                logs[START_LOG_RATIO] = max(self._ranks.gather(self._start))
        super().log(logs, start_time)

    @torch.no_grad()
    def _estimate_kl(self, rank_batch: RankBatch) -> Tensor:
        total = 0.0
        policy: Any = self.model
        for batch, counted in zip(rank_batch.micro_batches, rank_batch.counted, strict=True):
            inputs = self._prepare_inputs(batch)
            drift = (policy(**inputs["mismatched_rows"]) - inputs["mismatched_reference_logps"]).sum()
            total += float(drift) if counted else 0.0
        mean = sum(self._ranks.gather(total)) / rank_batch.weight
        if not math.isfinite(mean):  # max would make 0 of it
            self._break_down("estimate of the KL divergence", mean, self.state.global_step + 1)
        return torch.tensor(max(0.0, mean), device=self.args.device)


class SftTrainer(PolicyTrainer):
    """Maximises the likelihood of demonstrations, a mean over response tokens."""

    @staticmethod
    def weigh(item: EncodedList) -> float:
        """The number of response tokens."""
        return float(sum(len(response) for response in item.responses))

    def summed_loss(self, scores: Tensor, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Negative log-likelihood."""
        return -scores.sum(), {}
