"""A policy goes to the hub: its own files, to whoever may."""

import json
import shutil
from pathlib import Path

import pytest
from hub_double import STRANGER, TOKEN, HubDouble
from tiny_world import Larpo, files
from transformers import AutoTokenizer

from larpo_lib.config import TrackingConfig
from larpo_lib.models.hub import HubModel, fetch
from larpo_lib.registry import CHAMPION, Registry
from larpo_lib.tracking import Tracker

OWN = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
STATE = (
    "optimizer.pt", "training_args.bin", "trainer_state.json", "metrics.json", "history.jsonl", "reference.logps",
    "notes.txt", "run.log", "pytorch_model.bin", ".env", "checkpoint-1/model.safetensors", "train.py",
)  # fmt: skip


@pytest.fixture
def policy(tiny_policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A policy with a card, and with what other programs leave beside one."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)  # the double has no Xet storage
    copy = tmp_path / "policy"
    shutil.copytree(tiny_policy, copy)
    (copy / "README.md").write_text("# A card")
    for name in STATE:
        (copy / name).parent.mkdir(exist_ok=True)
        (copy / name).write_text(name)
    return copy


def test_only_the_files_of_the_model_are_pushed(
    hub: HubDouble, larpo: Larpo, policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = (OWN | {"README.md", "chat_template.jinja"}) & {*files(policy)}
    assert OWN - {"generation_config.json"} < expected
    dry = larpo("push", "me/mine", "--policy", policy, "--dry-run")
    assert dry.code == 0, dry.err
    assert {*json.loads(dry.out)["files"]} == expected
    assert "README.md, the model card, would be published too." in dry.err
    assert hub.asked == []

    monkeypatch.setenv("HF_TOKEN", TOKEN)
    pushed = larpo("push", "me/mine", "--policy", policy, "--private")
    assert pushed.code == 0, pushed.err
    told = json.loads(pushed.out)
    repository = hub.repositories["me/mine"]
    assert repository.private
    assert repository.branches["main"] == told["commit"]
    there = repository.commits[told["commit"]]
    assert {name: there[name] for name in there if name != ".gitattributes"} == {
        name: (policy / name).read_bytes() for name in expected
    }
    assert TOKEN not in pushed.out + pushed.err
    assert (fetch(HubModel("me/mine")) / "model.safetensors").read_bytes() == (
        policy / "model.safetensors"
    ).read_bytes()


def test_weights_of_an_earlier_model_go_and_a_branch_is_made(
    hub: HubDouble, larpo: Larpo, policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    earlier = {"model-1-of-2.safetensors": b"1", "model.safetensors.index.json": b"{}", "notes.md": b"n"}
    first = hub.push("me/mine", earlier)
    pushed = larpo("push", "me/mine", "--policy", policy, "--revision", "v2")
    assert pushed.code == 0, pushed.err
    repository = hub.repositories["me/mine"]
    assert repository.branches["main"] == first
    assert json.loads(pushed.out)["deleted"] == ["model-1-of-2.safetensors", "model.safetensors.index.json"]
    there = repository.commits[repository.branches["v2"]]
    assert "notes.md" in there
    assert "model-1-of-2.safetensors" not in there


def test_nothing_of_an_earlier_model_changes_how_the_new_one_is_read(
    hub: HubDouble, larpo: Larpo, policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A template in a file of its own wins over one in tokenizer_config.json, where transformers 4 has it."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    settings = json.loads((policy / "tokenizer_config.json").read_text("utf-8"))
    if (policy / "chat_template.jinja").exists():
        settings["chat_template"] = (policy / "chat_template.jinja").read_text("utf-8")
        (policy / "chat_template.jinja").unlink()
        (policy / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")
    (policy / "generation_config.json").unlink(missing_ok=True)
    earlier = (
        "adapter_config.json", "adapter_model.safetensors", "additional_chat_templates/tools.jinja",
        "added_tokens.json", "chat_template.jinja", "generation_config.json", "modules.json", "pytorch_model.bin",
        "special_tokens_map.json", "tokenizer.model",
    )  # fmt: skip
    of_others = ("LICENSE", "eval/model.safetensors", "figure.png", "results.json", "train.py")
    hub.push("me/mine", dict.fromkeys((*earlier, *of_others), b'{"old": 1}'))
    pushed = larpo("push", "me/mine", "--policy", policy)
    assert pushed.code == 0, pushed.err
    assert json.loads(pushed.out)["deleted"] == sorted(earlier)
    there = hub.repositories["me/mine"].commits[hub.repositories["me/mine"].branches["main"]]
    assert {*of_others} < {*there}
    messages = [{"role": "user", "content": "Ann has 2"}]
    own, found = (AutoTokenizer.from_pretrained(place) for place in (policy, fetch(HubModel("me/mine"))))
    assert found.apply_chat_template(messages, tokenize=False) == own.apply_chat_template(messages, tokenize=False)


def test_the_champion_is_pushed_from_the_registry(
    hub: HubDouble, larpo: Larpo, tiny_policy: Path, mlflow_store: Path, mlflow_uri: str
) -> None:
    with Tracker(TrackingConfig(), mlflow_store).standalone_run("push", "a", TrackingConfig()) as run:
        registry = Registry(mlflow_uri, run.run_id)
        version = registry.register(tiny_policy, model_name="mine", evaluation={})
        registry.set_alias("mine", CHAMPION, version)
    listed = larpo("push", "me/mine", "--policy", "models:/mine@champion", "--store", mlflow_store, "--dry-run")
    assert listed.code == 0, listed.err
    sizes = {path.name: path.stat().st_size for path in tiny_policy.iterdir()}
    assert json.loads(listed.out)["files"] == sizes
    missing = larpo("push", "me/mine", "--policy", "models:/other@champion", "--store", mlflow_store, "--dry-run")
    assert "has no alias 'champion'" in missing.err


def test_who_may_not_push_is_told(hub: HubDouble, larpo: Larpo, policy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = larpo("push", "me/mine", "--policy", policy)
    assert refused.code == 2
    assert "no token to push to the hub with. Set the environment variable HF_TOKEN" in refused.err
    assert hub.asked == []
    monkeypatch.setenv("HF_TOKEN", STRANGER)
    stranger = larpo("push", "me/mine", "--policy", policy)
    assert stranger.code == 2
    assert f"me/mine: {hub.url} does not let this token make or change it (403)" in stranger.err
    assert STRANGER not in stranger.err
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.push("me/public", {".gitattributes": b""})
    public = larpo("push", "me/public", "--policy", policy, "--private")
    assert "me/public: exists already and is public" in public.err
    assert "is not the name of a repository" in larpo("push", "mine", "--policy", policy).err
    assert "is not a model directory" in larpo("push", "me/mine", "--policy", policy.parent).err
    (policy / "model.safetensors").write_bytes(b"torn")
    assert "the weights cannot be read" in larpo("push", "me/mine", "--policy", policy).err
    assert "me/mine" not in hub.repositories
