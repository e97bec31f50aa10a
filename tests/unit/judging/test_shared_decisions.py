import socket
from typing import Any

import pytest
from server_double import Reply, serve

from larpo_lib.config import LlmJudgeConfig
from larpo_lib.endpoint import Endpoint
from larpo_lib.errors import DataError
from larpo_lib.judging.decisions import shared_decisions

HOST = socket.gethostname()
REQUESTS = [{"question": number} for number in range(6)]


@pytest.fixture
def judge():
    with serve(lambda asked: Reply({"verdict": asked.payload["question"]})) as server:
        config = LlmJudgeConfig(base_url=server.url, model="judge", concurrency=1, retries=0)
        yield server, Endpoint(config, "judge", dict[str, Any])


def test_two_that_write_at_the_same_time_find_what_the_other_bought(judge, tmp_path):
    server, endpoint = judge
    with shared_decisions(tmp_path) as one, shared_decisions(tmp_path) as other:
        one.answers(endpoint, REQUESTS[:2])
        other.answers(endpoint, REQUESTS[2:4])
        one.read_others(tmp_path)
        assert one.answers(endpoint, REQUESTS[:5]) == [{"verdict": number} for number in range(5)]
        assert len(server.asked) == 5
        other.read_others(tmp_path)
        other.answers(endpoint, REQUESTS)
        assert len(server.asked) == 6
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{HOST}-0.jsonl", f"{HOST}-1.jsonl"]
    with shared_decisions(tmp_path) as third:
        assert len(third) == 6
        assert third.answers(endpoint, REQUESTS)[3] == {"verdict": 3}
    assert len(server.asked) == 6


def test_half_a_line_of_another_process_is_left_to_it_and_one_of_a_crash_is_cut_off(judge, tmp_path):
    server, endpoint = judge
    with shared_decisions(tmp_path) as store:
        store.answers(endpoint, REQUESTS[:3])
    file = tmp_path / f"{HOST}-0.jsonl"
    whole = file.read_bytes()
    with shared_decisions(tmp_path):
        file.write_bytes(whole[:-4])
        with shared_decisions(tmp_path) as other:
            assert len(other) == 2
            file.write_bytes(whole)
            other.read_others(tmp_path)
            assert other.get(REQUESTS[2]) == {"verdict": 2}
    file.write_bytes(whole[:-4])
    with shared_decisions(tmp_path) as again:
        assert len(again) == 2
        again.answers(endpoint, REQUESTS[:3])
    assert file.read_bytes() == whole
    assert len(server.asked) == 4


def test_another_machine_writes_files_of_its_own_beside_half_a_line_of_a_lost_one(judge, tmp_path, monkeypatch):
    server, endpoint = judge
    with shared_decisions(tmp_path) as store:
        store.answers(endpoint, REQUESTS[:3])
    file = tmp_path / f"{HOST}-0.jsonl"
    file.write_bytes(file.read_bytes()[:-4])
    monkeypatch.setattr(socket, "gethostname", lambda: "pod-2")
    with shared_decisions(tmp_path) as store:
        assert store.answers(endpoint, REQUESTS[:4]) == [{"verdict": number} for number in range(4)]
    assert (tmp_path / "pod-2-0.jsonl").read_bytes().count(b"\n") == 2
    assert len(server.asked) == 5


def test_a_line_of_another_file_that_is_no_decision_is_named(tmp_path):
    (tmp_path / "7.jsonl").write_text("{}\n")
    with pytest.raises(DataError, match=r"7\.jsonl, row 1: is not a judge's decision"), shared_decisions(tmp_path):
        pass
