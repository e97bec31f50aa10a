"""Time and peak memory of every step against the number of prompts, 10 responses each. Its last line is the result.

`python -m benchmarks.scale --prompts 1000 10000 100000`

What is measured is larpo's own work: responses and rewards come from two plain functions, prompts and responses are
short, and the models that train have two layers of width 16 and take five steps. Every step runs in a process of its
own, as the commands do. Its time is that of the processor, which other work on the machine hardly changes; its peak is
the most memory that the process ever held, Python and its libraries included.
"""

import argparse
import json
import multiprocessing
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from larpo_lib.config import (
    EvaluateConfig,
    ListsConfig,
    NegativesConfig,
    PrepareConfig,
    PromoteConfig,
    ReportConfig,
    RerankConfig,
    RewardModelConfig,
    SampleConfig,
    SearchTemperatureConfig,
    SftConfig,
    TrackingConfig,
    TrainConfig,
)
from larpo_lib.rewards.rerankers.function import FunctionRerankerConfig
from larpo_lib.samplers.function import FunctionSamplerConfig
from larpo_lib.shards import UNSHARDED, Shard

BARS = {"most_vs_next_memory": 1.5}
"""Peak memory with the most prompts, over that with the next smaller number."""
K, WORDS, NEW_TOKENS = 10, 12, 8
SHAPE = (512, 16, 2, 2, 1, 32)
TRAINING: dict[str, Any] = {"max_steps": 5, "learning_rate": 1e-3}
_COMMONNESS = 0.3
"""Of the words' Zipf law: one of 35 words is the most frequent one, and new ones never end."""


@dataclass(frozen=True)
class Call:
    """A step (module and function) with what it is called with, and where its result is."""

    step: str
    output: Path
    arguments: dict[str, Any]


def responses(requests: Sequence[Any]) -> list[str]:
    """A few letters for each request."""
    return [f"{request.seed % 16**NEW_TOKENS:0{NEW_TOKENS}x}" for request in requests]


def rewards(responses: Sequence[str]) -> list[float]:
    """What the first letters say, as a hexadecimal number."""
    return [int(text[:4], 16) / 16**4 for text in responses]


def register(store: Path, **arguments: Any) -> Any:
    """The step `promote` with a registry of its own, in a database."""
    from mlflow import MlflowClient

    from larpo_lib.registry import Registry
    from larpo_lib.steps import promote
    from larpo_lib.tracking import Tracker

    shutil.rmtree(store, ignore_errors=True)
    tracker = Tracker(TrackingConfig(), store)
    client = MlflowClient(tracker.uri)
    run_id = client.create_run(client.create_experiment("scale")).info.run_id
    return promote.run(PromoteConfig(), registry=Registry(tracker.uri, run_id), **arguments)


def make_inputs(here: Path, count: int) -> None:
    """A policy, prompts of words as unevenly frequent as those of a language, demonstrations, and ranked responses."""
    from benchmarks.models import Size, byte_tokenizer, random_policy

    random_policy(Size(*SHAPE), 0, "cpu").save_pretrained(here / "policy")
    byte_tokenizer().save_pretrained(here / "policy")
    draw = random.Random(0)
    names = ("prompts", "demonstrations", "lists-of-responses")
    with ExitStack() as stack:
        asked, shown, ranked = (stack.enter_context((here / f"{name}.jsonl").open("w")) for name in names)
        for _ in range(count):
            prompt = {"prompt": " ".join(_word(draw) for _ in range(WORDS))}
            asked.write(json.dumps(prompt) + "\n")
            shown.write(json.dumps({**prompt, "response": "a" * NEW_TOKENS}) + "\n")
            texts = [f"{number:0{NEW_TOKENS}x}" for number in range(K)]
            ranked.write(json.dumps({**prompt, "responses": texts, "rewards": [*range(K)]}) + "\n")


def _word(draw: random.Random) -> str:
    number, letters = min(int(10 * draw.paretovariate(_COMMONNESS)) - 9, 26**5), ""
    while number:
        number, letter = divmod(number, 26)
        letters += chr(ord("a") + letter)
    return letters


def calls(here: Path) -> dict[str, Call]:
    """Every step, in an order in which each finds its inputs."""
    return {**_until_lists(here), **_from_training_on(here)}


def _until_lists(here: Path) -> dict[str, Call]:
    prompts, candidates, ranked = here / "prompts", here / "candidates", here / "ranked"

    def call(step: str, role: str, name: str, **arguments: Any) -> Call:
        return Call(step, here / name, {**arguments, role: here / name})

    def sampled(name: str, shard: Shard = UNSHARDED) -> Call:
        config = SampleConfig(sampler=_sampler(), k=K, max_new_tokens=NEW_TOKENS)
        return call(
            "sample:run", "candidates", name, config=config, policy=here / "policy", prompts=prompts, shard=shard
        )

    def listed(name: str, **settings: Any) -> Call:
        return call("build_lists:run", "lists", name, config=ListsConfig(**settings), prompts=prompts, ranked=[ranked])

    def prepared(source: str) -> PrepareConfig:
        return PrepareConfig(source=str(here / f"{source}.jsonl"))

    scoring = RerankConfig(reranker=_reranker())
    halves = {f"sample, shard {i} of 2": sampled(f"half-{i}", Shard(i, 2)) for i in range(2)}
    return {
        "prepare": call("prepare:run", "prompts", "prompts", config=prepared("prompts")),
        "prepare, demonstrations": call(
            "prepare:demonstrations", "demonstrations", "demonstrations", config=prepared("demonstrations")
        ),
        "prepare, ranked": call(
            "prepare:ranked", "ranked", "given", config=prepared("lists-of-responses"), prompts=here / "given-prompts"
        ),
        "sample": sampled("candidates"),
        **halves,
        "merge-shards": call("merge_shards:run", "merged", "merged", shards=[each.output for each in halves.values()]),
        "rerank": call("rerank:run", "ranked", "ranked", config=scoring, prompts=prompts, candidates=[candidates]),
        "build-lists": listed("lists"),
        **{
            f"build-lists, {kind}": listed(f"lists-{kind}", negatives=NegativesConfig(kind=kind))
            for kind in ("random", "related", "hot")
        },
    }


