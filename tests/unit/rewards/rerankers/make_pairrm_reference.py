"""Writes `pairrm_reference.json`: what the published implementation makes of a tiny PairRM.

    pip download --no-deps llm-blender==0.0.2 && unzip llm_blender-0.0.2-py3-none-any.whl -d llm_blender
    PYTHONPATH=.:tests python tests/unit/rewards/rerankers/make_pairrm_reference.py llm_blender

The package itself no longer imports with today's transformers. Its model is a file of its own, and the functions that
tokenize a pair and that turn comparisons into scores need nothing of the package, so each is run as it stands there.
"""

import ast
import importlib.util
import json
import sys
import tempfile
from itertools import permutations
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from tiny_pairrm import make_pairrm, tiny_tokenizer

OUTPUT = Path(__file__).with_name("pairrm_reference.json")
LIMITS = {"source_max_length": 40, "candidate_max_length": 20}
ROOMY = {"source_max_length": 400, "candidate_max_length": 100}
LONG = "what is the thing you love " * 6
QUESTIONS = {
    "a question": ("what is love?", ["yes, hello", "no. I do not love you", "the thing", "a"]),
    "a prompt that is cut": (LONG, ["yes", "not the king, not you", LONG]),
    "responses that share what a short prompt leaves": ("hello", [f"no {LONG}", f"yes {LONG}", f"{LONG} in the end"]),
    "the separator in texts": ("is [SEP] it?", ["no [SEP] yes", "a[SEP]"]),
}
CONVERSATION = ["what is love?", "the thing", "is it not in you?"]
REPLIES = ["yes, in the end", "no", "you love the thing"]


def _module(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _functions(file: Path, names: set[str]) -> dict[str, Any]:
    """Functions of a module that cannot be imported as a whole."""
    tree = ast.parse(file.read_text("utf-8"))
    tree.body = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name in names]
    found: dict[str, Any] = {}
    exec(compile(tree, str(file), "exec"), {"List": list, "np": np}, found)  # noqa: S102 - a file one has asked for
    return found


def main(package: Path) -> None:
    root = package / "llm_blender"
    published = _module(root / "pair_ranker" / "pairrm.py").DebertaV2PairRM
    helpers = _functions(root / "blender" / "blender_utils.py", {"tokenize_pair", "get_pair_from_conv"})
    aggregate = _functions(root / "gpt_eval" / "utils.py", {"get_scores_from_cmps"})["get_scores_from_cmps"]
    with tempfile.TemporaryDirectory() as directory:
        model = published.from_pretrained(make_pairrm(Path(directory))).eval()
    tokenizer = tiny_tokenizer()

    def case(source: str, candidates: list[str], limits: dict[str, int]) -> dict[str, Any]:
        logits, ids = np.zeros((len(candidates), len(candidates)), dtype=np.float32), {}
        for i, j in permutations(range(len(candidates)), 2):
            # As the package's collator does; its function for a pair leaves it to the caller.
            texts = [text.replace(tokenizer.sep_token, " ") for text in (source, candidates[i], candidates[j])]
            encoded = helpers["tokenize_pair"](tokenizer, *([text] for text in texts), **limits)
            with torch.no_grad():
                logits[i, j] = model(**encoded, return_dict=True).logits.item()
            ids[f"{i},{j}"] = " ".join(map(str, encoded["input_ids"][0][encoded["attention_mask"][0] == 1].tolist()))
        scores = aggregate([logits.tolist()], policy="max_logits")[0]
        return {"limits": limits, "input_ids": ids, "logits": logits.tolist(), "scores": scores.tolist()}

    turns = [{"role": ("USER", "ASSISTANT")[i % 2], "content": text} for i, text in enumerate(CONVERSATION)]
    whole = [[*turns, {"role": "ASSISTANT", "content": reply}] for reply in REPLIES]
    sources, replies, _ = helpers["get_pair_from_conv"](whole, whole)
    assert len(set(sources)) == 1
    found = {
        "provenance": "llm-blender 0.0.2 from PyPI (Apache-2.0), by make_pairrm_reference.py beside this file",
        "questions": [
            {"case": name, "prompt": prompt, "responses": responses, **case(prompt, responses, LIMITS)}
            for name, (prompt, responses) in QUESTIONS.items()
        ],
        "conversation": {
            "messages": CONVERSATION, "responses": REPLIES,
            "source": sources[0], "candidates": replies, **case(sources[0], replies, ROOMY),
        },
    }  # fmt: skip
    OUTPUT.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
