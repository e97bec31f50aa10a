"""Judgements of Arena-Hard for tests: made-up verdicts on real answers, in the official format."""

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

BASELINE = "o3-mini-2025-01-31"
JUDGE = "judge"
LABELS = ("A>>B", "A>B", "A=B", "B>A", "B>>A")
MODELS = {"one": (1, 0.9), "two": (7, 0.45)}
"""A model's answers are the baseline's to the question so many lines further on; the judge likes them so much."""

Row = dict[str, Any]


def read(path: Path) -> list[Row]:
    """The rows of a compressed file."""
    return [json.loads(line) for line in gzip.open(path, "rt", encoding="utf-8")]


def answers_of(model: str, published: list[Row]) -> list[Row]:
    """The answers of one of `MODELS`."""
    shift, _ = MODELS[model]
    return [
        {**row, "model": model, **{name: published[(place + shift) % len(published)][name] for name in ("metadata",)},
         "messages": [row["messages"][0], published[(place + shift) % len(published)]["messages"][1]]}
        for place, row in enumerate(published)
    ]  # fmt: skip


def label(model: str, uid: str, game: int, *, longer: bool) -> str | None:
    """A verdict: by chance, but liking the model so much, and a longer answer more; one in a hundred is no verdict."""
    _, liking = MODELS[model]
    chance = int(hashlib.sha256(f"{model} {uid} {game}".encode()).hexdigest()[:8], 16) / 2**32
    if chance < 0.01:
        return None
    wins = min(4, int(5 * chance * (liking + 0.2 * longer)))  # 0: lost clearly, 4: won clearly
    return LABELS[4 - wins] if game else LABELS[wins]


def judgements(model: str, questions: list[Row], answers: list[Row], published: list[Row]) -> list[Row]:
    """The judgements of a model's answers."""
    lengths = [{row["uid"]: row["metadata"]["token_len"] for row in rows} for rows in (answers, published)]
    found = []
    for question in questions:
        uid = question["uid"]
        longer = lengths[0][uid] > lengths[1][uid]
        games = [{"score": label(model, uid, game, longer=longer), "judgment": {"answer": ""}} for game in (0, 1)]
        names = {"judge": JUDGE, "model": model, "baseline": BASELINE}
        found.append({"uid": uid, "category": question["category"], **names, "games": games})
    return found
