"""What the quickstart with a real language model runs on: a small model, and requests that rules can check."""

import json
from pathlib import Path

from larpo_lib.files import make_directory, read_json, write_json, write_json_lines, write_text
from larpo_lib.playground.requests import make_requests
from larpo_lib.playground.smollm import HUB_NAME, find_smollm
from larpo_lib.playground.world import AGAIN, objective_settings

PROMPTS, HELDOUT = 256, 48
"""Requests to train on, and to evaluate on."""

_LICENCE = f"""The requests in prompts.jsonl and heldout.jsonl are part of larpo, under the Apache License, Version 2.0
(https://www.apache.org/licenses/LICENSE-2.0). Their kinds of instructions are those of IFEval (Zhou et al. 2023,
arXiv:2311.07911). The model, {HUB_NAME}, is its authors', under the same licence.
"""


def make_real_world(directory: Path, seed: int, policy: str | None) -> None:
    """Write `prompts.jsonl`, `heldout.jsonl` and their licence, and find the model.

    The same seed gives the same bytes. What is there already is left alone, and so is the choice of the model.

    Args:
        directory: to write to.
        seed: of the requests.
        policy: the model, if another one was chosen.

    Raises:
        ModelError: as of `find_smollm`.
    """
    done = directory / "world.json"
    if done.exists() and read_json(done, remedy=AGAIN).get("seed") == seed:
        return
    policy = policy or find_smollm()
    make_directory(directory)
    for name, rows in zip(("prompts", "heldout"), make_requests(PROMPTS, HELDOUT, seed), strict=True):
        write_json_lines(directory / f"{name}.jsonl", rows)
    write_text(directory / "LICENCE.txt", _LICENCE)
    write_json(done, {"seed": seed, "policy": policy})


def real_settings(directory: Path, objective: str) -> list[str]:
    """Settings that point to such a world, and choose an objective."""
    settings = {
        "policy": read_json(directory / "world.json", remedy=AGAIN)["policy"],
        "prepare.source": f"{directory}/prompts.jsonl",
        "evaluation_prompts.source": f"{directory}/heldout.jsonl",
    }
    return [*(f"{name}={json.dumps(value)}" for name, value in settings.items()), *objective_settings(objective)]
