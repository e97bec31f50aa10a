"""A process alone; several are in `tests/integration/test_processes.py`."""

import pytest
import torch
import torch.distributed as dist

from larpo_lib.config import ModelConfig
from larpo_lib.launcher import is_distributed
from larpo_lib.training.ranks import init_distributed

PLAIN = ModelConfig(device="cpu")


@pytest.fixture
def _launched_alone(monkeypatch):
    """The environment of a process that torchrun started as the only one."""
    settings = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)


def test_a_process_alone_leads_and_talks_to_itself_without_a_process_group(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    assert not is_distributed()
    with init_distributed(PLAIN) as ranks:
        assert not dist.is_initialized()
        assert (ranks.rank, ranks.world_size, ranks.is_main) == (0, 1, True)
        assert ranks.broadcast({"a": 1}) == {"a": 1}
        assert ranks.gather("mine") == ["mine"]
        tensor = torch.tensor([1.0, 2.0])
        ranks.broadcast_tensor(tensor)
        assert tensor.tolist() == [1.0, 2.0]


@pytest.mark.usefixtures("_launched_alone")
def test_a_launched_process_has_a_process_group_while_it_trains():
    assert is_distributed()
    with init_distributed(PLAIN) as ranks:
        assert dist.is_initialized()
        assert (ranks.rank, ranks.world_size) == (0, 1)
    assert not dist.is_initialized()


@pytest.mark.usefixtures("_launched_alone")
def test_a_process_group_does_not_outlive_a_failure():
    with pytest.raises(ValueError, match="within"), init_distributed(PLAIN):
        raise ValueError("within")
    assert not dist.is_initialized()
