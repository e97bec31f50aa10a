"""Settings that make no sense, and outputs that cannot be made."""

import errno
import fcntl
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from spoiling import (
    CONFIG,
    LISTS,
    PREPARE,
    RERANK,
    RUN,
    SAMPLE,
    TRAIN,
    Spoil,
    case,
    forbid_weights,
    refused,
    sets,
    text,
)
from tiny_world import Larpo

NO_JUDGE = "policy = 'policy'\n[prepare]\nsource = 'prompts.jsonl'\nheldout = 2\n"

SETTINGS = [
    case(
        "unknown setting",
        None,
        [*RUN, *sets("sample.temprature=1")],
        "larpo.toml: unknown setting 'sample.temprature' ... Did you mean 'temperature'?",
    ),
    case(
        "setting not in the file",
        text("larpo.toml", "policy = 'policy'"),
        RUN,
        "setting 'prepare' is missing ... --set prepare=",
    ),
    case(
        "adapters of a module that is not there, in a whole run",
        None,
        [*RUN, *sets('train.lora={ targets = ["query"] }')],
        "lora.targets: the model has no module query ... remove it",
    ),
    case(
        "training in float16",
        None,
        [*TRAIN, *sets("train.model.dtype=float16")],
        "training with float16 is not supported",
    ),
    case(
        "--set without equals sign",
        None,
        [*RUN, "--set", "sample.k"],
        "--set 'sample.k' is not in the form section.name=value",
    ),
    case("broken TOML", text("larpo.toml", "[sample\nk = 2"), RUN, "larpo.toml: cannot be read as TOML ... line 1"),
    case(
        "two kinds of evaluation prompts",
        None,
        [*RUN, *sets("prepare.heldout=2")],
        "evaluation prompts must come from exactly one source. Set either prepare.heldout or evaluation_prompts",
    ),
    case(
        "promotion by accuracy, no judge",
        text("larpo.toml", f"{NO_JUDGE}[promote]\nmetric = 'accuracy'"),
        RUN,
        "promote.metric is 'accuracy' ... Set evaluate.judge",
    ),
    case(
        "early stop on accuracy, no judge",
        text("larpo.toml", f"{NO_JUDGE}[loop]\nearly_stop = {{ metric = 'accuracy' }}"),
        RUN,
        "loop.early_stop.metric is 'accuracy' ... Set evaluate.judge",
    ),
    case(
        "unknown device", None, [*RUN, *sets("model.device=gpu")], "'gpu' is not a device ... auto, cpu, cuda or cuda:0"
    ),
    case("no CUDA device", None, [*RUN, *sets("model.device=cuda:9")], "device = 'cuda:9' ... Set it to auto or cpu"),
    case(
        "CUDA asked for where there is none",
        None,
        [*TRAIN, *sets("model.device=cuda")],
        "device = 'cuda' ... this machine has 0 CUDA devices ... Set it to auto or cpu",
        marks=[pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")],
    ),
]


def held(here: Path) -> Any:
    """Another process makes `out`; the file object lives as long as the test holds it."""
    lock = (here / ".out.lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


OUTPUTS = [
    case(
        "output below a file",
        None,
        [*RERANK[:-4], "--ranked", "larpo.toml/out", *CONFIG],
        "larpo.toml: cannot be created: File exists ... Choose another directory",
    ),
    case(
        "output made with other settings",
        None,
        [*RERANK[:-4], "--ranked", "ranked", *CONFIG, *sets("rerank.reranker.mode=exact")],
        'ranked: exists already, but was made with config.reranker.mode "graded" instead of "exact" ... Choose another',
    ),
    case("two processes on one output", held, RERANK, "out: another process is writing it ... Wait until it ends"),
    case(
        "run's directory is a file",
        None,
        ["run", "--out", "larpo.toml", *CONFIG],
        "larpo.toml ... cannot be created ... Choose another directory",
    ),
    case(
        "quickstart's directory is a file",
        None,
        ["quickstart", "--out", "larpo.toml"],
        "larpo.toml ... cannot be created ... Choose another directory",
    ),
    case(
        "unreachable MLflow",
        None,
        [*RUN, *sets("tracking.uri=http://127.0.0.1:9")],
        "MLflow at http://127.0.0.1:9 ... Check tracking.uri or MLFLOW_TRACKING_URI",
    ),
    case(
        "a store that is not S3",
        None,
        [*PREPARE[:-4], "--prompts", "gs://bucket/key", *CONFIG],
        "gs://bucket/key: is neither a local path nor in the form s3://bucket/key ... Use an s3:// URI or a local path",
    ),
]


@pytest.mark.parametrize(("spoil", "arguments", "told"), [*SETTINGS, *OUTPUTS])
def test_bad_setting_or_output_is_told(
    larpo: Larpo, here: Path, monkeypatch: pytest.MonkeyPatch, spoil: Spoil, arguments: Sequence[str], told: str
) -> None:
    forbid_weights(monkeypatch)
    refused(larpo, here, spoil, arguments, told)


@pytest.mark.parametrize("command", [PREPARE, RERANK, LISTS])
def test_full_disk_is_told_and_the_command_goes_on_later(
    larpo: Larpo, here: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("larpo_lib.files.os.fsync", full)
        outcome = larpo(*command)
    assert outcome.code == 2
    line = outcome.err.splitlines()[-1]
    assert line.startswith(f"larpo: {here / 'out'}: cannot be created: No space left on device. Fix this, or choose")
    assert not (here / "out").exists()
    assert larpo(*command).code == 0
    assert (here / "out" / "artifact.json").is_file()


def test_full_disk_is_told_where_no_artifact_is_made(larpo: Larpo, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("larpo_lib.files.os.fsync", full)
    told = "run: cannot be created: No space left on device ... run the same command again"
    refused(larpo, here, lambda _here: None, RUN, told)


def test_place_that_cannot_be_written_to_is_told(larpo: Larpo, here: Path) -> None:
    place = here / "closed"
    place.mkdir(mode=0o500)
    if os.access(place, os.W_OK):  # root may write anywhere, except where the kernel says no
        place = Path("/sys")
    command = ["prepare", "--prompts", place / "out", *CONFIG]
    refused(
        larpo,
        here,
        lambda _here: None,
        command,
        f"{place / 'out'}: cannot be created: ... Fix this, or choose another output",
    )


@pytest.mark.parametrize(
    "command",
    [
        ["prepare", "--prompts", "s3://no-such-bucket/prompts", *CONFIG],
        [*SAMPLE, "--prompts", "s3://no-such-bucket/prompts"],
        [*PREPARE, "--set", "prepare.source=s3://no-such-bucket/prompts.jsonl"],
    ],
)
def test_missing_bucket_is_told(larpo: Larpo, here: Path, s3: Any, command: list[str]) -> None:
    told = "s3://no-such-bucket/prompts ... no such bucket ... Create it"
    refused(larpo, here, lambda _here: None, command, told)
