"""How tests of several steps end a step before its time, and what they compare then."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from larpo_lib.samplers import Request, Response, Sampler


class Killed(Exception):  # noqa: N818 - it stands for the end of the process
    pass


def kill_at_four(_row: object, step: int) -> None:
    """The log of a training that ends in its fourth step."""
    if step == 4:
        raise Killed


def published(directory: Path) -> dict[str, bytes]:
    """The files of an artifact."""
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def interrupted(make: Callable[..., Sampler], calls: int) -> Callable[..., Sampler]:
    """As `make`, but its samplers are interrupted after so many calls."""

    def made(*args: Any, **options: Any) -> Sampler:
        sampler = make(*args, **options)
        whole, left = sampler.sample, iter(range(calls))

        def sample(requests: Sequence[Request]) -> list[Response]:
            if next(left, None) is None:
                raise KeyboardInterrupt
            return whole(requests)

        sampler.sample = sample
        return sampler

    return made
