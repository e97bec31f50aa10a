"""Steps whose every path is an s3:// URI, by the command line, on a real S3 server that is killed meanwhile."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from killed_store import killed_at
from services.radosgw import Gateway
from stored_artifacts import BUCKET
from tiny_world import Larpo

from larpo_lib import storage
from larpo_lib.artifacts import read_manifest, verify
from larpo_lib.tables import read_table

ROOT = f"s3://{BUCKET}/runs/one"
STEPS: dict[str, list[str]] = {
    "prepare": [f"--prompts={ROOT}/prompts", f"--set=prepare.source=s3://{BUCKET}/world/prompts.jsonl"],
    "sample": [f"--policy=s3://{BUCKET}/world/policy", f"--prompts={ROOT}/prompts", f"--candidates={ROOT}/candidates"],
    "rerank": [f"--prompts={ROOT}/prompts", f"--candidates={ROOT}/candidates", f"--ranked={ROOT}/ranked"],
    "build-lists": [f"--prompts={ROOT}/prompts", f"--ranked={ROOT}/ranked", f"--lists={ROOT}/lists"],
}


@pytest.fixture
def on_new_machine(
    store: Any, here: Path, larpo: Larpo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], str]:
    """Runs a step with an empty cache; the world's files are in the store."""
    for file in (here / "policy").iterdir():
        store.upload_file(str(file), BUCKET, f"world/policy/{file.name}")
    store.upload_file(str(here / "prompts.jsonl"), BUCKET, "world/prompts.jsonl")
    machines = iter(range(100))

    def run(step: str) -> str:
        monkeypatch.setenv("LARPO_CACHE", str(tmp_path / f"machine-{next(machines)}"))
        outcome = larpo(step, "--config", here / "larpo.toml", *STEPS[step])
        assert outcome.code == 0, outcome.err
        return outcome.out

    return run


def stored(client: Any) -> dict[str, Any]:
    found = client.list_objects_v2(Bucket=BUCKET, Prefix="runs/").get("Contents", [])
    return {item["Key"]: (item["ETag"], item["LastModified"]) for item in found}


def assert_same_as_made_locally(larpo: Larpo, here: Path, cache: Path) -> None:
    """What is in the store is what the same steps make of local files."""
    prompts = storage.fetch(f"{ROOT}/prompts", cache)
    assert rows_of(prompts) == rows_of(here / "prompts")
    local = {name: here / "local" / name for name in ("candidates", "ranked", "lists")} | {"prompts": prompts}
    options = {name: f"--{name}={path}" for name, path in local.items()}
    for step, names in (
        ("sample", ("prompts", "candidates")),
        ("rerank", ("prompts", "candidates", "ranked")),
        ("build-lists", ("prompts", "ranked", "lists")),
    ):
        policy = [f"--policy={here / 'policy'}"] if step == "sample" else []
        outcome = larpo(step, "--config", here / "larpo.toml", *policy, *[options[name] for name in names])
        assert outcome.code == 0, outcome.err
    for name, path in local.items():
        fetched = storage.fetch(f"{ROOT}/{name}", cache)
        verify(fetched)
        assert read_manifest(fetched) == read_manifest(path)


def rows_of(prompts: Path) -> list[dict[str, Any]]:
    """All but where they came from."""
    return [row | {"source": ""} for row in read_table(prompts, "prompts")]


def test_steps_make_in_the_store_what_they_make_locally(
    store: Any,
    here: Path,
    larpo: Larpo,
    on_new_machine: Callable[[str], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    printed = [on_new_machine(step) for step in STEPS]
    assert_same_as_made_locally(larpo, here, tmp_path / "cache")
    before = stored(store)

    monkeypatch.setattr("larpo_lib.steps.sample.make_sampler", None)
    monkeypatch.setattr("larpo_lib.steps.rerank.make_reranker", None)
    assert [on_new_machine(step) for step in STEPS] == printed
    assert stored(store) == before


def test_steps_lose_nothing_when_the_server_is_killed_under_them(
    gateway: Gateway, here: Path, larpo: Larpo, on_new_machine: Callable[[str], str], tmp_path: Path
) -> None:
    on_new_machine("prepare")
    with killed_at(gateway, "GetObject", 3, away_s=2):
        on_new_machine("sample")
    with killed_at(gateway, "PutObject", 2, away_s=2):
        on_new_machine("rerank")
    with killed_at(gateway, "HeadObject", 1, away_s=2):
        on_new_machine("build-lists")
    assert_same_as_made_locally(larpo, here, tmp_path / "cache")
