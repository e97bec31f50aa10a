"""The memory that each step takes on one GPU, item by item. Pure arithmetic."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from larpo_lib.budget.model import Activations, ModelSize
from larpo_lib.models.chunk_size import default_chunk_tokens
from larpo_lib.training.zero import REDUCE_BUCKET, gradient_buckets, zero_settings

GIB = 2**30
ON_GPU, ON_CPU = int(1.5 * GIB), GIB // 2
"""CUDA's context, kernels and what the allocator cannot use; the Python process and its libraries."""

_OF_PARTS = 6
"""On a CPU attention goes response by response: queries and outputs once more, keys and values for all heads, and those
of the prompt for every response, about twice."""


@dataclass(frozen=True)
class Item:
    """A part of the memory: what it is, its bytes, and how they are found."""

    name: str
    bytes: int
    how: str


@dataclass(frozen=True)
class Need:
    """What a step takes of one GPU, or of the machine where there is none.

    Attributes:
        step: its name.
        items: the parts of its memory.
        note: what else there is to say, such as how many responses fit.
        short: further bytes that it cannot do without.
    """

    step: str
    items: Sequence[Item]
    note: str = ""
    short: int = 0

    @property
    def bytes(self) -> int:
        """All of it."""
        return sum(item.bytes for item in self.items) + self.short


@dataclass(frozen=True)
class Training:
    """How a model is trained.

    Attributes:
        processes: one on each GPU.
        zero: DeepSpeed's stage; None without DeepSpeed.
        offload: the optimiser is in the memory of the CPU.
        bf16: the passes run in bfloat16.
        on_gpu: or on a CPU.
        adapters: their parameters; 0: all weights are trained.
        pass_tokens: of a forward pass over several lists.
        checkpointing: activations are computed again.
        chunk_tokens: tokens whose logits are in memory together; None: `default_chunk_tokens`.
    """

    processes: int
    zero: Literal[0, 1, 2, 3] | None
    offload: bool
    bf16: bool
    on_gpu: bool
    adapters: int
    pass_tokens: int
    checkpointing: bool
    chunk_tokens: int | None
    list_tokens: int = 0
    """Of the longest list: if it is longer than a pass, it has its own, computed again but with ZeRO-3."""


def training_need(step: str, size: ModelSize, training: Training) -> Need:
    """Weights, gradients, optimiser, activations and log-probabilities of a step that trains."""
    states = (_plain_states if training.zero is None else _zero_states)(size, training)
    overhead = Item("process", ON_GPU if training.on_gpu else ON_CPU, "assumed: context, libraries, fragmentation")
    return Need(step, [*states, *_passes(size, training), overhead])


def _plain_states(size: ModelSize, training: Training) -> list[Item]:
    """One process, or several that each hold the whole model."""
    trained = training.adapters or size.parameters
    frozen = size.parameters if training.adapters else 0
    each = 2 if training.bf16 else 4
    items = [
        Item(
            "weights",
            4 * trained + each * frozen,
            f"4 bytes x {trained:,}" + (f" + {each} x {frozen:,} frozen" if frozen else ""),
        ),
        Item("gradients", 4 * trained, f"4 bytes x {trained:,}"),
        Item("optimiser", 8 * trained, f"AdamW: 8 bytes x {trained:,}"),
    ]
    if training.processes > 1:
        items.append(Item("gradient exchange", 4 * trained, "buckets of torchrun's processes: the gradients once more"))
    if training.bf16 and not frozen:
        cast = size.linear_weights
        items.append(Item("weights in bfloat16", 2 * cast, f"autocast's copies: 2 bytes x {cast:,}"))
    return items


