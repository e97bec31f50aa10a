"""FlexAttention over rows in which responses share their prompt: log-probabilities and gradients of separate rows.

The right values are those of separate rows in float32. FlexAttention in float32 must equal them. Under autocast to
bfloat16, as training runs, it must be no further from them than separate rows under autocast are. Log-probabilities are
compared token by token: of the few sums over responses, chance makes one side's rounding half as large again.
"""

import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from multiprocessing import get_context

import torch
from torch import Tensor
from transformers import PreTrainedModel

from benchmarks.gpu.parts import Bench
from benchmarks.gpu.shapes import Shape, make
from benchmarks.workloads import PAD_ID
from larpo_lib.models.layout import Layout, flex_layout, packed_layout, padded_layout
from larpo_lib.models.packing import PackedList
from larpo_lib.models.scoring import attach_scorer, to_device

FLOAT32, MORE_THAN_SEPARATE = 1e-3, 1.3
"""Relative distance in float32; how many times the rounding of separate rows that of shared ones may be."""
VOCABULARY = 4_096
_COMPARED = ("log-probabilities", "gradients")
LENGTHS: Sequence[tuple[int, Sequence[int]]] = [(300, (200, 17, 260, 130)), (650, (64, 64, 300)), (5, (9, 1, 40))]
SHORT = [(30, (20, 7, 26, 13)), (5, (9, 1, 40))]
"""Tokens of each prompt and of its responses; the short ones are the dry run's."""
ROW_LENGTHS = 12


def _case(name: str, family: str, hidden: int, heads: int, kv_heads: int, **more: object) -> Shape:
    sizes = {"hidden_size": hidden, "num_attention_heads": heads, "num_key_value_heads": kv_heads}
    return Shape(
        name, family, {"vocab_size": VOCABULARY, "num_hidden_layers": 2, "intermediate_size": 512, **sizes, **more}
    )


CASES = (
    _case("Llama, heads of 64", "llama", 512, 8, 2),
    _case("Llama, heads of 128", "llama", 1_024, 8, 2),
    _case("Llama, 9 heads and 3 for keys", "llama", 576, 9, 3),
    _case("Qwen 2", "qwen2", 768, 6, 2),
    _case("Qwen 3", "qwen3", 512, 8, 2, head_dim=128),
    _case("Mistral, window of 256", "mistral", 512, 8, 2, sliding_window=256),
    _case("Gemma 2, capped scores, windows", "gemma2", 512, 8, 4, head_dim=128, sliding_window=256),
)


def lists(lengths: Sequence[tuple[int, Sequence[int]]]) -> list[PackedList]:
    """Prompts and responses of uneven lengths, of random tokens."""
    draw = torch.Generator().manual_seed(0)

    def words(count: int) -> list[int]:
        return torch.randint(2, VOCABULARY, (count,), generator=draw).tolist()

    return [(words(prompt), [words(length) for length in responses]) for prompt, responses in lengths]


def run(bench: Bench) -> None:
    """Every family that shares prompts; then rows of many lengths."""
    if not bench.on_gpu:
        bench.tell("stand-in for FlexAttention, which has no backward pass on a CPU", "sdpa in parts", "layout")
        for case in CASES[:2]:
            one_case(bench, case)
        many_lengths(bench)
        return
    # most of the time goes to compiling, on one core each
    with ProcessPoolExecutor(len(CASES) + 1, mp_context=get_context("spawn")) as pool:
        waited = [pool.submit(many_lengths, bench), *(pool.submit(one_case, bench, case) for case in CASES)]
    for one in waited:
        one.result()


def one_case(bench: Bench, case: Shape) -> None:
    """One family, in a process of its own on a GPU."""
    with bench.about(case.name):
        compare(bench, case, _shared(bench))


def _shared(bench: Bench) -> Layout:
    return flex_layout(PAD_ID) if bench.on_gpu else packed_layout(PAD_ID)


