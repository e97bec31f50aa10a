"""A `transformers.Trainer` on ranked lists, for those who have scripts with TRL's trainers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from datasets import Dataset
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer, TrainerCallback
from transformers.trainer_utils import PredictionOutput

from larpo_lib.api.listwise_batches import FEATURES, list_metrics
from larpo_lib.api.listwise_config import Criterion, Given, ListwiseConfig, chosen_criterion
from larpo_lib.api.listwise_models import Policy
from larpo_lib.api.listwise_preparation import Preparation
from larpo_lib.errors import ConfigError, ModelError
from larpo_lib.objectives import ListBatch
from larpo_lib.training.collator import Batch, list_batch
from larpo_lib.training.encode import EncodeCounts
from larpo_lib.training.ranks import Ranks

if TYPE_CHECKING:
    from peft import PeftConfig

_TRAINED_ON = "train_dataset"


class ListwiseTrainer(Trainer):
    """Trains a causal language model on ranked lists, with the objectives of larpo.

    The reference is the model as it is given (with `peft_config` the model without the adapter) unless there is a
    `ref_model`; its log-probabilities are computed once, here, so that no second model is kept. Dropout is switched
    off. The model still generates, and `save_model` and checkpoints are those of `transformers.Trainer`.

    Args:
        model: a causal language model, or a peft model of one.
        args: settings.
        train_dataset: columns prompt, completions and rewards, or prompt, chosen and rejected; see
            `larpo_lib.api.listwise_data`.
        eval_dataset: the same, or several by name.
        processing_class: the tokenizer.
        ref_model: another reference, with the same tokens.
        objective: in place of `args.objective` a function from a `ListBatch` of B lists to a (B,) loss, or the name or
            the settings of an objective.
        peft_config: of an adapter to train in place of the model's weights.
        callbacks: as of `Trainer`.
        optimizers: as of `Trainer`.

    Attributes:
        counts: what became of the rows of each data set, by its name; in the metrics of `train` too.

    Raises:
        LarpoError: the data, the settings, the model or the tokenizer cannot be used.
    """

    def __init__(
        self,
        model: PreTrainedModel | torch.nn.Module,
        args: ListwiseConfig,
        train_dataset: Dataset | None = None,
        eval_dataset: Dataset | dict[str, Dataset] | None = None,
        processing_class: PreTrainedTokenizerBase | None = None,
        *,
        ref_model: PreTrainedModel | torch.nn.Module | None = None,
        objective: Given = None,
        peft_config: PeftConfig | None = None,
        callbacks: list[TrainerCallback] | None = None,
        optimizers: tuple[Any, Any] = (None, None),
    ) -> None:
        if not isinstance(args, ListwiseConfig):
            raise ConfigError(f"args is a {type(args).__name__}", remedy="Use a larpo_lib.ListwiseConfig")
        self.criterion: Criterion = chosen_criterion(objective, args)
        if ref_model is not None and not self.criterion.needs_reference:
            raise ConfigError(
                f"the objective {self.criterion.name} does not use a reference, but ref_model is passed",
                remedy="Remove ref_model, or choose another objective",
            )
        self.counts: dict[str, EncodeCounts] = {}
        self._policy = Policy(model, processing_class, ref_model, peft_config, args.seed)
        super().__init__(
            self._policy.model,
            args,
            train_dataset=train_dataset,  # what is trained on comes below; `Trainer` looks whether there is any
            eval_dataset=eval_dataset,
            processing_class=self._policy.tokenizer,
            callbacks=callbacks,
            optimizers=optimizers,
        )
        self.loss_is_scaled_for_ga = True  # compute_loss divides by the lists of the whole step
        self._check_machine()
        self._policy.attach(args.logprob_chunk_tokens, args.device)
        self._ranks = Ranks(args.process_index, args.world_size)
        self._preparation = Preparation(self._policy, self.criterion, args, self._ranks)
        self._sums: dict[str, Any] = {}
        self._held_out: list[Tensor] = []
        if train_dataset is not None:
            self.train_dataset = self._prepared(train_dataset, _TRAINED_ON)
        if eval_dataset is not None:
            self.eval_dataset = self._prepared_all(eval_dataset)

    def compute_loss(
        self, model: torch.nn.Module, inputs: Batch, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """This pass's part of the mean loss over the lists of the step; alone, the mean over its own lists."""
        assert not return_outputs, "there are no logits"
        batch, losses = self._losses(model, inputs)
        for name, values in {**self._measured(batch, losses), "lists": torch.ones_like(losses)}.items():
            self._sums[name] = self._sums.get(name, 0.0) + values.detach().float().sum()
        if num_items_in_batch is None:
            return losses.mean()
        # data-parallel wrappers average gradients over processes, so that each one's part counts that many times
        return losses.sum() * (self._ranks.world_size / num_items_in_batch)

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Batch], Any]:
        """The batches of an optimiser step, and how many lists they have over all processes."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        own = torch.tensor(sum(len(batch["prompt_ids"]) for batch in batches), device=device)
        total = int(self.accelerator.gather(own).sum())
        if self.criterion.needs_kl and batches:
            assert isinstance(self.model, torch.nn.Module)
            kl = self._kl_baseline(self.model, batches, total)
            batches = [{**batch, "kl_baseline": kl} for batch in batches]
        return batches, total

    def prediction_step(
        self,
        model: torch.nn.Module,
        inputs: Batch,
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[Tensor, None, None]:
        """Loss and metrics of held-out lists; the KL estimate is of their own batch."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            if self.criterion.needs_kl:
                inputs = {**inputs, "kl_baseline": self._kl_baseline(model, [inputs], None)}
            batch, losses = self._losses(model, inputs)
        measured = self._measured(batch, losses)
        self._measured_names = list(measured)
        columns = torch.stack([values.float() for values in measured.values()], dim=1)
        self._held_out.append(self.accelerator.gather_for_metrics(columns))
        return losses.mean(), None, None

    def evaluation_loop(
        self,
        dataloader: DataLoader[Any],
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> Any:
        """Also give the metrics, as means over the held-out lists."""
        self._held_out = []
        output: Any = super().evaluation_loop(
            dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix
        )
        means = torch.cat(self._held_out).mean(0).tolist()
        self._held_out = []
        for name, value in zip(self._measured_names, means, strict=True):
            output.metrics[f"{metric_key_prefix}_{name}"] = value
        return output

    def evaluate(
        self,
        eval_dataset: Dataset | dict[str, Dataset] | str | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """Loss and metrics of held-out lists, those given at the beginning or others.

        Raises:
            ConfigError: others after training has begun, where the reference is gone.
        """
        if eval_dataset is not None and not isinstance(eval_dataset, str):
            eval_dataset = self._prepared_all(eval_dataset)
        held_out: Any = eval_dataset
        return super().evaluate(held_out, ignore_keys, metric_key_prefix)

    def predict(
        self, test_dataset: Dataset, ignore_keys: list[str] | None = None, metric_key_prefix: str = "test"
    ) -> PredictionOutput:
        """As `evaluate`; there are no predictions beside the metrics."""
        return super().predict(self._prepared(test_dataset, "test_dataset"), ignore_keys, metric_key_prefix)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the metrics of the steps since the last time; at the end, what became of the rows."""
        if "loss" in logs and self._sums:
            logs.update(self._means())
            for what in ("loss", "grad_norm"):
                if not math.isfinite(value := logs.get(what, 0.0)):
                    raise ModelError(
                        f"the {what.replace('grad_', 'gradient ')} became {value} by step {self.state.global_step}",
                        remedy="Reduce the learning rate or the objective's beta, or use float32",
                    )
        elif "train_runtime" in logs:
            for name, counts in self.counts.items():
                prefix = "" if name == _TRAINED_ON else f"{name}/"
                told = {what: value for what, value in vars(counts).items() if value or what.endswith("_dropped")}
                logs.update({f"{prefix}{what}": value for what, value in told.items()})
        super().log(logs, start_time)

    def floating_point_ops(self, inputs: Any) -> int:
        """Not counted."""
        return 0

    def _set_signature_columns_if_needed(self) -> None:
        columns: Any = list(FEATURES)
        self._signature_columns = columns

    def _losses(self, model: torch.nn.Module, inputs: Batch) -> tuple[ListBatch, Tensor]:
        progress = self.state.global_step / max(self.state.max_steps, 1)  # before a training there are no steps
        batch = list_batch(model(**inputs["rows"]), inputs["lists"], inputs.get("kl_baseline"), progress)
        return batch, self.criterion(batch)

    def _measured(self, batch: ListBatch, losses: Tensor) -> dict[str, Tensor]:
        return {"loss": losses, **list_metrics(batch, self.criterion)}

    def _means(self) -> dict[str, float]:
        totals = self.accelerator.reduce(torch.stack([*self._sums.values()]), "sum").tolist()
        sums = dict(zip(self._sums, totals, strict=True))
        self._sums = {}
        count = sums.pop("lists")
        return {name: value / count for name, value in sums.items()}

    @torch.no_grad()
    def _kl_baseline(self, model: torch.nn.Module, batches: Sequence[Batch], lists: int | None) -> Tensor:
        """KTO's z0: policy against reference on other lists' responses, over a whole step or one held-out batch."""
        drift = torch.zeros((), device=self.args.device)
        with self.compute_loss_context_manager():
            for batch in batches:
                inputs: Batch = self._prepare_inputs(batch)
                drift += (model(**inputs["mismatched_rows"]) - inputs["mismatched_reference_logps"]).sum()
        if lists is None:
            return (drift / len(batches[0]["prompt_ids"])).clamp(min=0)
        total: Tensor = self.accelerator.reduce(drift, "sum")
        return (total / lists).clamp(min=0)

    def _prepared_all(self, data: Dataset | dict[str, Dataset]) -> Any:
        if isinstance(data, dict):
            return {name: self._prepared(part, f"eval_dataset['{name}']") for name, part in data.items()}
        return self._prepared(data, "eval_dataset")

    def _prepared(self, data: Any, name: str) -> Dataset:
        """A data set of lists as it is trained on; one that is that already as it is."""
        if set(getattr(data, "column_names", None) or ()) == set(FEATURES):
            return data
        if self.state.global_step and self.criterion.needs_reference and not self._policy.has_lasting_reference:
            raise ConfigError(
                f"{name} is given after training has begun, when the reference of the objective "
                f"{self.criterion.name} is gone",
                remedy="Pass it to ListwiseTrainer as eval_dataset, or pass a ref_model",
            )
        with self.compute_loss_context_manager(), self.accelerator.autocast():  # the model has its own only in `train`
            found, self.counts[name] = self._preparation(data, name)
        self.data_collator = self._preparation.collator
        return found

    def _check_machine(self) -> None:
        if self.args.n_gpu > 1:
            raise ConfigError(
                f"this process sees {self.args.n_gpu} GPUs, which it cannot share a list between",
                remedy="Start the script with torchrun or accelerate launch, or set CUDA_VISIBLE_DEVICES to one GPU",
            )
        for wrong, what in (
            (self.is_deepspeed_enabled, "DeepSpeed"),
            (self.is_fsdp_enabled, "FSDP"),
        ):
            if wrong:
                raise ConfigError(
                    f"ListwiseTrainer does not run with {what}",
                    remedy="Use `larpo train` with launch.launcher = 'deepspeed', or data-parallel processes",
                )
        for name, neutral in (("use_liger_kernel", False), ("label_smoothing_factor", 0.0)):
            if getattr(self.args, name) != neutral:
                raise ConfigError(f"{name} has no effect on the loss of lists", remedy="Remove it")
        if self.args.train_sampling_strategy not in ("random", "sequential"):
            raise ConfigError(
                f"train_sampling_strategy is '{self.args.train_sampling_strategy}', but lists have no single length",
                remedy="Set it to random or sequential",
            )
