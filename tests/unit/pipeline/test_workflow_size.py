"""Whether a run fits in what the cluster keeps of it."""

import re

import pytest

from larpo_lib.errors import ConfigError
from larpo_lib.pipeline.workflow_size import LIMIT_KB, check_workflow_size, size_kb


@pytest.mark.parametrize(("rounds", "shards"), [(1, 1), (3, 4), (4, 8), (8, 8), (20, 1)])
def test_what_fits(rounds: int, shards: int) -> None:
    check_workflow_size(rounds, shards)
    assert size_kb(rounds, shards) <= LIMIT_KB < 1024 * 1024 / 1000


@pytest.mark.parametrize(("rounds", "shards"), [(20, 8), (9, 8), (24, 1), (1, 90)])
def test_what_is_refused_would_fit_as_the_remedy_says(rounds: int, shards: int) -> None:
    with pytest.raises(ConfigError) as raised:
        check_workflow_size(rounds, shards)
    fewer = {name: int(number) for name, number in re.findall(r"(rounds|shards) to (\d+)", str(raised.value))}
    assert fewer
    for name, number in fewer.items():
        given = {"rounds": rounds, "shards": shards}
        check_workflow_size(**{**given, name: number})
        with pytest.raises(ConfigError):
            check_workflow_size(**{**given, name: number + 1})
