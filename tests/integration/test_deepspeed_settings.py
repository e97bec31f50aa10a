"""What DeepSpeed's own code makes of larpo's settings: in what it adds up gradients, and the buckets that it takes."""

import os
from pathlib import Path
from typing import Any, Literal, cast

import pytest
import torch
from forked import forked
from services.processes import free_port

from larpo_lib.budget.memory import Training, gradient_bucket_items
from larpo_lib.config import LaunchConfig
from larpo_lib.training import arguments

ONES = 64


@pytest.mark.parametrize("stage", [2, 3])
def test_micro_batches_add_up_in_float32_in_the_buckets_of_the_plan(stage: int, tmp_path: Path) -> None:
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "RANK": "0", "LOCAL_RANK": "0"}
    environment = {**os.environ, **meeting, "WORLD_SIZE": "1", "DS_ACCELERATOR": "cpu"}
    process = forked(_train, stage, output=tmp_path / "log", environment=environment)
    assert process.wait() == 0, (tmp_path / "log").read_text()[-2000:]


def _train(stage: Literal[2, 3]) -> None:
    """Gradients of 256, and 64 times 1: bfloat16 has no number between 256 and 258, so its sum would stay at 256."""
    launch = LaunchConfig(launcher="deepspeed", zero_stage=stage)
    settings = cast(dict[str, Any], arguments._deepspeed(launch, on_cpu=True, bf16=True))
    import deepspeed

    settings["zero_optimization"]["overlap_comm"] = True  # as on a GPU
    sizes = {"train_micro_batch_size_per_gpu": 1, "gradient_accumulation_steps": 1, "gradient_clipping": 1.0}
    model = torch.nn.Linear(1, 1, bias=False)
    optimizer = torch.optim.AdamW(model.parameters())
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=settings | sizes)
    held: set[int] = set()
    for number, gradient in enumerate([256.0] + [1.0] * ONES):
        engine.set_gradient_accumulation_boundary(is_boundary=number == ONES)
        loss = engine(torch.tensor([[gradient]], dtype=torch.bfloat16)).float().sum()
        _watch_buckets(engine.optimizer, held)
        engine.backward(loss)
    engine.step()
    assert float(engine.get_global_grad_norm()) == 256 + ONES
    on_gpu = Training(1, stage, False, True, True, 0, 1, False, None)
    assert held == {item.bytes for item in gradient_bucket_items(1, on_gpu)}


def _watch_buckets(zero: Any, held: set[int]) -> None:
    """Add the bytes of the buckets: stage 3 has them all the time, stages 1 and 2 from a pass's first gradient on."""
    if hasattr(zero, "fp32_partitioned_groups_flat"):
        held.add(sum(bucket.buffer.nbytes for bucket in zero.ipg_buckets.values()))
        return
    release = type(zero)._release_ipg_buffers

    def watched() -> None:
        if size := sum(buffer.nbytes for bucket in zero.ipg_buckets.values() for buffer in bucket.buffer):
            held.add(size)
        release(zero)

    zero._release_ipg_buffers = watched
