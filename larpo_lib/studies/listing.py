"""A study before it is run: every cell with its settings, and what it would take by the stated assumptions."""

from collections.abc import Mapping, Sequence
from typing import Any

from larpo_lib.budget.lists import changes_in_words
from larpo_lib.config import LarpoConfig
from larpo_lib.reporting.table import aligned
from larpo_lib.studies.estimate import Assumptions, Cost, estimate, sft_gpu_hours
from larpo_lib.studies.study import Cell, ScaleName, Study


def listing(study: Study, scale: ScaleName, made: Sequence[Cell], given: Assumptions | None, calls: int) -> list[str]:
    """Lines for the terminal.

    Args:
        study: the grid.
        scale: at which size.
        made: its runs, complete.
        given: what costs are estimated from; None: none are.
        calls: judge's decisions on one policy.
    """
    configs = [cell.config() for cell in made]
    settings = [shown(config) for config in configs]
    varies = [name for name in settings[0] if len({one[name] for one in settings}) > 1]
    costs = [estimate(config, given) for config in configs] if given else []
    rows = [["run", *varies, *(["prompts", "responses", "GPU-hours", "judge calls"] if given else [])]]
    for place, (cell, one) in enumerate(zip(made, settings, strict=True)):
        rows.append([cell.key, *(one[name] for name in varies), *(_amounts(costs[place], calls) if given else [])])
    size = study.scale(scale)
    lines = [f"{study.title} ({study.source}), {scale}: {len(made)} runs", *aligned(rows), "The same for all runs:"]
    lines += [f"  {name}: {value}" for name, value in settings[0].items() if name not in varies]
    if size.benchmarks:
        lines.append(f"Benchmarks, of the policy before and after: {', '.join(size.benchmarks)}")
    if given:
        lines += _in_all(configs, costs, given, calls)
    if size.search is not None:
        lines.append(
            f"Before the runs, {size.search.setting} is chosen for each cell among "
            f"{', '.join(f'{value:g}' for value in size.search.values)}, with seed {size.search.seed}."
        )
    return [*lines, *(f"Choice: {choice}" for choice in size.choices)]


def shown(config: LarpoConfig) -> dict[str, str]:
    """The settings that the paper states, and those it leaves open, by the names that people give them."""
    sample, train, objective = config.sample, config.train, config.train.objective
    draws = [(sample.k, sample.temperature), *((draw.count, draw.temperature) for draw in sample.extra_draws)]
    negatives, launch = config.lists.negatives, train.launch
    parameters = objective.model_dump(exclude_none=True, exclude={"type", "target", "code"})
    parameters |= parameters.pop("settings", {})  # those of a function
    return {
        "policy": config.policy,
        "SFT": "none"
        if config.demonstrations is None
        else f"{config.demonstrations.source}, {config.sft.epochs} epochs, {config.sft.learning_rate:g}",
        "prompts": config.prepare.source,
        "ranked by": _reranker(config.rerank.reranker.model_dump()),
        "measured by": _reranker(config.evaluate.reranker.model_dump()),
        "objective": objective.in_words,
        "with": ", ".join(f"{name} {value}" for name, value in parameters.items()) or "nothing",
        "list": config.lists.selection.in_words,
        "negatives": "own" if negatives is None else negatives.kind,
        "k": "+".join(str(count) for count, _ in draws),
        "temperature": "+".join(_numbers(temperature) for _, temperature in draws),
        "top_p": f"{sample.top_p:g}",
        "new tokens": str(sample.max_new_tokens),
        "prompts an iteration": str(sample.prompts_per_iteration or "all"),
        "memory": config.lists.memory,
        "reference": config.loop.reference,
        "iterations": str(config.loop.iterations),
        "changes": "; ".join(changes_in_words(config)) or "none",
        "epochs": str(train.epochs),
        "learning rate": f"{train.learning_rate:g}",
        "schedule": f"{train.schedule}, warm-up {train.warmup_ratio:g}",
        "batch": str(train.batch_size),
        "tokens": f"{train.max_tokens}, at most {train.max_prompt_tokens} for the prompt",
        "held-out prompts": config.evaluation_prompts.source
        if config.evaluation_prompts
        else str(config.prepare.heldout),
        "training": "one process"
        if launch.launcher == "none"
        else f"{launch.launcher}, {launch.nproc} processes, ZeRO-{launch.zero_stage}",
        "precision": train.model.dtype,
    }


def _amounts(cost: Cost, calls: int) -> list[str]:
    return [f"{cost.prompts:,}", f"{cost.responses:,}", f"{cost.gpu_hours:.0f}", f"{calls:,}"]


def _in_all(configs: Sequence[LarpoConfig], costs: Sequence[Cost], given: Assumptions, calls: int) -> list[str]:
    """Sums, with what runs share counted once, and what they rest on."""
    starts = {_start(config): config for config in configs}
    tuning = sum(sft_gpu_hours(config, given) for config in starts.values())
    hours, decisions = sum(cost.gpu_hours for cost in costs) + tuning, calls * (len(configs) + len(starts))
    shared = f"{len(starts)} starting policies: {tuning:,.0f} GPU-hours of SFT"
    lines = [f"Counted once, because the runs share it: {shared}, {calls * len(starts):,} judge calls"]
    lines.append(f"In total about {hours:,.0f} GPU-hours and {decisions:,} judge calls, if the assumptions hold.")
    prices = {"GPU-hours": (hours, given.gpu_hour_price), "judge calls": (decisions, given.judge_price)}
    costs_money = {name: amount * price for name, (amount, price) in prices.items() if price is not None}
    if costs_money:
        said = ", ".join(f"{name} {value:,.0f}" for name, value in costs_money.items())
        lines.append(f"Cost at your own prices: {said}, in total {sum(costs_money.values()):,.0f}")
    lines.append("Assumptions, none of them measured here; change them with --assume or in the study's file")
    return lines + [
        f"  {name} = {'not stated' if value is None else f'{value:g}'}" for name, value in given.model_dump().items()
    ]


def _start(config: LarpoConfig) -> str:
    """What decides the policy that a run begins with."""
    if config.demonstrations is None:
        return config.policy
    return f"{config.policy} {config.demonstrations.model_dump_json()} {config.sft.model_dump_json()}"


def _reranker(reranker: Mapping[str, Any]) -> str:
    return str(reranker.get("path", reranker.get("target", reranker["type"])))


def _numbers(value: float | tuple[float, ...]) -> str:
    return ",".join(f"{one:g}" for one in value) if isinstance(value, tuple) else f"{value:g}"