def _from_training_on(here: Path) -> dict[str, Call]:
    policy, prompts, lists, trained = here / "policy", here / "prompts", here / "lists", here / "trained"
    evaluations = [here / "evaluation-0", here / "evaluation-1"]
    drawing: dict[str, Any] = {"sampler": _sampler(), "reranker": _reranker(), "max_new_tokens": NEW_TOKENS}

    def trains(step: str, name: str, config: Any, **inputs: Path) -> Call:
        return Call(step, here / name, {"config": config, "policy": policy, **inputs, "trained": here / name})

    def evaluated(policy: Path, output: Path) -> Call:
        settings = {"config": EvaluateConfig(n=K, **drawing), "policy": policy, "prompts": prompts}
        return Call("evaluate:run", output, {**settings, "evaluation": output})

    def of(step: str, role: str, **arguments: Any) -> Call:
        return Call(step, here / role, {**arguments, role: here / role})

    return {
        "sft": trains("sft:run", "sft", SftConfig(**TRAINING), demonstrations=here / "demonstrations"),
        "train": trains("train:run", "trained", TrainConfig(**TRAINING), lists=lists),
        "train-reward-model": trains("reward_model:run", "rewards", RewardModelConfig(**TRAINING), lists=lists),
        "evaluate": evaluated(policy, evaluations[0]),
        "evaluate, trained": evaluated(trained, evaluations[1]),
        "search-temperature": of(
            "search_temperature:run",
            "search",
            config=SearchTemperatureConfig(k=2, **drawing),
            policy=policy,
            prompts=prompts,
        ),
        "report": of(
            "report:run",
            "report",
            config=ReportConfig(),
            prompts=prompts,
            evaluations=evaluations,
            ranked=[here / "ranked"],
            lists=[lists],
            policies=[trained],
            promotion=None,
            candidates=[here / "candidates"],
        ),
        "promote": of(
            "register",
            "promotion",
            store=here / "mlflow",
            policy=trained,
            evaluation=evaluations[1],
            baseline=evaluations[0],
        ),
    }


def _sampler() -> FunctionSamplerConfig:
    return FunctionSamplerConfig(target=f"{__file__}:responses")


def _reranker() -> FunctionRerankerConfig:
    return FunctionRerankerConfig(target=f"{__file__}:rewards")


def take(here: Path, name: str) -> tuple[float, float]:
    """Take a step; gives its seconds of processor time, and the peak of this process in MiB once it is done."""
    call = calls(here)[name]
    start = time.process_time()
    module, _, function = call.step.partition(":")
    step = getattr(import_module(f"larpo_lib.steps.{module}"), function) if function else register
    step(**call.arguments)
    return round(time.process_time() - start, 1), round(_peak(), 1)


def _peak() -> float:
    """Not by `benchmarks.measure`, which loads torch: many steps do without it."""
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


def measure(here: Path, count: int, chosen: Collection[str]) -> dict[str, tuple[float, float]]:
    """Seconds and peak of the chosen steps over `count` prompts; what they need is made where it is not there."""
    if not (here / "prompts.jsonl").is_file():
        here.mkdir(parents=True, exist_ok=True)
        _in_child(make_inputs, here, count)
    found = {}
    needed = {path for name, call in calls(here).items() if name in chosen for path in _paths(call)}
    for call in reversed(calls(here).values()):
        needed |= _paths(call) if call.output in needed and not call.output.exists() else set()
    for name, call in calls(here).items():
        if name in chosen:
            shutil.rmtree(call.output, ignore_errors=True)
        elif call.output not in needed or call.output.exists():
            continue
        seconds, peak = _in_child(take, here, name)
        if name in chosen:
            found[name] = seconds, peak
            print(f"{count} prompts, {name}: {seconds} s, {peak} MiB", flush=True)
    return found


def _paths(call: Call) -> set[Path]:
    """What a step reads and writes."""
    values = (value if isinstance(value, list) else [value] for value in call.arguments.values())
    return {one for value in values for one in value if isinstance(one, Path)}


def _in_child(function: Callable[..., Any], *arguments: Any) -> Any:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    names = list(calls(Path()))
    parser.add_argument("--prompts", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--steps", nargs="+", choices=names, default=names, metavar="STEP", help="; ".join(names))
    parser.add_argument("--folder", type=Path, help="keeps what the steps make, for another call; else it is removed")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        folder = (given.folder or Path(directory)).absolute()
        found = {count: measure(folder / str(count), count, given.steps) for count in sorted(given.prompts)}
    *_, fewer, most = [*found] if len(found) > 1 else [*found, *found]
    ratios = {name: round(peak / found[fewer][name][1], 3) for name, (_, peak) in found[most].items()}
    for name, ratio in ratios.items():
        cells = [f"{seconds} s, {peak:.0f} MiB" for seconds, peak in (found[count][name] for count in found)]
        print("|", " | ".join([f"`{name}`", *cells, f"{ratio:.2f}"]), "|")
    from benchmarks.measure import report

    report(
        "scale",
        {"most_vs_next_memory": max(ratios.values()), **ratios},
        BARS,
        packages=("torch", "pyarrow", "bm25s"),
        seconds_and_mib=found,
        responses_a_prompt=K,
    )


if __name__ == "__main__":
    main()