def compare(bench: Bench, case: Shape, shared: Layout) -> None:
    """One family, forward and backward."""
    separate = padded_layout(PAD_ID)
    plain = "eager" if case.family == "gemma2" else "sdpa"
    on_flex = "flex_attention" if bench.on_gpu else plain
    exact = outcome(scored(case, bench.device, plain), separate, autocast=False)
    rounded = outcome(scored(case, bench.device, plain), separate, autocast=True)
    flex = scored(case, bench.device, on_flex)
    found = outcome(flex, shared, autocast=False)
    for what, one, right in zip(_COMPARED, found, exact, strict=True):
        off = distance(one, right)
        bench.tell(f"{what} in float32, relative distance", off, ok=off < FLOAT32)
    found = outcome(flex, shared, autocast=True)
    for what, one, other, right in zip(_COMPARED, found, rounded, exact, strict=True):
        off, allowed = distance(one, right), distance(other, right)
        ok = off <= MORE_THAN_SEPARATE * allowed
        bench.tell(f"{what} in bfloat16, relative distance", off, ok=ok, of_separate_rows=float(f"{allowed:.3g}"))


def scored(case: Shape, device: str, attention: str) -> PreTrainedModel:
    """The case's model with a scorer, in training mode."""
    return attach_scorer(make(case, device, attention), None).train()


def outcome(model: PreTrainedModel, layout: Layout, *, autocast: bool) -> tuple[Tensor, Tensor]:
    """The log-probabilities of the tokens of all responses, and the gradients of a sum with signs by all weights."""
    model.zero_grad(set_to_none=True)
    device, tokens = model.device, list[Tensor]()
    kept = model.get_output_embeddings().register_forward_hook(lambda _layer, _inputs, found: tokens.append(found))
    with kept, torch.autocast(device.type, torch.bfloat16) if autocast else nullcontext():
        logps = model(**to_device(device, layout(lists(LENGTHS if device.type == "cuda" else SHORT))))
    signs = torch.tensor([1.0, -1.0], device=device).repeat(len(logps))[: len(logps)]
    (logps * signs).sum().backward()
    gradients = [p.grad.detach().float().flatten() for p in model.parameters() if p.grad is not None]
    return torch.cat(tokens).detach().float(), torch.cat(gradients)


def distance(found: Tensor, right: Tensor) -> float:
    """|found - right| / |right|; infinite where something is no number."""
    value = float(torch.linalg.vector_norm(found - right) / torch.linalg.vector_norm(right))
    return value if value == value else float("inf")  # noqa: PLR0124 - NaN is not itself


def many_lengths(bench: Bench) -> None:
    """Forward and backward passes over rows of further lengths must not compile a kernel each."""
    with bench.about(f"rows of {ROW_LENGTHS} lengths"):
        _many_lengths(bench, _shared(bench))


def _many_lengths(bench: Bench, shared: Layout) -> None:
    model = scored(CASES[0], bench.device, "flex_attention" if bench.on_gpu else "sdpa")
    prompt, responses = lists(LENGTHS)[0]
    seconds, before = [], _graphs()
    for blocks in range(1, (ROW_LENGTHS if bench.on_gpu else 2) + 1):
        start = time.perf_counter()
        item = (prompt[: 100 + 10 * blocks], [response[: 12 * blocks] for response in responses])
        with torch.autocast(bench.device, torch.bfloat16):
            logps = model(**to_device(model.device, shared([item] * blocks)))
        logps.sum().backward()
        if bench.on_gpu:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    compiled = _graphs() - before
    bench.tell("graphs compiled", compiled, "graphs", ok=compiled <= ROW_LENGTHS // 2)
    bench.tell("first pass, which compiles", seconds[0], "s")
    bench.tell("last pass", seconds[-1], "s")


def _graphs() -> int:
    from torch._dynamo.utils import counters

    return int(counters["stats"]["unique_graphs"])
