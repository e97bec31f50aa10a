"""The processes that train together: who this one is among them, and what they tell one another."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist

from larpo_lib.config import ModelConfig
from larpo_lib.launcher import is_distributed
from larpo_lib.models.device import model_device


class Ranks:
    """The processes of a training. One alone needs no process group.

    Attributes:
        rank: number of this process; 0 is the main one, and does all reading and writing of results.
        world_size: how many processes there are.
    """

    def __init__(self, rank: int = 0, world_size: int = 1) -> None:
        self.rank = rank
        self.world_size = world_size

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def broadcast(self, value: Any) -> Any:
        """What the leading process gave; the others' values are not looked at."""
        if self.world_size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def gather(self, value: Any) -> list[Any]:
        """Every process's value, in the order of their numbers."""
        if self.world_size == 1:
            return [value]
        found: list[Any] = [None] * self.world_size
        dist.all_gather_object(found, value)
        return found

    def broadcast_tensor(self, tensor: torch.Tensor) -> None:
        """Fill `tensor` with the leading process's values."""
        if self.world_size > 1:
            dist.broadcast(tensor, src=0)


@contextmanager
def init_distributed(model: ModelConfig) -> Iterator[Ranks]:
    """Meet the other processes that the launcher started; alone where there is none."""
    if not is_distributed():
        yield Ranks()
        return
    cuda = model_device(model).type == "cuda"
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    # Objects travel as CPU tensors, whatever the model's device.
    dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo")
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()
