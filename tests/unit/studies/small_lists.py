"""Published lists and a policy small enough to train on them within moments."""

import json
import random
from pathlib import Path

SMALL_SETTINGS = {
    "search_share": 1.0,
    "batch_size": 4,
    "policy": {"vocabulary": 280, "hidden": 8, "layers": 1, "heads": 1, "positions": 128},
    "max_prompt_tokens": 60,
}
"""Of the study `preferences`, laid over its own."""


def write_lists(directory: Path) -> Path:
    """Twenty prompts with five responses each, by five models, as a file."""
    draw = random.Random(0)
    path = directory / "lists.jsonl"
    words = ["red", "blue", "green", "old", "new", "big"]
    rows = [
        {
            "instruction": f"Question {number}?",
            "candidates": [
                {
                    "generator": f"model {place}",
                    "response": " ".join(draw.choices(words, k=draw.randint(2, 12))) + f" {number} {place}",
                    "score": round(draw.random() * (1 + place) / 5, 3),
                }
                for place in range(5)
            ],
        }
        for number in range(20)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path
