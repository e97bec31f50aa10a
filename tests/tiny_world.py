"""A world small enough for tests to run every command on it, and the command line as tests run it."""

import json
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from larpo_lib.cli import main
from larpo_lib.playground.problems import demonstrate, make_problems, vocabulary

SETTINGS = """
name = "tiny"
policy = "{root}/policy"

[model]
device = "cpu"

[prepare]
source = "{root}/prompts.jsonl"

[evaluation_prompts]
source = "{root}/heldout.jsonl"

[demonstrations]
source = "{root}/demonstrations.jsonl"

[sft]
learning_rate = 1e-2
max_steps = 3
batch_size = 16
micro_batch_tokens = 4096
max_prompt_tokens = 64
max_tokens = 96

[sample]
seed = 3 # some of the noise that an untrained policy says is rewarded, so that lists can be made of it
k = 4
max_new_tokens = 16
max_prompt_tokens = 64

[rerank]
reranker = {{ type = "verifier", mode = "graded" }}

[train]
objective = {{ type = "listmle", beta = 0.1 }}
learning_rate = 1e-4
max_steps = 2
batch_size = 4
micro_batch_tokens = 4096
max_prompt_tokens = 64
max_tokens = 96

[evaluate]
n = 2
resamples = 50
judge = {{ type = "verifier" }}

[promote]
model_name = "tiny-policy"
resamples = 50

[report]
examples = 1

[loop]
iterations = 1
"""


@dataclass(frozen=True)
class Outcome:
    """What a command ended with."""

    code: int
    out: str
    err: str


Larpo = Callable[..., Outcome]
"""Runs `larpo` with the given arguments in this process."""


def make_tiny_world(root: Path) -> None:
    """Write a policy with random weights, demonstrations, prompts, held-out prompts and `larpo.toml`."""
    from larpo_lib.playground.policy import make_policy

    rng = random.Random(0)
    problems = make_problems(64, rng)
    make_policy(root / "policy", vocabulary(), 0, hidden=32, layers=2, heads=2)
    rows = [{"prompt": problem.question, "response": demonstrate(problem, rng)} for problem in problems[:48]]
    write_jsonl(root / "demonstrations.jsonl", rows)
    for name, part in (("prompts", problems[48:58]), ("heldout", problems[58:])):
        write_jsonl(root / f"{name}.jsonl", [{"question": p.question, "answer": p.solution} for p in part])
    (root / "larpo.toml").write_text(SETTINGS.format(root=root), "utf-8")


def make_prepared_world(root: Path) -> None:
    """Write the tiny world, a reward model in `reward`, and one artifact of each kind that stands between the steps."""
    from larpo_lib.config import load_config
    from larpo_lib.steps import build_lists, evaluate, prepare, rerank, sample

    make_tiny_world(root)
    make_reward_model(root / "reward")
    config = load_config(root / "larpo.toml")
    assert config.evaluation_prompts is not None
    assert config.demonstrations is not None
    policy, prompts, heldout = root / "policy", root / "prompts", root / "heldout"
    prepare.run(config.prepare, prompts=prompts)
    prepare.run(config.evaluation_prompts, prompts=heldout)
    prepare.demonstrations(config.demonstrations, demonstrations=root / "shown")
    sample.run(config.sample, policy=policy, prompts=prompts, candidates=root / "candidates")
    rerank.run(config.rerank, prompts=prompts, candidates=[root / "candidates"], ranked=root / "ranked")
    build_lists.run(config.lists, prompts=prompts, ranked=[root / "ranked"], lists=root / "lists")
    evaluate.run(config.evaluate, policy=policy, prompts=heldout, evaluation=root / "evaluated")
    (root / "larpo.toml").write_text(SETTINGS.format(root="."), "utf-8")


def make_reward_model(directory: Path, labels: int = 1) -> None:
    """Write a reward model with random weights."""
    import torch
    from transformers import LlamaConfig, LlamaForSequenceClassification

    from larpo_lib.playground.policy import make_tokenizer

    tokenizer = make_tokenizer(vocabulary())
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        num_labels=labels,
    )  # fmt: skip
    torch.manual_seed(0)
    LlamaForSequenceClassification(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)


def write_jsonl(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def files(directory: Path) -> dict[str, bytes]:
    """The content of every file below a directory; locks are no content."""
    found = sorted(path for path in directory.rglob("*") if path.is_file() and path.suffix != ".lock")
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in found}


def command_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Larpo:
    def larpo(*arguments: object) -> Outcome:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["larpo", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        captured = capsys.readouterr()
        code = stopped.value.code
        assert isinstance(code, int | None)
        return Outcome(code or 0, captured.out, captured.err)

    return larpo
