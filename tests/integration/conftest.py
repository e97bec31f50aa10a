"""Real data and tiny models for the tests of whole runs."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def published() -> Callable[[str], Path]:
    """Finds a published file by its name; skips the test where it is absent."""

    def find(name: str) -> Path:
        folder = Path(os.environ.get("LARPO_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
        if not (folder / name).exists():
            pytest.skip(f"published test data {name} are absent; set LARPO_SHARED_DATA to their folder")
        return folder / name

    return find


@pytest.fixture(scope="session")
def real_text_models(published: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Directories of a tiny policy and a tiny reward model whose tokenizer knows the words of GSM8K."""
    from tiny_models import byte_level_tokenizer, make_policy, make_reward_model

    with gzip.open(published("gsm8k/test.jsonl.gz"), "rt", encoding="utf-8") as lines:
        tokenizer = byte_level_tokenizer([json.loads(line)["question"] for line in lines])
    folder = tmp_path_factory.mktemp("models")
    make_policy(folder / "policy", tokenizer)
    make_reward_model(folder / "reward-model", tokenizer)
    return folder / "policy", folder / "reward-model"
