import pytest

from larpo_lib.launcher import is_distributed, is_secondary_process


@pytest.mark.parametrize(
    ("environment", "started", "following"),
    [
        ({}, False, False),
        ({"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2"}, True, False),
        ({"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2"}, True, True),
        ({"RANK": "0", "WORLD_SIZE": "2"}, False, False),
        ({"PET_NODE_RANK": "0"}, False, False),
        ({"PET_NODE_RANK": "1"}, False, True),
        ({"RANK": "3"}, False, True),
    ],
)
def test_the_environment_says_who_leads(monkeypatch, environment, started, following):
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "PET_NODE_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert (is_distributed(), is_secondary_process()) == (started, following)
