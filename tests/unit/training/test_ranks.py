"""A process alone; several are in `tests/integration/test_processes.py`."""

import signal
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist
from torch.distributed import distributed_c10d

from larpo_lib.config import ModelConfig
from larpo_lib.heartbeat import HangError
from larpo_lib.launcher import is_distributed
from larpo_lib.signals import minded
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


@pytest.mark.usefixtures("_launched_alone")
def test_every_group_waits_a_minute_longer_than_hung_processes_are_looked_for(monkeypatch):
    """DeepSpeed makes groups of its own, which would else take the ten minutes that are NCCL's own."""
    monkeypatch.setenv("LARPO_HANG_LIMIT", "900")
    usual = distributed_c10d.default_pg_timeout
    with init_distributed(PLAIN):
        for group in (dist.group.WORLD, dist.new_group([0])):
            assert group._get_backend(torch.device("cpu")).options._timeout == timedelta(seconds=960)
    assert distributed_c10d.default_pg_timeout == usual


@pytest.mark.usefixtures("_launched_alone")
def test_a_wait_that_timed_out_is_told():
    told = r"training process 0: another one did not answer for 3660 s\. Look for"
    with pytest.raises(HangError, match=told), init_distributed(PLAIN):
        raise RuntimeError("[unbound_buffer.cc:81] Timed out waiting 3660000ms for recv operation to complete")
    with pytest.raises(RuntimeError, match="sizes"), init_distributed(PLAIN):
        raise RuntimeError("sizes of tensors")


@pytest.mark.usefixtures("_launched_alone", "_signals_heard")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_stop_is_heard_at_once_or_where_it_is_asked_for(number):
    before = signal.getsignal(number)
    with pytest.raises(SystemExit, match=str(128 + number)), init_distributed(PLAIN):
        signal.raise_signal(number)
    with init_distributed(PLAIN) as ranks:
        ranks.stop.waits = True
        assert ranks.gather(1) == [1]
        assert not ranks.stopped
        signal.raise_signal(number)
        signal.raise_signal(number)
        assert not ranks.stopped
        assert ranks.gather(1) == [1]
        assert ranks.stopped
    assert signal.getsignal(number) is before


@pytest.mark.usefixtures("_launched_alone")
def test_what_nohup_has_a_process_ignore_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with init_distributed(PLAIN) as ranks:
            signal.raise_signal(signal.SIGHUP)
        assert ranks.stop.number == 0
        assert minded([signal.SIGHUP, signal.SIGTERM]) == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGHUP, before)
