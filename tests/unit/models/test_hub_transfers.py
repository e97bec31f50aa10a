"""A hub that is away, refuses or breaks off, and caches that many use, against a hub on loopback."""

import errno
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hub_double import MODEL, STRANGER, TOKEN, HubDouble

from larpo_lib.errors import ModelError, StorageError
from larpo_lib.models.hub import HubModel, fetch, pin


def _files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_transfer_that_breaks_off_goes_on_where_it_was(hub: HubDouble, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 100_000)
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)
    hub.push("org/name", MODEL)
    hub.cut_at["model.safetensors"] = 1_000_000
    folder = fetch(HubModel("org/name"))
    assert (folder / "model.safetensors").read_bytes() == MODEL["model.safetensors"]
    assert hub.ranges == ["bytes=1000000-"]


def test_a_killed_download_keeps_its_whole_files(hub: HubDouble, monkeypatch):
    hub.push("org/name", MODEL)
    with monkeypatch.context() as patched:
        patched.setattr("huggingface_hub.file_download._chmod_and_move", _refuse_weights)
        with pytest.raises(KeyboardInterrupt):
            fetch(HubModel("org/name"))
    hub.asked.clear()
    fetch(HubModel("org/name"))
    assert hub.files_asked() == ["model.safetensors"]


def _refuse_weights(source: Path, target: Path) -> None:
    if source.stat().st_size > 1_000_000:
        raise KeyboardInterrupt
    shutil.move(source, target)


@pytest.mark.parametrize(
    ("token", "status", "then"),
    [(None, 401, "set the environment variable HF_TOKEN"), (STRANGER, 403, "use that account's token in HF_TOKEN")],
)
def test_a_gated_model_names_its_licence_and_the_variable(hub: HubDouble, monkeypatch, token, status, then):
    hub.push("org/gated", MODEL, gated=True)
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(ModelError) as told:
        fetch(HubModel("org/gated"))
    for part in (f"licence to be accepted ({status})", f"{hub.url}/org/gated", then):
        assert part in str(told.value)
    assert "hf_" not in str(told.value)
    assert "\n" not in str(told.value)


def test_a_token_reads_what_is_gated_and_stands_nowhere(hub: HubDouble, monkeypatch, caplog, tmp_path):
    hub.push("org/gated", MODEL, gated=True, private=True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    folder = fetch(HubModel("org/gated"))
    assert hub.tokens == {TOKEN}
    assert TOKEN not in caplog.text
    assert not any(TOKEN.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert (folder / "config.json").is_file()


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("org/nothing", "org/nothing: is neither a local directory nor a model on http.* HF_TOKEN"),
        ("org/name@v9", "org/name: has no revision 'v9'"),
        ("org/pickled", r"org/pickled@\w{40}: has no model.safetensors, only pytorch_model.bin. .*give that directory"),
        ("org/data", r"org/data@\w{40}: is not a model that transformers can load \(no config.json\)"),
    ],
)
def test_what_is_not_there_is_told_in_one_line(hub: HubDouble, model, told):
    hub.push("org/name", MODEL)
    hub.push("org/pickled", {"config.json": b"{}", "pytorch_model.bin": b"p"})
    hub.push("org/data", {"data.csv": b"a"})
    with pytest.raises(ModelError, match=told) as raised:
        fetch(HubModel.parse(model) or HubModel(""))
    assert "\n" not in str(raised.value)
    assert not raised.value.transient
    assert "pytorch_model.bin" not in hub.files_asked()


def test_a_listed_file_that_is_missing_is_told(hub: HubDouble):
    hub.push("org/name", MODEL)
    hub.gone.add("model.safetensors")
    with pytest.raises(ModelError, match="answered 404"):
        fetch(HubModel("org/name"))


def test_a_hub_that_is_away_or_busy_may_be_asked_again(hub: HubDouble, monkeypatch):
    hub.push("org/name", MODEL)
    hub.status = 500
    with pytest.raises(ModelError, match="answered 500") as busy:
        pin("org/name")
    assert busy.value.transient
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ModelError, match=r"http://127.0.0.1:9 cannot be reached.*HF_ENDPOINT") as away:
        pin("org/name")
    assert away.value.transient


def test_without_a_connection_the_cache_is_used(hub: HubDouble, monkeypatch):
    commit = hub.push("org/name", MODEL)
    folder = fetch(HubModel("org/name"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    hub.asked.clear()
    assert pin("org/name") == f"org/name@{commit}"
    assert fetch(HubModel("org/name")) == folder
    shutil.rmtree(folder)
    assert fetch(HubModel("org/name")) == folder
    with pytest.raises(ModelError, match=r"org/other@main: is neither .*in the cache .*Unset HF_HUB_OFFLINE"):
        fetch(HubModel("org/other"))
    with pytest.raises(ModelError, match=r"org/name@v2: is neither .*in the cache"):
        fetch(HubModel("org/name", "v2"))
    assert hub.asked == []


def test_a_program_reads_the_variables_of_the_hub(hub: HubDouble, tmp_path):
    commit = hub.push("org/gated", MODEL, gated=True)
    own = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": TOKEN, "HF_HUB_OFFLINE": "0"}
    code = (
        "from larpo_lib import logs; logs.set_up('quiet')\n"
        "from larpo_lib.models.hub import local_model; print(local_model('org/gated'))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env={**os.environ, **own}, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    weights = Path(done.stdout.strip()) / "model.safetensors"
    assert weights.resolve().is_relative_to(tmp_path / "home")
    assert (tmp_path / "home" / "hub" / "models--org--gated" / "snapshots" / commit / "config.json").is_file()


def test_several_that_need_a_model_fetch_it_once(hub: HubDouble):
    hub.push("org/name", MODEL)
    with ThreadPoolExecutor(4) as pool:
        folders = list(pool.map(lambda _: fetch(HubModel("org/name")), range(4)))
    assert len(set(folders)) == 1
    assert hub.files_asked().count("model.safetensors") == 1


def test_a_full_disk_is_told(hub: HubDouble, monkeypatch):
    hub.push("org/name", MODEL)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("huggingface_hub.file_download._chmod_and_move", full)
    with pytest.raises(StorageError, match=r"No space left on device.*HF_HOME"):
        fetch(HubModel("org/name"))


def test_a_cache_that_cannot_be_written_is_told(hub: HubDouble, tmp_path, monkeypatch):
    hub.push("org/name", MODEL)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LARPO_CACHE", str(tmp_path / "file"))
    with pytest.raises(StorageError, match=r"cannot be created: Not a directory\. Set LARPO_CACHE"):
        fetch(HubModel("org/name"))
