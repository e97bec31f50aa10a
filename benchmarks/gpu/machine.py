"""What the numbers were measured on, and what a plain matrix product reaches there."""

import os
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version

import torch

from benchmarks.gpu.parts import Bench
from benchmarks.measure import Clock
from larpo_lib.reporting.machine import machine
from larpo_lib.training.performance import peak_flops

_PACKAGES = ("torch", "transformers", "accelerate", "triton", "trl", "deepspeed", "vllm")


def run(bench: Bench) -> None:
    """The machine, then its rate. Rows without a unit go below the table."""
    found = machine()
    bench.tell("CPU", f"{found['cores']} cores of {found['cpu']}")
    if bench.on_gpu:
        _gpu(bench)
    for name in _PACKAGES:
        bench.tell(name, _version(name))
    rate = matrix_rate(bench.device, 8_192 if bench.on_gpu else 512)
    bench.tell("matrix product in bfloat16", rate / 1e12, "TFLOP/s")
    peak = peak_flops(torch.device(bench.device), torch.bfloat16)
    if peak is None:
        told = f"not known for {torch.cuda.get_device_name()}" if bench.on_gpu else "none for a CPU"
        bench.tell("published peak in bfloat16", told, ", so MFU is left out")
    else:
        bench.tell("published peak in bfloat16", peak / 1e12, "TFLOP/s")


def _gpu(bench: Bench) -> None:
    if not torch.cuda.is_available():
        raise SystemExit(f"torch {torch.__version__} sees no CUDA device; --dry-run goes without")
    _, total = torch.cuda.mem_get_info()
    major, minor = torch.cuda.get_device_capability()
    bench.tell("GPU", f"{torch.cuda.get_device_name()}, {total / 2**30:.0f} GiB, compute capability {major}.{minor}")
    bench.tell("driver", _driver())
    bench.tell("CUDA", torch.version.cuda)
    bench.tell("GPUs visible, of which one is used", torch.cuda.device_count(), "GPUs")
    bench.tell("C compiler, which FlexAttention needs", os.environ.get("CC") or shutil.which("cc") or "none", "path")


def matrix_rate(device: str, size: int) -> float:
    """FLOP/s of the product of two square matrices in bfloat16."""
    one, other = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    times = 20 if device == "cuda" else 2
    for _ in range(3):
        one @ other
    clock = Clock()
    clock.start()
    for _ in range(times):
        one @ other
    clock.stop()
    return times * 2 * size**3 / clock.seconds


def _driver() -> str:
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        told = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return "unknown: nvidia-smi does not answer"
    return told.splitlines()[0].strip()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
