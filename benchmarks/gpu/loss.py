"""Log-probabilities at a vocabulary of 262,144: right, without the logits of all tokens in memory, and how fast."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from benchmarks.gpu.attention import distance
from benchmarks.gpu.parts import Bench
from benchmarks.measure import Clock, peak_memory, reset_peak
from larpo_lib.models.logprobs import LogitTransform, token_logps

GIB = 2**30
MIB = 2**20
VOCABULARY, HIDDEN, TOKENS = 262_144, 2_048, 8_192
CHUNKS_MIB = (128, 512, 2_048)
"""Of float32 logits at one time; the second is the library's default on a GPU."""
CHECKED_TOKENS, CHECKED_CHUNK = 256, 8
"""Of values and gradients that are compared: in 32 chunks, since what is rounded with every chunk shows in many."""
ROUNDING = 5e-3

Score = Callable[[Tensor, torch.nn.Linear, Tensor], Tensor]


def run(bench: Bench) -> None:
    """Values first, then memory and time, for either precision of the weights and several chunks."""
    vocabulary, hidden, tokens = (VOCABULARY, HIDDEN, TOKENS) if bench.on_gpu else (8_192, 64, 256)
    bench.tell("all logits in float32", tokens * vocabulary * 4 / GIB, "GiB")
    for name, dtype in {"float32 weights under autocast": torch.float32, "bfloat16 weights": torch.bfloat16}.items():
        with bench.about(f"{name}, values"):
            check(bench, vocabulary, hidden, dtype)
        for chunk in CHUNKS_MIB if bench.on_gpu else CHUNKS_MIB[:1]:
            with bench.about(f"{name}, {chunk} MiB of logits at one time"):
                chunk_tokens = chunk * MIB // (4 * vocabulary)
                cost(bench, _in_chunks(chunk_tokens), tokens, vocabulary, hidden, dtype)
    with bench.about("all logits at one time, by autograd, bfloat16 weights"):
        cost(bench, whole, tokens, vocabulary, hidden, torch.bfloat16)


def whole(states: Tensor, layer: torch.nn.Linear, targets: Tensor) -> Tensor:
    """As autograd does it."""
    logits = torch.nn.functional.linear(states, layer.weight).float()
    return logits.log_softmax(-1).gather(-1, targets[:, None])[:, 0]


def _in_chunks(chunk_tokens: int) -> Score:
    def score(states: Tensor, layer: torch.nn.Linear, targets: Tensor) -> Tensor:
        return token_logps(states, layer, targets, LogitTransform(), chunk_tokens)

    return score


def check(bench: Bench, vocabulary: int, hidden: int, dtype: torch.dtype) -> None:
    """Values and gradients of a few tokens in many chunks against autograd's over float32 weights."""
    found, right = ({}, {})  # type: tuple[dict[str, Tensor], dict[str, Tensor]]
    for into, score, precision in ((found, _in_chunks(CHECKED_CHUNK), dtype), (right, whole, None)):
        states, layer, targets = _inputs(CHECKED_TOKENS, vocabulary, hidden, precision or torch.float32, bench.device)
        with _autocast(bench.device, precision):
            logps = score(states, layer, targets)
        logps.sum().backward()
        assert states.grad is not None and layer.weight.grad is not None  # noqa: PT018
        into |= {"values": logps, "gradients by states": states.grad, "gradients by weights": layer.weight.grad}
    for what, value in found.items():
        off = distance(value.detach().float(), right[what].detach().float())
        chunks = CHECKED_TOKENS // CHECKED_CHUNK
        bench.tell(f"{what}, relative distance to float32", off, ok=off < ROUNDING, chunks=chunks)


def cost(bench: Bench, score: Score, tokens: int, vocabulary: int, hidden: int, dtype: torch.dtype) -> None:
    """Most memory over weights, gradients and states, and the time of a forward and backward pass."""
    device = torch.device(bench.device)
    states, layer, targets = _inputs(tokens, vocabulary, hidden, dtype, bench.device)
    before, clock = 0, Clock()
    for _ in range(2):  # the first time makes the gradients that the second time adds to
        before = reset_peak(device)
        clock = Clock()
        clock.start()
        with _autocast(bench.device, dtype):
            logps = score(states, layer, targets)
        logps.sum().backward()
        clock.stop()
    bench.tell("peak", (peak_memory(device) - before) / GIB, "GiB")
    bench.tell("time", 1e3 * clock.seconds, "ms")
    bench.tell(
        "rate, of 6 FLOPs a weight and token", 6 * tokens * vocabulary * hidden / clock.seconds / 1e12, "TFLOP/s"
    )


def _inputs(
    tokens: int, vocabulary: int, hidden: int, dtype: torch.dtype, device: str
) -> tuple[Tensor, torch.nn.Linear, Tensor]:
    """The same numbers in any precision, but for its rounding."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(hidden, vocabulary, bias=False, device=device)
    states = torch.randn(tokens, hidden, device=device)
    targets = torch.randint(vocabulary, (tokens,), device=device)
    return states.to(dtype).requires_grad_(), layer.to(dtype), targets


def _autocast(device: str, dtype: torch.dtype | None) -> AbstractContextManager[object]:
    return torch.autocast(device, torch.bfloat16) if dtype is torch.float32 else nullcontext()
