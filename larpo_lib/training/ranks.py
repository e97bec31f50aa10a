"""The processes that train together: who this one is among them, and what they tell one another."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed import distributed_c10d

from larpo_lib.config import ModelConfig
from larpo_lib.heartbeat import VARIABLE, HangError, hang_limit_s, mark
from larpo_lib.launcher import is_distributed
from larpo_lib.models.device import model_device
from larpo_lib.signals import Stop, stoppable

_NAMING_S = 60.0


class Ranks:
    """The processes of a training. One alone needs no process group.

    Attributes:
        rank: number of this process; 0 is the main one, and does all reading and writing of results.
        world_size: how many processes there are.
        stop: that this one was told to end.
        stopped: that any of them was, by the last `gather`; so that all of them stop at the same place.
    """

    def __init__(self, rank: int = 0, world_size: int = 1, stop: Stop | None = None) -> None:
        self.rank = rank
        self.world_size = world_size
        self.stop = stop or Stop()
        self.stopped = False

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def broadcast(self, value: Any) -> Any:
        """What the leading process gave; the others' values are not looked at."""
        mark()
        if self.world_size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def gather(self, value: Any) -> list[Any]:
        """Every process's value, in the order of their numbers."""
        mark()
        told: list[Any] = [(value, self.stop.number)] * self.world_size
        if self.world_size > 1:
            dist.all_gather_object(told, told[0])
        self.stopped = any(number for _, number in told)
        return [found for found, _ in told]

    def broadcast_tensor(self, tensor: torch.Tensor) -> None:
        """Fill `tensor` with the leading process's values."""
        mark()
        if self.world_size > 1:
            dist.broadcast(tensor, src=0)


@contextmanager
def init_distributed(model: ModelConfig) -> Iterator[Ranks]:
    """Meet the other processes that the launcher started; alone where there is none.

    Raises:
        HangError: within the block, one of them did not answer in time. Whoever started this process looks for that,
            too, and can name it, so that it is given a minute more.
    """
    if not is_distributed():
        yield Ranks()
        return
    cuda = model_device(model).type == "cuda"
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    # Objects travel as CPU tensors, whatever the model's device.
    limit = timedelta(seconds=hang_limit_s() + _NAMING_S)
    usual = {name: getattr(distributed_c10d, name) for name in ("default_pg_timeout", "default_pg_nccl_timeout")}
    vars(distributed_c10d).update(dict.fromkeys(usual, limit))  # DeepSpeed's groups take theirs from here
    dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=limit)
    try:
        with stoppable() as stop:
            yield Ranks(dist.get_rank(), dist.get_world_size(), stop)
    except RuntimeError as error:
        if "timed out" not in str(error).lower():
            raise
        raise HangError(
            f"training process {dist.get_rank()}: another one did not answer for {limit.total_seconds():.0f} s",
            remedy=f"Look for one that hangs, and run the same command again. {VARIABLE} sets the limit in seconds",
        ) from error
    finally:
        dist.destroy_process_group()
        vars(distributed_c10d).update(usual)
