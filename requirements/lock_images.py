"""Writes requirements/images/*.txt: what each image installs, all of it, at the versions of constraints.txt.

An image gets less than the development environment, so it needs a list of its own. The list is made from the metadata
of the packages installed here: larpo's own requirements, theirs, and so on. Nothing is resolved anew, so no version is
chosen here; the lists of `sampler` are vllm-cpu.txt and vllm-cuda.txt without what tests need. They hold what the
benchmarks need, too: those of a gate are taken where the policy is evaluated. Every line has the hashes of the files
that it may be, from hashes.txt. torch's CPU build, which is not on PyPI, stands in a list of its own.

Run it in the development environment after a change of pyproject.toml, constraints.txt, cuda.txt or one of vLLM's
lists; where a version has changed, run fetch_hashes.py before.
"""

import re
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "requirements" / "images"
HASHES = ROOT / "requirements" / "hashes.txt"

LARPO = "larpo"
ALONE = ("kfp",)
"""Installed without their requirements: a component's start needs kfp's own modules, not the client of its API."""

ROOTS: dict[str, tuple[str, ...]] = {
    "base": ("larpo[lora]", "kfp", "typing_extensions"),
    "trainer": ("larpo[deepspeed,lora]", "kfp", "typing_extensions", "kubernetes"),
    "evaluator": ("larpo[alpaca-eval,arena-hard,embedding,lm-eval,lora]", "kfp", "typing_extensions", "kubernetes"),
    "mlflow": ("mlflow[auth]", "boto3", "psycopg2-binary"),
}
"""What each image is for."""

TESTS = frozenset(
    {"execnet", "hypothesis", "iniconfig", "pluggy", "pytest", "pytest-timeout", "pytest-xdist", "sortedcontainers"}
)
"""What vLLM's lists hold for the tests."""

_CUDA = re.compile(r"(nvidia|cuda|triton)\b")
"""What torch's default build asks for beside torch: it stands in cuda.txt, not in constraints.txt."""


def pins(file: str) -> dict[str, str]:
    """Lines of a file in requirements/ by canonical name."""
    lines = (ROOT / "requirements" / file).read_text("utf-8").splitlines()
    return {canonicalize_name(line.partition("==")[0]): line for line in lines if not line.startswith("#")}


def closure(roots: tuple[str, ...], known: dict[str, str]) -> set[str]:
    """Canonical names of all that `roots` need on this platform, themselves included and larpo left out."""
    found: set[tuple[str, str]] = set()
    waiting = [(Requirement(root).name, extra) for root in roots for extra in ("", *sorted(Requirement(root).extras))]
    while waiting:
        name, extra = waiting.pop()
        name = canonicalize_name(name)
        if (name, extra) in found or (name not in known and _CUDA.match(name)):
            continue
        found.add((name, extra))
        if name not in ALONE:
            waiting += _needed(name, extra)
    names = {name for name, _ in found} - {LARPO}
    if missing := sorted(names - known.keys()):
        sys.exit(f"requirements/constraints.txt has no line for {', '.join(missing)}")
    return names


def _needed(name: str, extra: str) -> list[tuple[str, str]]:
    needed = []
    for requirement in map(Requirement, _requirements(name, extra)):
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            needed += [(requirement.name, wanted) for wanted in ("", *sorted(requirement.extras))]
    return needed


def _requirements(name: str, extra: str) -> list[str]:
    if name == LARPO:  # an editable installation may be older than the file
        project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
        return list(project["optional-dependencies"][extra] if extra else project["dependencies"])
    try:
        return requires(name) or []
    except PackageNotFoundError:
        sys.exit(f"{name} is not installed here; run this in the development environment (make install)")


def locks() -> dict[str, str]:
    """Text of each file by its name."""
    hashes = dict(line.split(" ", 1) for line in HASHES.read_text("utf-8").splitlines() if not line.startswith("#"))
    elsewhere: set[str] = set()
    texts = {}
    for name, lines in locked().items():
        texts[f"{name}.txt"] = _text(_hashed(line, hashes) for line in lines.values() if not pinned_elsewhere(line))
        elsewhere |= {line for line in lines.values() if pinned_elsewhere(line)}
    return {**texts, "torch-cpu.txt": _text(elsewhere)}


def pinned_elsewhere(line: str) -> bool:
    """Whether a version is none of PyPI's: PyTorch's own index has torch's CPU build."""
    return "+" in line


def _hashed(line: str, hashes: dict[str, str]) -> str:
    name, _, version = line.partition("==")
    known = hashes.get(f"{canonicalize_name(name)}=={version}")
    if known is None:
        sys.exit(f"requirements/hashes.txt has no line for {line}; run requirements/fetch_hashes.py")
    return f"{line} {known}"


def locked() -> dict[str, dict[str, str]]:
    """The lines of each list, without hashes, by the list's name."""
    known, cuda = pins("constraints.txt"), pins("cuda.txt")
    cpu = {"torch": f"{known['torch']}+cpu"}
    lists = {}
    for image, roots in ROOTS.items():
        lines = {name: known[name] for name in closure(roots, known)}
        if "torch" in lines:
            lists |= {f"{image}-cpu": lines | cpu, f"{image}-cuda": lines | cuda}
        else:
            lists[image] = lines
    for variant in ("cpu", "cuda"):
        lines = pins(f"vllm-{variant}.txt") | {"kfp": known["kfp"]}
        lists[f"sampler-{variant}"] = {name: line for name, line in lines.items() if name not in TESTS}
    return lists


def _text(lines: Iterable[str]) -> str:
    return "\n".join(["# Made by requirements/lock_images.py; do not edit.", *sorted(lines, key=str.lower), ""])


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in locks().items():
        (FOLDER / name).write_text(text, "utf-8")
