"""Training steps of models with random weights: tokens/s, MFU and peak memory, with shared prompts and without.

A step is what the library's trainer does, without the trainer around it, so that nothing beside torch and transformers
is needed: micro-batches by a budget of tokens, forward passes under autocast to bfloat16, the fused log-probabilities,
clipped gradients, AdamW. The loss is the logistic one over all pairs of a list, with a reference of 0.
"""

import statistics
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus
from transformers import PreTrainedModel

from benchmarks.gpu.parts import Bench, free_memory
from benchmarks.gpu.shapes import SHAPES, STAND_INS, Shape, make
from benchmarks.measure import Clock, peak_memory, reset_peak
from benchmarks.workloads import PAD_ID, TokenList, even_lists, natural_lists, sequence_tokens, unique_tokens
from larpo_lib.models.layout import Layout, choose_layout, padded_layout
from larpo_lib.models.packing import PackedList
from larpo_lib.models.scoring import TokenRows, attach_scorer, to_device
from larpo_lib.training.performance import flops_per_token, mean_context, peak_flops, step_performance
from larpo_lib.training.plan import rank_micro_batches

BETA, NO_STEP = 0.1, 1e-9


@dataclass(frozen=True)
class Workload:
    """What a step trains on.

    Attributes:
        prompt: tokens of it; also of the mean one of natural lengths, times 0.42 of a response's.
        response: tokens.
        step_tokens: unique ones in a step, about.
        pass_tokens: of a forward pass, padding included.
        steps: timed ones, after one that compiles and allocates.
        with_natural: there are lists of natural lengths, too.
    """

    prompt: int
    response: int
    step_tokens: int
    pass_tokens: int
    steps: int
    with_natural: bool = True

    def even(self, responses: int, vocabulary: int) -> list[TokenList]:
        """Lists that are alike in length."""
        count = max(1, self.step_tokens // (self.prompt + responses * self.response))
        return even_lists(count, responses, prompt=self.prompt, response=self.response, vocabulary=vocabulary, seed=0)

    def natural(self, responses: int, vocabulary: int) -> list[TokenList]:
        """Lists whose lengths vary as UltraFeedback's do."""
        count = max(4, round(self.step_tokens / (self.response * (0.42 + responses))))
        return natural_lists(count, responses, mean_response=self.response, vocabulary=vocabulary, seed=0)


WORKLOADS = {
    "1.5b": Workload(prompt=512, response=256, step_tokens=32_768, pass_tokens=8_192, steps=2),
    "8b": Workload(prompt=512, response=256, step_tokens=8_192, pass_tokens=8_192, steps=1, with_natural=False),
}
STAND_IN = Workload(prompt=48, response=24, step_tokens=512, pass_tokens=512, steps=1)


def run(bench: Bench, size: str) -> None:
    """Both families, lists of 4 and 8; what shares prompts first, since that is what users get."""
    workload = WORKLOADS[size] if bench.on_gpu else STAND_IN
    for shape in SHAPES[size] if bench.on_gpu else STAND_INS:
        rates: dict[tuple[str, str], float] = {}
        vocabulary = shape.fields["vocab_size"]
        lists = {
            "lists of 4": workload.even(4, vocabulary),
            "lists of 8": workload.even(8, vocabulary),
        }
        if workload.with_natural:
            lists["lists of 4, natural lengths"] = workload.natural(4, vocabulary)
        for sharing in ("shared prompts", "separate rows"):
            with bench.about(shape.name), bench.about(sharing):
                measure_model(bench, shape, sharing, lists, workload, rates)
            free_memory(bench.device)
        for name in lists:
            pair = rates.get(("shared prompts", name)), rates.get(("separate rows", name))
            if pair[0] and pair[1]:
                bench.tell(f"{shape.name}: {name}: shared against separate", pair[0] / pair[1], "times as fast")


def measure_model(
    bench: Bench,
    shape: Shape,
    sharing: str,
    workloads: dict[str, list[TokenList]],
    workload: Workload,
    rates: dict[tuple[str, str], float],
) -> None:
    """One model on all lists; `rates` gets its tokens/s."""
    shared = sharing == "shared prompts"
    model = make(shape, bench.device, "flex_attention" if shared and bench.on_gpu else "sdpa")
    attach_scorer(model, None).train()
    if shape.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    optimizer = torch.optim.AdamW(model.parameters(), lr=NO_STEP, weight_decay=0.0, fused=bench.on_gpu)
    for name, lists in workloads.items():
        with bench.about(name):
            packed = [(item.prompt, item.responses) for item in lists]
            layout = choose_layout(model, packed, PAD_ID) if shared else padded_layout(PAD_ID)
            step = Step(model, optimizer, layout, packed, workload.pass_tokens)
            rates[sharing, name] = measure_steps(bench, step, lists, workload.steps)


class Step:
    """An optimiser step over all lists.

    Args:
        model: with a scorer.
        optimizer: of its weights.
        layout: from lists to rows.
        lists: prompts and responses, the best one first.
        pass_tokens: of a forward pass.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        optimizer: torch.optim.Optimizer,
        layout: Layout,
        lists: Sequence[PackedList],
        pass_tokens: int,
    ) -> None:
        def cost(indices: Sequence[int]) -> int:
            return layout.cost([lists[i] for i in indices])

        cuts = rank_micro_batches(range(len(lists)), cost, 1, pass_tokens)[0]
        self.model, self._optimizer, self.lists = model, optimizer, lists
        self._passes: list[tuple[TokenRows, int]] = [(layout([lists[i] for i in cut]), len(cut)) for cut in cuts]
        self.layout, self.passes = layout.name, len(cuts)
        self._responses = len(lists[0][1])

    def __call__(self) -> float:
        """Take it; returns the loss."""
        device, total = self.model.device, 0.0
        self._optimizer.zero_grad(set_to_none=True)  # of a step that failed half way
        on_gpu = device.type == "cuda"
        for rows, count in self._passes:
            with torch.autocast("cuda", torch.bfloat16) if on_gpu else nullcontext():
                logps = self.model(**to_device(device, rows))
            loss = pairwise(logps.view(count, self._responses)).sum() / len(self.lists)
            loss.backward()
            total += float(loss.detach())
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return total


def pairwise(logps: Tensor) -> Tensor:
    """(B, L) log-probabilities, best response first, to the (B,) mean logistic loss over pairs."""
    better, worse = torch.triu_indices(logps.shape[1], logps.shape[1], offset=1, device=logps.device)
    return softplus(-BETA * (logps[:, better] - logps[:, worse])).mean(1)


def measure_steps(bench: Bench, step: Step, lists: Sequence[TokenList], steps: int) -> float:
    """Rows about a step; returns its tokens/s."""
    device = torch.device(bench.device)
    losses, seconds = [], []
    first = Clock()
    first.start()
    losses.append(step())
    first.stop()
    reset_peak(device)
    for _ in range(steps):
        clock = Clock()
        clock.start()
        losses.append(step())
        clock.stop()
        seconds.append(clock.seconds)
    figures = figures_of(step.model, lists, statistics.median(seconds), bench.device)
    mfu = {"mfu_percent": round(100 * figures["mfu"], 1)} if "mfu" in figures else {"mfu": "left out, peak not known"}
    bench.tell(
        "rate",
        figures["tokens_per_s"],
        "tokens/s",
        ok=all(0 < loss < float("inf") for loss in losses) and figures.get("mfu", 0.5) < 1,
        **mfu,
        peak_gib=round(peak_memory(device) / 2**30, 2),
        layout=step.layout,
        passes=step.passes,
        first_step_seconds=round(first.seconds, 2),
        loss=round(losses[0], 4),
        unique_tokens=unique_tokens(lists),
        tokens_in_separate_rows=sequence_tokens(lists),
    )
    return figures["tokens_per_s"]


def figures_of(model: PreTrainedModel, lists: Sequence[TokenList], seconds: float, device: str) -> dict[str, float]:
    """Speed of a step over unique tokens, and MFU in bfloat16 where the device's peak is known."""
    packed = [(item.prompt, item.responses) for item in lists]
    return step_performance(
        unique_tokens(lists),
        sum(len(response) for item in lists for response in item.responses),
        seconds,
        flops_per_token(model, mean_context(packed)),
        peak_flops(torch.device(device), torch.bfloat16),
    )
