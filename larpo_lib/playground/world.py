"""Writes the embedded world to a directory: what a user brings along for a real run."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from larpo_lib.files import make_directory, read_json, write_json_lines, write_text
from larpo_lib.playground.policy import make_policy
from larpo_lib.playground.problems import Problem, demonstrate, make_problems, vocabulary

DEMONSTRATIONS, PROMPTS, HELDOUT = 16_000, 3_000, 500
"""How many problems are shown, trained on and kept for evaluation; no problem is in two of them."""

_SELECTIONS: dict[str, dict[str, Any]] = {
    "contrastive": {"type": "top_bottom", "top": 1, "bottom": 3},
    **{
        name: {"type": "top_bottom", "top": 2, "bottom": 2}
        for name in (
            "lambdarank",
            "listmle",
            "lipo_lambda",
            "rrhf",
            "robust_listmle",
            "lambdaloss",
            "approx_ndcg",
            "neural_ndcg",
            "gvpo",
            "group_contrast",
            "target",
            "nca",
        )
    },
}
"""Lists of the paper's main results, and four responses for every loss of whole lists that it does not have.

Every other objective compares the best with the worst response."""


AGAIN = "Delete this file, and run the same command again: the example is written anew"
"""What to do about a damaged `world.json`."""


def make_world(directory: Path, seed: int) -> None:
    """Write `policy/` (random weights), `demonstrations.jsonl`, `prompts.jsonl` and `heldout.jsonl`.

    For retrievers of documents there are the held-out questions as `queries.jsonl`, every right solution as
    `corpus.jsonl`, and which one answers which question as `relevance.tsv`. The same seed gives the same bytes; a
    world that is there already is left alone.
    """
    done = directory / "world.json"
    if done.exists() and read_json(done, remedy=AGAIN) == {"seed": seed}:
        return
    rng = random.Random(seed)  # noqa: S311 - no secret
    problems = make_problems(DEMONSTRATIONS + PROMPTS + HELDOUT, rng)
    shown, rest = problems[:DEMONSTRATIONS], problems[DEMONSTRATIONS:]
    make_directory(directory)
    make_policy(directory / "policy", vocabulary(), seed)
    write_json_lines(
        directory / "demonstrations.jsonl",
        ({"prompt": problem.question, "response": demonstrate(problem, rng)} for problem in shown),
    )
    for name, part in (("prompts", rest[:PROMPTS]), ("heldout", rest[PROMPTS:])):
        write_json_lines(
            directory / f"{name}.jsonl",
            ({"question": problem.question, "answer": problem.solution} for problem in part),
        )
    _write_documents(directory, rest)
    write_text(done, json.dumps({"seed": seed}))


def world_settings(directory: Path | str, objective: str) -> list[str]:
    """Settings that point to a world, at a path or URI, and choose an objective with the lists the paper gives it."""
    sources = world_sources(directory)
    places = {"policy": sources.pop("policy"), **{f"{name}.source": part["source"] for name, part in sources.items()}}
    objective_type, *selection = objective_settings(objective)
    return [objective_type, *(f"{name}={json.dumps(value)}" for name, value in places.items()), *selection]


def objective_settings(objective: str) -> list[str]:
    """Settings that choose an objective, with the lists the paper gives it."""
    selection = _SELECTIONS.get(objective, {"type": "best_worst"})
    chosen = [f"lists.selection.{name}={json.dumps(value)}" for name, value in selection.items()]
    return [f"train.objective.type={json.dumps(objective)}", *chosen]


def world_sources(directory: Path | str) -> dict[str, Any]:
    """The settings, as a tree, that point a configuration to a world, at a path or URI."""
    return {
        "policy": f"{directory}/policy",
        "prepare": {"source": f"{directory}/prompts.jsonl"},
        "demonstrations": {"source": f"{directory}/demonstrations.jsonl"},
        "evaluation_prompts": {"source": f"{directory}/heldout.jsonl"},
    }


def world_documents(directory: Path) -> dict[str, Path]:
    """A world's files for retrievers of documents."""
    names = {"queries": "queries.jsonl", "corpus": "corpus.jsonl", "relevance": "relevance.tsv"}
    return {kind: directory / name for kind, name in names.items()}


def _write_documents(directory: Path, problems: Sequence[Problem]) -> None:
    """The right solutions of problems, of which the held-out ones, the last, are asked for."""
    places = world_documents(directory)
    documents = {solution: f"d{i}" for i, solution in enumerate(dict.fromkeys(one.solution for one in problems))}
    asked = {f"q{i}": problem for i, problem in enumerate(problems[PROMPTS:])}
    write_json_lines(places["queries"], ({"_id": name, "text": problem.question} for name, problem in asked.items()))
    write_json_lines(places["corpus"], ({"_id": name, "text": solution} for solution, name in documents.items()))
    lines = ["query-id\tcorpus-id\tscore", *(f"{q}\t{documents[one.solution]}\t1" for q, one in asked.items())]
    places["relevance"].write_text("\n".join(lines) + "\n", "utf-8")
