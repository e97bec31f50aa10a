"""Preferences over word problems, as data sets for trainers, and trainers on them."""

import random
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer

from larpo_lib import ListwiseConfig, ListwiseTrainer
from larpo_lib.playground.problems import demonstrate, make_problems

Rows = list[dict[str, Any]]


def text_lists(count: int, sizes: tuple[int, ...] = (2, 4, 3)) -> Rows:
    """Lists of plain text: a prompt, completions and rewards that are not in order."""
    rng = random.Random(0)
    problems = make_problems(count + max(sizes), rng)
    rows = []
    for i, problem in enumerate(problems[:count]):
        size = sizes[i % len(sizes)]
        completions = [demonstrate(other, rng) for other in problems[i : i + size]]
        rewards = [float((j * 7 + i) % size) for j in range(size)]
        rows.append({"prompt": f"{problem.question} ", "completions": completions, "rewards": rewards})
    return rows


def conversations(rows: Rows) -> Rows:
    """The same as conversations."""
    return [
        {
            "prompt": [{"role": "user", "content": row["prompt"]}],
            "completions": [[{"role": "assistant", "content": text}] for text in row["completions"]],
            "rewards": row["rewards"],
        }
        for row in rows
    ]


def as_pairs(rows: Rows) -> Rows:
    """Lists of two as chosen and rejected."""
    pairs = []
    for row in rows:
        worse, better = sorted(range(2), key=lambda i: row["rewards"][i])
        chosen, rejected = row["completions"][better], row["completions"][worse]
        pairs.append({"prompt": row["prompt"], "chosen": chosen, "rejected": rejected})
    return pairs


def load(policy: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(policy, dtype="float32")


def moved(policy: Path) -> Any:
    """Another policy, a little away."""
    model = load(policy)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return model


def make_trainer(policy: Path, out: Path, rows: Rows, *, model: Any = None, **given: Any) -> ListwiseTrainer:
    """A trainer; what are no arguments of `ListwiseTrainer` are settings."""
    own = {
        name: given.pop(name)
        for name in ("eval_dataset", "ref_model", "objective_function", "peft_config")
        if name in given
    }
    if "objective_function" in own:
        own["objective"] = own.pop("objective_function")
    given_tokenizer = given.pop("tokenizer", None)
    settings = {"report_to": [], "use_cpu": True, "disable_tqdm": True, "logging_steps": 1, "save_strategy": "no"}
    args = ListwiseConfig(output_dir=str(out), **{**settings, **given})
    tokenizer = given_tokenizer or AutoTokenizer.from_pretrained(policy)
    data = Dataset.from_list(rows)
    return ListwiseTrainer(model or load(policy), args, data, processing_class=tokenizer, **own)


def history(trainer: Any, name: str) -> list[float]:
    """A metric of each logged step."""
    return [row[name] for row in trainer.state.log_history if name in row]


def weights(model: Any) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def assert_same_weights(one: Any, other: Any, tolerance: float) -> None:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    for name, value in first.items():
        torch.testing.assert_close(
            value, second[name], rtol=0.0, atol=tolerance, msg=lambda text, at=name: f"{at}: {text}"
        )
