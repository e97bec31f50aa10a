"""Our side. All that the benchmarks use of the library's training code is in this module."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from transformers import PreTrainedModel, TrainerCallback

from benchmarks.measure import Clock, Run, TrainingClock, peak_memory, reset_peak
from benchmarks.models import Size
from benchmarks.workloads import PAD_ID, TokenList, unique_tokens
from larpo_lib.config import TrainConfig
from larpo_lib.models import layout as layouts
from larpo_lib.models.chunk_size import default_chunk_tokens
from larpo_lib.models.device import training_attention
from larpo_lib.models.logprobs import LogitTransform, token_logps
from larpo_lib.models.scoring import attach_scorer
from larpo_lib.training.arguments import training_arguments
from larpo_lib.training.collator import Collator, TrainingList
from larpo_lib.training.encode import EncodedList
from larpo_lib.training.fit import TrainingSession, fit
from larpo_lib.training.performance import flops_per_token, mean_context, peak_flops, step_performance
from larpo_lib.training.plan import plan_steps
from larpo_lib.training.ranks import Ranks
from larpo_lib.training.reference import micro_batches, reference_logps
from larpo_lib.training.trainer import PreferenceTrainer

LayoutName = Literal["chosen", "padded", "packed"]


class _Watched(PreferenceTrainer):
    """The library's trainer, with further callbacks behind its own."""

    def __init__(
        self, *arguments: Any, watchers: Sequence[TrainerCallback], callbacks: Sequence[TrainerCallback], **options: Any
    ) -> None:
        super().__init__(*arguments, callbacks=[*callbacks, *watchers], **options)


def train(
    policy: PreTrainedModel,
    size: Size,
    lists: Sequence[TokenList],
    *,
    lists_per_step: int,
    pass_tokens: int,
    learning_rate: float,
    layout: LayoutName = "chosen",
    dtype: Literal["bfloat16", "float32"] | None = None,
    callbacks: Sequence[TrainerCallback] = (),
) -> Run:
    """Train `policy` on lists for one epoch: DPO on pairs, LambdaRank, averaged over its pairs, on longer ones.

    Args:
        policy: changed in place.
        size: what the policy was made from.
        lists: best response first.
        lists_per_step: lists an optimiser step.
        pass_tokens: tokens a forward pass, of the reference too; a longer list has a pass of its own.
        learning_rate: constant.
        layout: how responses are laid out in rows; `chosen` by the library.
        dtype: of the passes; None: bfloat16 on a GPU, else float32.
        callbacks: of the trainer.
    """
    config = _config(policy, size, len(lists[0].responses), lists_per_step, pass_tokens, learning_rate, dtype)
    encoded = _encoded(lists)
    tokens = [item.tokens for item in encoded]
    if (attention := training_attention(config.model, policy.config)) is not None:
        policy.set_attn_implementation(attention)
    attach_scorer(policy, config.logprob_chunk_tokens)
    fixed = None if layout == "chosen" else getattr(layouts, f"{layout}_layout")(PAD_ID)
    lay_out = fixed or layouts.choose_layout(policy, tokens, PAD_ID)
    session = TrainingSession(config, training_arguments(config), Ranks(), None, lambda _row, _step: None)
    timer, reference_clock = TrainingClock(), Clock()
    reference: list[list[float]] = []

    def complete() -> list[TrainingList]:
        reference_clock.start()
        epoch = plan_steps(len(tokens), batch_size=lists_per_step, epochs=1, max_steps=None, seed=config.seed)
        cut = micro_batches(tokens, lay_out, epoch, pass_tokens, session.ranks)
        flat = iter(reference_logps(policy, tokens, lay_out, cut, session.ranks))
        reference_clock.stop()
        reference.extend([next(flat) for _ in item.responses] for item in encoded)
        return [TrainingList(item, values) for item, values in zip(encoded, reference, strict=True)]

    needs = {"needs_reference": True, "needs_kl": False}
    options = {"loss": config.objective.loss, **needs, "watchers": [timer, *callbacks]}
    history = fit(session, _Watched, policy, options, encoded, Collator(lay_out, PAD_ID), complete).history
    return Run(
        timer.clock.seconds,
        reference_clock.seconds,
        timer.clock.cpu_seconds + reference_clock.cpu_seconds,
        len(history),
        sum(row["loss"] for row in history) / len(history),
        [row["grad_norm"] for row in history],
        reference,
    )


def _encoded(lists: Sequence[TokenList]) -> list[EncodedList]:
    """The lists as the library has them, with falling rewards."""
    return [
        EncodedList(str(i), item.prompt, item.responses, [float(-rank) for rank in range(len(item.responses))])
        for i, item in enumerate(lists)
    ]


def _config(
    policy: PreTrainedModel,
    size: Size,
    responses: int,
    lists_per_step: int,
    pass_tokens: int,
    learning_rate: float,
    dtype: str | None,
) -> TrainConfig:
    on_gpu = policy.device.type == "cuda"
    objective = {"type": "dpo"} if responses == 2 else {"type": "lambdarank", "reduction": "mean"}
    return TrainConfig.model_validate(
        {
            "model": {"device": policy.device.type, "dtype": dtype or ("bfloat16" if on_gpu else "float32")},
            "objective": {**objective, "beta": 0.1},
            "epochs": 1,
            "batch_size": lists_per_step,
            "micro_batch_tokens": pass_tokens,
            "learning_rate": learning_rate,
            "schedule": "constant",
            "warmup_ratio": 0.0,
            "gradient_checkpointing": on_gpu and size.gradient_checkpointing,
        }
    )


def utilisation(policy: PreTrainedModel, lists: Sequence[TokenList], seconds: float, device: str) -> float | None:
    """MFU in bfloat16 of an epoch over `lists`; None on a CPU, and on a GPU whose peak is not known.

    Every prompt counts once, whichever way a side goes about it. `policy` tells shapes only, and may be on `meta`.
    """
    tokens = [(item.prompt, item.responses) for item in lists]
    figures = step_performance(
        unique_tokens(lists),
        sum(len(response) for item in lists for response in item.responses),
        seconds,
        flops_per_token(policy, mean_context(tokens)),
        peak_flops(torch.device(device), torch.bfloat16),
    )
    return figures.get("mfu")


def loss_peak(tokens: int, hidden: int, vocabulary: int, device: torch.device) -> int:
    """Bytes that the log-probabilities of `tokens` tokens and their gradients take at most, at the default settings."""
    torch.manual_seed(0)
    output_layer = torch.nn.Linear(hidden, vocabulary, bias=False, device=device)
    states = torch.randn(tokens, hidden, device=device, requires_grad=True)
    targets = torch.randint(vocabulary, (tokens,), device=device)
    chunk = default_chunk_tokens(vocabulary, device.type)
    before = 0
    for _ in range(2):  # the first time makes the gradients that the second time adds to
        before = reset_peak(device)
        token_logps(states, output_layer, targets, LogitTransform(), chunk).sum().backward()
    return peak_memory(device) - before
