"""Settings that make no sense, and outputs that cannot be made."""

from __future__ import annotations

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
    SFT,
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
        "unknown objective",
        None,
        [*RUN, *sets("train.objective.type=listmel")],
        "larpo.toml: 'train.objective' has the unknown type 'listmel' ... one of dpo",
    ),
    case(
        "unknown setting",
        None,
        [*RUN, *sets("sample.temprature=1")],
        "larpo.toml: unknown setting 'sample.temprature' ... Did you mean 'temperature'?",
    ),
    case(
        "unknown section", None, [*SAMPLE, *sets("sampel.k=2")], "unknown setting 'sampel' ... Did you mean 'sample'?"
    ),
    case(
        "wrong type of a setting",
        None,
        [*RUN, *sets("sample.k=four")],
        "setting 'sample.k' ... valid integer ... not 'four'",
    ),
    case(
        "setting not in the file",
        text("larpo.toml", "policy = 'policy'"),
        RUN,
        "setting 'prepare' is missing ... --set prepare=",
    ),
    case("k = 1", None, [*SAMPLE, *sets("sample.k=1")], "setting 'sample': k = 1 ... use k >= 2"),
    case(
        "beta = 0",
        None,
        [*TRAIN, *sets("train.objective.beta=0")],
        "setting 'train.objective.beta' ... greater than 0, not 0",
    ),
    case(
        "NaN as a learning rate",
        None,
        [*TRAIN, *sets("train.learning_rate=nan")],
        "setting 'train.learning_rate' ... finite number",
    ),
    case(
        "several processes without a launcher",
        None,
        [*TRAIN, *sets("train.launch.nproc=2")],
        "setting 'train.launch' ... nproc 2 needs a launcher; set launcher to torchrun or deepspeed",
    ),
    case(
        "offload of what is not shared",
        None,
        [*TRAIN, *sets("train.launch.launcher=torchrun", "train.launch.offload=true")],
        "setting 'train.launch' ... offload needs launcher = deepspeed",
    ),
    case(
        "adapters of a module that is not there",
        None,
        [*TRAIN, *sets('train.lora={ targets = ["query"] }')],
        "lora.targets: the model has no module query ... leave lora.targets out",
    ),
    case(
        "adapters of a module that is not there, in a whole run",
        None,
        [*RUN, *sets('train.lora={ targets = ["query"] }')],
        "lora.targets: the model has no module query ... leave lora.targets out",
    ),
    case("training in float16", None, [*TRAIN, *sets("train.model.dtype=float16")], "float16 is not for training"),
    case(
        "a reference for an objective that reads none",
        None,
        [*TRAIN, "--reference", "policy", *sets('train.objective={ type = "simpo" }')],
        "the objective simpo reads no reference, but one is given ... choose another objective",
    ),
    case(
        "no room for a response",
        None,
        [*SFT, *sets("sft.max_tokens=64")],
        "setting 'sft' ... max_prompt_tokens 64 leaves no room in max_tokens 64",
    ),
    case(
        "negative temperature",
        None,
        [*SAMPLE, *sets("sample.temperature=-1")],
        "setting 'sample.temperature' ... greater than or equal to 0, not -1",
    ),
    case(
        "--set without equals sign",
        None,
        [*RUN, "--set", "sample.k"],
        "--set 'sample.k' is not in the form section.name=value",
    ),
    case(
        "no configuration file",
        None,
        ["run", "--out", "run", "--config", "no.toml"],
        "no.toml: no such file ... Give --config",
    ),
    case("broken TOML", text("larpo.toml", "[sample\nk = 2"), RUN, "larpo.toml: cannot be read as TOML ... line 1"),
    case("configuration not UTF-8", text("larpo.toml", b"\xff\xfe"), RUN, "larpo.toml: cannot be read as TOML"),
    case(
        "two kinds of evaluation prompts",
        None,
        [*RUN, *sets("prepare.heldout=2")],
        "prompts to evaluate on ... either prepare.heldout or evaluation_prompts",
    ),
    case(
        "no evaluation prompts",
        text("larpo.toml", "policy = 'policy'\n[prepare]\nsource = 'prompts.jsonl'"),
        RUN,
        "prompts to evaluate on ... Set either prepare.heldout",
    ),
    case(
        "promotion by accuracy, no judge",
        text(
            "larpo.toml",
            f"{NO_JUDGE}[promote]\nmetric = 'accuracy'",
        ),
        RUN,
        "promote.metric is 'accuracy' ... Set evaluate.judge",
    ),
    case(
        "early stop on accuracy, no judge",
        text(
            "larpo.toml",
            f"{NO_JUDGE}[loop]\nearly_stop = {{ metric = 'accuracy' }}",
        ),
        RUN,
        "loop.early_stop.metric is 'accuracy' ... Set evaluate.judge",
    ),
    case("unknown device", None, [*RUN, *sets("model.device=gpu")], "'gpu' is no device ... auto, cpu, cuda or cuda:0"),
    case(
        "unknown device of a step",
        None,
        [*SAMPLE, *sets("model.device=gpu")],
        "'gpu' is no device ... auto, cpu, cuda or cuda:0",
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
        "larpo.toml: cannot be made: File exists ... Choose another directory",
    ),
    case(
        "output is a file",
        None,
        [*RERANK[:-4], "--ranked", "larpo.toml", *CONFIG],
        "larpo.toml: is not an artifact ... another output path",
    ),
    case(
        "output is somebody's directory",
        None,
        [*RERANK[:-4], "--ranked", "policy", *CONFIG],
        "policy: is not an artifact ... another output path",
    ),
    case(
        "output made with other settings",
        None,
        [*RERANK[:-4], "--ranked", "ranked", *CONFIG, *sets("rerank.reranker.mode=exact")],
        'ranked: exists already, made with config.reranker.mode "graded" instead of "exact" ... Choose another',
    ),
    case(
        "output made from other inputs",
        None,
        [*SAMPLE[:-4], "--candidates", "candidates", *CONFIG, *sets("sample.sampler.batch_size=3", "sample.top_p=0.5")],
        "candidates: exists already, made with config ... Choose another output",
    ),
    case("two processes on one output", held, RERANK, "out: another process is making it ... Wait for it"),
    case(
        "run's directory is a file",
        None,
        ["run", "--out", "larpo.toml", *CONFIG],
        "larpo.toml ... cannot be made ... Choose another directory",
    ),
    case(
        "playground's directory is a file",
        None,
        ["playground", "--out", "larpo.toml"],
        "larpo.toml ... cannot be made ... Choose another directory",
    ),
    case(
        "quickstart's directory is a file",
        None,
        ["quickstart", "--out", "larpo.toml"],
        "larpo.toml ... cannot be made ... Choose another directory",
    ),
    case(
        "unreachable MLflow",
        None,
        [*RUN, *sets("tracking.uri=http://127.0.0.1:9")],
        "MLflow at http://127.0.0.1:9 ... Check tracking.uri or MLFLOW_TRACKING_URI",
    ),
    case(
        "not a place for MLflow",
        None,
        [*RUN, *sets("tracking.uri=somewhere")],
        "MLflow cannot keep runs at 'somewhere' ... Set tracking.uri",
    ),
    case(
        "a store that is not S3",
        None,
        [*PREPARE[:-4], "--prompts", "gs://bucket/key", *CONFIG],
        "gs://bucket/key: is not of the form s3://bucket/key ... s3://",
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
    assert line.startswith(f"larpo: {here / 'out'}: cannot be made: No space left on device. Free or choose")
    assert not (here / "out").exists()
    assert larpo(*command).code == 0
    assert (here / "out" / "artifact.json").is_file()


def test_full_disk_is_told_where_no_artifact_is_made(larpo: Larpo, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("larpo_lib.files.os.fsync", full)
    told = "run: cannot be made: No space left on device ... run the same command again"
    refused(larpo, here, lambda _here: None, RUN, told)


def test_place_that_cannot_be_written_to_is_told(larpo: Larpo, here: Path) -> None:
    place = here / "closed"
    place.mkdir(mode=0o500)
    if os.access(place, os.W_OK):  # root may write anywhere, except where the kernel says no
        place = Path("/sys")
    command = ["prepare", "--prompts", place / "out", *CONFIG]
    refused(
        larpo, here, lambda _here: None, command, f"{place / 'out'}: cannot be made: ... Free or choose another place"
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
