"""Data of lm-eval's tasks, and nltk's model that counts sentences."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from lm_eval_world import write_data
from small_punkt import write_punkt

from larpo_lib.rewards.rules import sentences


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture
def punkt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    import nltk

    monkeypatch.setattr(nltk.data, "path", [str(write_punkt(tmp_path / "nltk"))])
    sentences._punkt.cache_clear()
    yield
    sentences._punkt.cache_clear()
