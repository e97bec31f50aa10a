"""The steps that faults happen to, each in a world of few prompts and a policy of 30,000 weights."""

import os
import random
from dataclasses import dataclass, replace
from pathlib import Path

from tiny_world import SETTINGS, make_reward_model, make_tiny_world, write_jsonl

from larpo_lib.playground.problems import make_problems

BUCKET = "chaos"


@dataclass(frozen=True)
class Step:
    """A command of larpo, and what must hold of it whatever happens.

    Attributes:
        name: shown.
        command: its name.
        inputs: option and name of each artifact that it reads.
        output: option and name of the artifact, or of the run's directory.
        settings: given by --set.
        piece: the largest share of its work that one stop may cost.
        in_store: whether its inputs and its output are in the store.
        processes: whether others work for it, which can hang.
        served: whether it logs to the MLflow server.
        configured: whether it takes settings.
        databases: folders that are given an empty MLflow database, which takes long to make.
        unlike: artifacts that say what others have registered before.
        more: further arguments.
    """

    name: str
    command: str
    inputs: tuple[tuple[str, str], ...]
    output: tuple[str, str]
    settings: tuple[str, ...] = ()
    piece: float = 1.0
    in_store: bool = False
    processes: bool = False
    served: bool = False
    configured: bool = True
    databases: tuple[str, ...] = ()
    unlike: tuple[str, ...] = ()
    more: tuple[str, ...] = ()

    def arguments(self, number: int) -> list[str]:
        """The command line of the fault `number`, for the working directory."""
        base, own = (f"s3://{BUCKET}/base/", f"s3://{BUCKET}/{number}/") if self.in_store else ("", "")
        inputs = [f"--{option}={base}{name}" for option, name in self.inputs]
        settings = [f"--set={setting}" for setting in self.settings]
        if self.served:
            settings += [
                f"--set=tracking.uri={os.environ['CHAOS_MLFLOW']}",
                f"--set=tracking.experiment=fault-{number}",
            ]
        output = f"--{self.output[0]}={own}{self.output[1]}"
        config = ["--config=larpo.toml"] if self.configured else []
        return [self.command, *config, *inputs, output, *settings, *self.more]


_POLICY = ("policy", "sft")
_PROMPTS = ("prompts", "prompts")
_HELDOUT = ("prompts", "heldout")
_PARTS = ("sample.part_prompts=4", "rerank.part_prompts=4")

PREPARE = Step("prepare", "prepare", (), ("prompts", "prompts"))
HELDOUT = Step("prepare held-out", "prepare", (), ("prompts", "heldout"), ("prepare.source=heldout.jsonl",))
SHOWN = Step("prepare demonstrations", "prepare", (), ("demonstrations", "shown"))
SFT = Step(
    "sft", "sft", (("policy", "policy"), ("demonstrations", "shown")), ("trained", "sft"),
    ("sft.save_steps=2", "sft.max_steps=6"), 0.34,
)  # fmt: skip
SEARCH = Step(
    "search-temperature", "search-temperature", (_POLICY, _HELDOUT), ("search", "search"),
    ("search_temperature.temperatures=[0.8,1.0]",),
)  # fmt: skip
SAMPLE = Step(
    "sample", "sample", (_POLICY, _PROMPTS), ("candidates", "candidates"), _PARTS[:1], 0.4
)  # fmt: skip
RERANK = Step(
    "rerank", "rerank", (_PROMPTS, ("candidates", "candidates")), ("ranked", "ranked"), _PARTS[1:], 0.4
)  # fmt: skip
LISTS = Step("build-lists", "build-lists", (_PROMPTS, ("ranked", "ranked")), ("lists", "lists"))
TRAIN = Step(
    "train", "train", (_POLICY, ("lists", "lists")), ("trained", "policy-1"),
    ("train.save_steps=2", "train.max_steps=6"), 0.5,
)  # fmt: skip
REWARD = Step(
    "train-reward-model", "train-reward-model", (_POLICY, ("lists", "lists")), ("trained", "reward-1"),
    ("reward_model.save_steps=2", "reward_model.max_steps=6", "reward_model.batch_size=4"), 0.34,
)  # fmt: skip
EVALUATE = Step("evaluate", "evaluate", (("policy", "policy-1"), _HELDOUT), ("evaluation", "evaluation"))
START = replace(EVALUATE, name="evaluate the start", inputs=(_POLICY, _HELDOUT), output=("evaluation", "evaluation-0"))
PROMOTE = Step(
    "promote", "promote", (("policy", "policy-1"), ("evaluation", "evaluation")), ("promotion", "promotion"),
    databases=("mlflow",), more=("--store=mlflow",),
)  # fmt: skip
SHARDS = tuple(
    replace(RERANK, name=f"rerank, shard {i} of 2", output=("ranked", f"ranked-{i}"), more=(f"--shard={i}/2",))
    for i in range(2)
)
MERGE = Step(
    "merge-shards",
    "merge-shards",
    (("shards", "ranked-0"), ("shards", "ranked-1")),
    ("merged", "merged"),
    configured=False,
)
REPORT = Step(
    "report", "report",
    (
        _HELDOUT, ("evaluations", "evaluation-0"), ("evaluations", "evaluation"), ("ranked", "ranked"),
        ("lists", "lists"), ("policies", "policy-1"), ("candidates", "candidates"),
    ),
    ("report", "report"),
)  # fmt: skip
RUN = Step(
    "run", "run", (), ("out", "run"), (*_PARTS, "sft.save_steps=1", "train.save_steps=1"), databases=("run/mlflow",)
)  # fmt: skip

LOCAL = (
    PREPARE, HELDOUT, SHOWN, SFT, SEARCH, SAMPLE, RERANK, *SHARDS, MERGE, LISTS, TRAIN, REWARD, START, EVALUATE,
    PROMOTE, REPORT, RUN,
)  # fmt: skip
"""In the order in which each makes what the next ones read."""
STORED = tuple(replace(step, name=f"{step.name} in a store", in_store=True) for step in (SAMPLE, RERANK, LISTS, TRAIN))
SHARED = tuple(
    replace(step, name=f"{step.name} by two", processes=True, settings=(*step.settings, f"{step.command}.processes=2"))
    for step in (SAMPLE, RERANK)
)
SERVED = (replace(RUN, name="run with MLflow away", served=True, databases=(), unlike=("promotion", "report")),)

ALL = (*LOCAL, *STORED, *SHARED, *SERVED)


def make_world(root: Path) -> None:
    """Write what the first steps read, and a reward model for `rerank`, whose batches are computed."""
    make_tiny_world(root)
    make_reward_model(root / "reward")
    problems = make_problems(24, random.Random(1))
    write_jsonl(root / "prompts.jsonl", [{"question": p.question, "answer": p.solution} for p in problems])
    settings = SETTINGS.format(root=".").replace(
        '{ type = "verifier", mode = "graded" }', '{ type = "classifier", path = "reward", max_tokens = 128 }'
    )
    (root / "larpo.toml").write_text(settings, "utf-8")
