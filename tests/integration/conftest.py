"""Real data and tiny models for the tests of whole runs."""

import gzip
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from services.radosgw import Gateway
from stored_artifacts import BUCKET, keys


@pytest.fixture(scope="session")
def real_text_models(shared_data: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Directories of a tiny policy and a tiny reward model whose tokenizer knows the words of GSM8K."""
    from tiny_models import byte_level_tokenizer, make_policy, make_reward_model

    with gzip.open(shared_data("gsm8k/test.jsonl.gz"), "rt", encoding="utf-8") as lines:
        tokenizer = byte_level_tokenizer([json.loads(line)["question"] for line in lines])
    folder = tmp_path_factory.mktemp("models")
    make_policy(folder / "policy", tokenizer)
    make_reward_model(folder / "reward-model", tokenizer)
    return folder / "policy", folder / "reward-model"


@pytest.fixture
def store(gateway: Gateway, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """A client of the test's own, with an empty bucket; the environment points larpo to the same server."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in gateway.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-config"))
    monkeypatch.setenv("LARPO_S3_PATIENCE", "60")
    own = gateway.client()
    own.create_bucket(Bucket=BUCKET)
    yield own
    for key in keys(own):
        own.delete_object(Bucket=BUCKET, Key=key)
    own.delete_bucket(Bucket=BUCKET)
