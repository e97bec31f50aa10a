from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from larpo_lib.artifacts import digest

Larpo = Callable[..., Any]


@pytest.fixture
def sampled(larpo: Larpo, tiny_world: Path, tmp_path: Path) -> Callable[..., Path]:
    def sampled(name: str, *options: str) -> Path:
        prompts = tmp_path / "prompts"
        if not prompts.exists():
            assert larpo("prepare", "--config", tiny_world / "larpo.toml", "--prompts", prompts).code == 0
        out = tmp_path / name
        given = ("--policy", tiny_world / "policy", "--prompts", prompts, "--candidates", out, *options)
        assert larpo("sample", "--config", tiny_world / "larpo.toml", *given).code == 0
        return out

    return sampled


def test_shards_are_sampled_merged_and_ranked_as_one(
    larpo: Larpo, sampled: Callable[..., Path], tmp_path: Path
) -> None:
    whole = sampled("whole")
    shards = [sampled(f"shard-{i}", "--shard", f"{i}/2") for i in range(2)]
    outcome = larpo("merge-shards", "--shards", shards[0], "--shards", shards[1], "--merged", tmp_path / "merged")
    assert outcome.code == 0
    assert digest(tmp_path / "merged") == digest(whole)


def test_a_shard_of_another_form_is_told(larpo: Larpo, tiny_world: Path, tmp_path: Path) -> None:
    given = ("--policy", "p", "--prompts", "q", "--candidates", tmp_path / "c", "--shard", "2/2")
    outcome = larpo("sample", "--config", tiny_world / "larpo.toml", *given)
    assert outcome.code == 2
    assert "'2/2' is not of the form i/n" in outcome.err
