"""The whole estimate of a run, and its text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from larpo_lib.budget.benchmarks import benchmark_calls, benchmark_efforts, benchmark_work
from larpo_lib.budget.calls import Calls, calls_of
from larpo_lib.budget.lists import changes_in_words
from larpo_lib.budget.memory import GIB, Need
from larpo_lib.budget.model import ModelSize, read_size
from larpo_lib.budget.needs import Machine, changes_for, hardest_training, needs_of
from larpo_lib.budget.work import Cost, Lengths, costs, work_of
from larpo_lib.config import LarpoConfig, PrepareConfig, SftConfig, TrainConfig
from larpo_lib.config.gpus import idle_gpus
from larpo_lib.errors import ConfigError


@dataclass(frozen=True)
class Asked:
    """What the command line says beside the settings; None: not said.

    Attributes:
        machine: that the run may have.
        prompts: of an iteration.
        prompt_tokens: of a prompt on average.
        response_tokens: of a response on average.
        rates: response tokens a second of the whole machine, by name.
        price: of a GPU for an hour.
    """

    machine: Machine
    prompts: int | None
    prompt_tokens: int
    response_tokens: int
    rates: Mapping[str, float]
    price: float | None


@dataclass(frozen=True)
class Estimate:
    """What a run takes.

    Attributes:
        policy: its size.
        asked: what it is estimated for.
        lengths: what the hours rest on.
        needs: memory of each step.
        changes: settings with which a step fits, for those that do not.
        costs: hours and cost of each step.
        calls: of LLM judges, step by step.
        changing: what changes during the run, in words.
        idle: what to tell of steps that leave GPUs without work, by their names.
    """

    policy: ModelSize
    asked: Asked
    lengths: Lengths
    needs: Sequence[Need]
    changes: Mapping[str, Sequence[str]]
    costs: Sequence[Cost]
    calls: Sequence[Calls]
    changing: Sequence[str]
    idle: Mapping[str, str]

    @property
    def fits(self) -> bool:
        """Whether every step has room."""
        return all(need.bytes <= self.asked.machine.memory for need in self.needs)


def estimate_run(config: LarpoConfig, asked: Asked) -> Estimate:
    """Estimate a run.

    Raises:
        ConfigError: there are fewer GPUs than processes, nothing tells how many prompts there are, or the gate asks for
            what a run cannot measure.
        DataError: a file of one of its benchmarks is not as it should be.
        ModelError: a config.json cannot be read.
    """
    policy = read_size(config.policy, config.model)
    lengths = Lengths(
        prompts=_prompts(config, asked.prompts),
        heldout=_heldout(config),
        demonstrations=None if config.demonstrations is None else _rows(config.demonstrations),
        prompt_tokens=asked.prompt_tokens,
        response_tokens=asked.response_tokens,
    )
    needs = needs_of(config, policy, asked.machine)
    sections: dict[str, SftConfig | TrainConfig] = {
        "train": hardest_training(config, policy, asked.machine),
        "sft": config.sft,
    }
    changes = {
        need.step: changes_for(need.step, sections[need.step], config, policy, asked.machine)
        for need in needs
        if need.step in sections and need.bytes > asked.machine.memory
    }
    efforts = benchmark_efforts(config, lengths.heldout)
    work = [*work_of(config, lengths), *benchmark_work(config, efforts, lengths)]
    found = costs(work, asked.rates, asked.machine.gpus, asked.price)
    calls = [*calls_of(config, lengths), *benchmark_calls(config, efforts)]
    idle = idle_gpus(config, asked.machine.gpus)
    return Estimate(policy, asked, lengths, needs, changes, found, calls, changes_in_words(config), idle)


def _prompts(config: LarpoConfig, stated: int | None) -> int:
    limit, rows = config.sample.prompts_per_iteration, _rows(config.prepare)
    found = stated if stated is not None else None if rows is None else max(1, rows - config.prepare.heldout)
    known = [number for number in (limit, found) if number is not None]
    if not known:
        raise ConfigError("nothing tells how many prompts there are", remedy="Pass --prompts, or set prepare.limit")
    return min(known)


def _heldout(config: LarpoConfig) -> int | None:
    there = config.prepare.heldout if config.evaluation_prompts is None else _rows(config.evaluation_prompts)
    known = [number for number in (there, config.evaluate.limit) if number is not None]
    return min(known) if known else None


def _rows(prepare: PrepareConfig) -> int | None:
    """Rows that are taken of a source: its limit, or the lines of a local file."""
    source = Path(prepare.source)
    lines = None
    if source.suffix == ".jsonl" and source.is_file():
        with source.open("rb") as file:
            lines = sum(1 for line in file if line.strip())
    known = [number for number in (prepare.limit, lines) if number is not None]
    return min(known) if known else None


def render(estimate: Estimate) -> str:
    """Plain text: memory of each step, what to change, hours and cost, and what all of it rests on."""
    machine = estimate.asked.machine
    of = f"each of {machine.gpus} GPUs" if machine.gpus > 1 else "the GPU" if machine.on_gpu else "the machine (no GPU)"
    size = estimate.policy
    lines = [
        f"policy: {size.parameters:,} parameters, {size.layers} layers, vocabulary {size.vocabulary:,};"
        f" {size.cache_bytes(2):,} bytes of keys and values a token in bfloat16",
        *([""] if estimate.changing else []),
        *(f"settings {line}" for line in estimate.changing),
        "",
        f"Memory of {of}, {machine.memory / GIB:.1f} GiB",
    ]
    for need in estimate.needs:
        lines += ["", *_need(need, estimate)]
    lines += ["", *estimate.idle.values()] if estimate.idle else []
    lines += ["", *_costs(estimate)]
    return "\n".join(lines)


def _need(need: Need, estimate: Estimate) -> list[str]:
    memory = estimate.asked.machine.memory
    if not need.items:
        return [f"{need.step}: {need.note}"]
    verdict = "fits" if need.bytes <= memory else f"DOES NOT FIT, {(need.bytes - memory) / GIB:.1f} GiB too much"
    lines = [f"{need.step}: {need.bytes / GIB:.1f} GiB, {verdict}"]
    lines += [f"  {item.name:<22} {item.bytes / GIB:7.2f} GiB  {item.how}" for item in need.items if item.bytes]
    lines += [f"  {need.note}"] if need.note else []
    if need.bytes > memory:
        lines += [f"  > {_advice(need, estimate)}"]
    return lines


_SCORING = {
    "rerank": "Reduce rerank.reranker.batch_tokens, or serve the reward model on another machine",
    "reference": 'Set loop.reference="current": what is trained is its own reference then, shared out as it is',
}


def _advice(need: Need, estimate: Estimate) -> str:
    if need.step in ("train", "sft"):
        changes = estimate.changes[need.step]
        if changes:
            return "Fits with " + " ".join(f"--set {change}" for change in changes)
        return "No setting of larpo makes it fit: take more or larger GPUs, or a smaller policy"
    if any(item.name == "draws" for item in need.items):
        return f"Reduce {need.step}.sampler.batch_size, {need.step}.max_new_tokens or {need.step}.max_prompt_tokens"
    if need.step in _SCORING:
        return _SCORING[need.step]
    if any(item.name == "a layer at work" for item in need.items):
        return f"Reduce {need.step}.sampler.batch_size or {need.step}.max_prompt_tokens"
    return f"Increase {need.step}.sampler.tensor_parallel, or reduce {need.step}.max_new_tokens"


def _costs(estimate: Estimate) -> list[str]:
    asked, lengths = estimate.asked, estimate.lengths
    lines = ["Work of the whole run, in tokens of responses"]
    for cost in estimate.costs:
        work = cost.work
        tokens = "unknown" if work.tokens is None else f"{work.tokens:,}"
        hours = "hours unknown" if cost.hours is None else f"{cost.hours:,.2f} h"
        price = "" if cost.price is None else f"  {cost.price:,.2f}"
        lines.append(f"  {work.step:<10} {tokens:>16}  {hours:>14}{price}  {work.times} x {work.how}")
    known = [cost.hours for cost in estimate.costs if cost.hours is not None]
    if known:
        whole = "all steps" if len(known) == len(estimate.costs) else "the steps above whose rate is known"
        prices = [cost.price for cost in estimate.costs if cost.price is not None]
        lines.append(f"  {whole}: {sum(known):,.2f} h" + (f", cost {sum(prices):,.2f}" if prices else ""))
    lacking = sorted({cost.work.rate for cost in estimate.costs} - set(asked.rates))
    if lacking:
        flags = ", ".join(f"--{rate}-rate" for rate in lacking)
        lines.append(f"  Rates are not known: pass the directory of an earlier run with --like, or {flags}.")
    for one in estimate.calls:
        number = "an unknown number of" if one.calls is None else f"at most {one.calls:,}"
        tokens = "" if one.tokens is None else f", about {one.tokens:,} input tokens without the template"
        lines.append(f"  {one.step}: {number} judge calls{tokens}")
    lines += [
        "",
        f"Assumed: {lengths.prompts:,} prompts an iteration of {lengths.prompt_tokens:,} tokens, responses of"
        f" {lengths.response_tokens:,} tokens",
        "(--prompts, --prompt-tokens, --response-tokens). Passes are the largest that the limits allow: a list longer",
        "than micro_batch_tokens has a pass of its own.",
    ]
    return lines
