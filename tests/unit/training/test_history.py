import pytest

from larpo_lib.errors import ArtifactError
from larpo_lib.training.history import HISTORY, read_history, write_history


def test_what_is_written_is_read(tmp_path):
    rows = [{"loss": 1.5, "step": 1.0}, {"loss": 0.1 + 0.2, "step": 2.0}]
    write_history(tmp_path, rows)
    assert read_history(tmp_path) == rows


def test_a_history_that_is_missing_or_damaged_is_named(tmp_path):
    with pytest.raises(ArtifactError, match=r"history.jsonl: no such file"):
        read_history(tmp_path)
    (tmp_path / HISTORY).write_text('{"loss": 1.0}\n{"lo')
    with pytest.raises(ArtifactError, match=r"history.jsonl: is damaged"):
        read_history(tmp_path)