def _zero_states(size: ModelSize, training: Training) -> list[Item]:
    """As DeepSpeed estimates them (`estimate_zero2_model_states_mem_needs`, `estimate_zero3_...`).

    Its 18 bytes a parameter are 2 and 4 of gradients, 4 of float32 weights and 8 of moments; stage 3 shares out 2 of
    weights in place of those of gradients. Frozen weights beside adapters have none of these.
    """
    trained, ranks, stage = training.adapters or size.parameters, training.processes, training.zero
    each = 2 if training.bf16 else 4
    shared = ranks if stage == 3 else 1
    weights = each * (size.parameters + training.adapters) // shared
    items = [Item("weights", weights, f"{each} bytes x {size.parameters + training.adapters:,} / {shared}")]
    items += gradient_bucket_items(trained, training)
    if stage == 3:
        items.append(Item("largest module", 4 * size.largest_module, f"gathered: 4 bytes x {size.largest_module:,}"))
    if training.offload:
        return items
    by_rank = {0: (0, 18), 1: (2, 16), 2: (0, 18), 3: (0, 16)}[stage or 0]
    divided = 1 if stage == 0 else ranks
    if by_rank[0]:
        items.append(Item("gradients", by_rank[0] * trained, f"2 bytes x {trained:,}"))
    name = "optimiser" if by_rank[0] or stage == 3 else "gradients and optimiser"
    items.append(Item(name, by_rank[1] * trained // divided, f"{by_rank[1]} bytes x {trained:,} / {divided}"))
    return items


def gradient_bucket_items(trained: int, training: Training) -> list[Item]:
    """What DeepSpeed exchanges gradients through, however small the model; a CPU gives only what is written to."""
    settings = zero_settings(training.zero or 0, offload=training.offload, on_gpu=training.on_gpu)
    count, each = gradient_buckets(settings), 2 if training.bf16 else 4
    if not count:
        return []
    held = REDUCE_BUCKET if training.on_gpu else min(REDUCE_BUCKET, trained)
    return [Item("buckets", count * each * held, f"of gradients on their way: {count} of {each} bytes x {held:,}")]


def _passes(size: ModelSize, training: Training) -> list[Item]:
    """What a forward and backward pass needs besides."""
    if not training.bf16:
        kept = size.in_float32
    else:
        kept = size.in_bfloat16 if training.zero is not None or training.adapters else size.under_autocast
    each = 2 if training.bf16 else 4
    largest = _activations(size, kept, training, training.pass_tokens, again=training.checkpointing)
    if training.list_tokens > training.pass_tokens:
        alone = _activations(size, kept, training, training.list_tokens, again=training.zero != 3)
        largest = max(largest, alone, key=lambda item: item.bytes)
    chunk = min(
        training.chunk_tokens or default_chunk_tokens(size.vocabulary, "cuda" if training.on_gpu else "cpu"),
        max(training.pass_tokens, training.list_tokens),
    )
    logits = 2 * 4 * chunk * size.vocabulary
    output = 0 if training.adapters else (4 + 2 * each if training.zero is None else 4 + each) * size.output_weights
    return [
        largest,
        Item("logits", logits, f"two of 4 bytes x {chunk:,} tokens x {size.vocabulary:,}"),
        Item("output layer", output, "its weights and gradients once more, for one product"),
    ]


def _activations(size: ModelSize, kept: Activations, training: Training, tokens: int, *, again: bool) -> Item:
    again = again or training.checkpointing
    token = kept.of_token(size.layers, checkpointing=again)
    if not training.on_gpu:
        of_parts = _OF_PARTS * (2 if training.bf16 else 4) * size.query_heads * size.head_dim
        # of layers that are computed again, the C library's allocator keeps about two after they are freed
        token += 3 * of_parts + 2 * kept.layer if again else size.layers * of_parts
    how = "computed again by layer: " if again else ""
    return Item("activations", token * tokens, f"{how}{token:,} bytes x {tokens:,} tokens a pass")


def sampling_need(
    step: str, size: ModelSize, batch: int, prompt_tokens: int, new_tokens: int, *, bf16: bool, on_gpu: bool
) -> Need:
    """The sampler `hf`: `batch` responses at a time, each with its prompt as long as the limits allow.

    What takes more counts: the pass over all prompts of a batch, or their last tokens.
    """
    each = 2 if bf16 else 4
    cache, layer = size.cache_bytes(each), (size.in_bfloat16 if bf16 else size.in_float32).layer
    prompts, tokens = batch * prompt_tokens, prompt_tokens + new_tokens
    first = [
        Item("keys and values", prompts * cache, f"{cache:,} bytes x {batch} prompts x {prompt_tokens:,} tokens"),
        Item("a layer at work", prompts * layer, f"on all prompts: {layer:,} bytes x {prompts:,} tokens"),
    ]
    last = [
        Item("keys and values", batch * tokens * cache, f"{cache:,} bytes x {batch} responses x {tokens:,} tokens"),
        Item("draws", 32 * batch * size.vocabulary, f"32 bytes x {batch} responses x {size.vocabulary:,} tokens"),
    ]
    return Need(
        step,
        [
            Item("weights", each * size.parameters, f"{each} bytes x {size.parameters:,}"),
            *max(first, last, key=lambda items: sum(item.bytes for item in items)),
            Item("process", ON_GPU if on_gpu else ON_CPU, "assumed: context, libraries, fragmentation"),
        ],
    )


def vllm_need(step: str, size: ModelSize, tokens: int, *, gpus: int, share: float, memory: int, sequences: int) -> Need:
    """The sampler `vllm`: it takes its share of the GPU, and keeps keys and values in what the weights leave of it.

    Args:
        step: its name.
        size: of the policy.
        tokens: of a prompt and its response at most.
        gpus: that share one copy of the policy.
        share: of the memory, `gpu_memory`.
        memory: bytes of a GPU.
        sequences: responses at the same time at most.
    """
    cache = size.cache_bytes(2)
    weights, taken = 2 * size.parameters // gpus, int(share * memory)
    room = max(0, taken - weights - ON_GPU) * gpus
    at_once = room // (cache * tokens)
    items = [
        Item("weights", weights, f"2 bytes x {size.parameters:,} / {gpus}"),
        Item("process", ON_GPU, "assumed: context, kernels, activations of a batch"),
        Item("keys and values", max(0, taken - weights - ON_GPU), f"what is left of {share:g} of the GPU"),
    ]
    note = f"{at_once:,} responses of {tokens:,} tokens fit at once ({cache:,} bytes a token), of {sequences} at most"
    lacking = 0 if at_once else weights + ON_GPU + cache * tokens // gpus - min(taken, weights + ON_GPU)
    short = memory - sum(item.bytes for item in items) + lacking if lacking else 0
    return Need(step, items, note if at_once else f"not one response of {tokens:,} tokens fits", short=max(0, short))


def scoring_need(step: str, size: ModelSize, batch_tokens: int, *, bf16: bool, on_gpu: bool) -> Need:
    """A sequence classifier on batches of so many tokens; nothing is kept for a backward pass."""
    each = 2 if bf16 else 4
    kept = size.in_bfloat16 if bf16 else size.in_float32
    return Need(
        step,
        [
            Item("weights", each * size.parameters, f"{each} bytes x {size.parameters:,}"),
            Item("a layer at work", kept.layer * batch_tokens, f"{kept.layer:,} bytes x {batch_tokens:,} tokens"),
            Item("process", ON_GPU if on_gpu else ON_CPU, "assumed: context, libraries, fragmentation"),
        ],
    )
