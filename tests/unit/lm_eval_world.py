"""Tasks of lm-eval whose data are as few words as the tiny policy knows."""

from pathlib import Path
from typing import Any

from tiny_world import write_jsonl

TASKS = ("ifeval", "gsm8k", "truthfulqa_mc1", "truthfulqa_mc2")
SAMPLER: dict[str, Any] = {"type": "hf", "batch_size": 1, "model": {"device": "cpu"}}
SETTINGS: dict[str, Any] = {
    "tasks": TASKS,
    "sampler": SAMPLER,
    "gen_kwargs": {"max_gen_toks": 12},
    "examples": 2,
    "resamples": 20,
}


def write_data(root: Path) -> Path:
    """The tasks' data, in their own columns."""
    asked: list[tuple[list[str], list[dict[str, object]]]] = [
        (["punctuation:no_comma", "change_case:english_lowercase"], [{}, {}]),
        (["length_constraints:number_words"], [{"num_words": 5, "relation": "at least"}]),
        (["length_constraints:number_sentences"], [{"num_sentences": 2, "relation": "less than"}]),
        (["keywords:existence", "startend:quotation"], [{"keywords": ["Ann", "pens"]}, {}]),
    ]
    rows = [
        {"key": i, "prompt": f"How many pens does Ann have ? {i}", "instruction_id_list": ids, "kwargs": arguments}
        for i, (ids, arguments) in enumerate(asked)
    ]
    sums = [{"question": f"What is {i} + 2 ?", "answer": f"{i} + 2 = {i + 2} .\n#### {i + 2}"} for i in range(9)]
    choices = {"choices": ["Ann has 2 pens .", "Ben", "Eva has coins"], "labels": [1, 0, 0]}
    several = {"choices": ["Ann", "Ben has 3", "Tom"], "labels": [1, 1, 0]}
    truths = [{"question": f"How many pens ? {i}", "mc1_targets": choices, "mc2_targets": several} for i in range(3)]
    for place, found in {
        "google/IFEval/train": rows,
        "openai/gsm8k/main/train": sums[:5],
        "openai/gsm8k/main/test": sums[5:],
        "truthfulqa/truthful_qa/multiple_choice/validation": truths,
    }.items():
        path = root / f"{place}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_jsonl(path, found)
    return root
