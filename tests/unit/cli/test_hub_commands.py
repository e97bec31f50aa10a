"""Steps that are given models by their names on the hub."""

from pathlib import Path
from typing import Any

from hub_double import HubDouble
from tiny_world import Larpo

from larpo_lib.artifacts import read_manifest
from larpo_lib.config import load_config
from larpo_lib.preflight import check_config
from larpo_lib.run_files import pin_models, read_models, write_models
from larpo_lib.storage import upload
from larpo_lib.tables import read_table

CONFIG = ("--config", "larpo.toml")
OF_POLICY = ("policy", "candidate_id")


def test_a_policy_by_its_name_samples_what_its_directory_does(here: Path, hub: HubDouble, larpo: Larpo) -> None:
    commit = hub.push("org/tiny", here / "policy")
    command = ("sample", "--prompts", "prompts", "--candidates", "by-name", *CONFIG, "--policy")
    assert larpo(*command, "org/tiny").code == 0
    assert read_manifest(here / "by-name")["inputs"]["policy"] == f"org/tiny@{commit}"
    tables = [read_table(here / name, "candidates") for name in ("candidates", "by-name")]
    by_path, by_name = ([{k: v for k, v in row.items() if k not in OF_POLICY} for row in rows] for rows in tables)
    assert by_path == by_name
    assert larpo(*command, f"org/tiny@{commit}").code == 0

    moved = hub.push("org/tiny", here / "policy")
    refused = larpo(*command, "org/tiny")
    assert refused.code == 2
    assert f'inputs.policy "org/tiny@{commit[:8]}" instead of "org/tiny@{moved[:8]}"' in refused.err
    assert larpo(*command, f"org/tiny@{commit}").code == 0

    missing = larpo("sample", "--prompts", "prompts", "--candidates", "other", *CONFIG, "--policy", "org/other")
    assert missing.code == 2
    assert "org/other: is neither a local directory nor a model on" in missing.err


def test_a_reward_model_by_its_name_scores_what_its_directory_does(
    here: Path, hub: HubDouble, s3: Any, larpo: Larpo
) -> None:
    commit = hub.push("org/reward", here / "reward")
    upload(here / "reward", "s3://larpo-bucket/models/reward", last="config.json")
    found = []
    places = {"reward": "by-path", "s3://larpo-bucket/models/reward": "by-uri", "org/reward": "by-name"}
    for path, output in places.items():
        setting = f'rerank.reranker={{ type = "classifier", path = "{path}", model = {{ device = "cpu" }} }}'
        command = ("rerank", "--prompts", "prompts", "--candidates", "candidates", "--ranked", output, "--set", setting)
        assert larpo(*command, *CONFIG).code == 0
        found.append([dict(row) for row in read_table(here / output, "ranked")])
    by_path, by_uri, by_name = found
    assert by_path == by_uri
    assert {row.pop("reranker") for row in by_name} == {f"classifier-reward@{commit[:8]}"}
    assert {row.pop("reranker") for row in by_path} == {"classifier-reward"}
    assert by_path == by_name

    hub.push("org/reward", here / "reward")
    refused = larpo(*command, *CONFIG)
    assert refused.code == 2
    assert f'config.reranker.path "org/reward@{commit[:8]}" instead of "org/reward@' in refused.err


def test_a_run_stays_with_the_commits_that_it_began_with(here: Path, hub: HubDouble) -> None:
    first = hub.push("org/tiny", here / "policy")
    config = load_config(here / "larpo.toml", ["policy=org/tiny"])
    pinned, models = pin_models(config, read_models(here))
    assert models == {"org/tiny": f"org/tiny@{first}"}
    assert pinned.policy == pinned.prepare.templates[0].path == f"org/tiny@{first}"
    check_config(pinned)
    write_models(models, here)
    moved = hub.push("org/tiny", here / "policy")
    assert pin_models(config, read_models(here)) == (pinned, models)
    (here / "models.json").unlink()
    assert pin_models(config, read_models(here))[0].policy == f"org/tiny@{moved}"
