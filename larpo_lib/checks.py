"""What can be known to be wrong without a look at models: settings that contradict each other, missing answers."""

import logging
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from larpo_lib.candidates.memory import remembered
from larpo_lib.config import LarpoConfig, RerankerConfig, at_iteration, by_iteration
from larpo_lib.config.gate import HELD_OUT
from larpo_lib.contamination import tell_trained_on
from larpo_lib.early_stop import check_early_stop
from larpo_lib.errors import ConfigError
from larpo_lib.evaluation.run_benchmarks import (
    benchmark_effort,
    benchmarks_of_run,
    check_run_benchmarks,
    measured_policies,
)
from larpo_lib.progress import tell
from larpo_lib.rewards.references import require_references
from larpo_lib.rewards.rerankers import require_pointwise
from larpo_lib.samplers.candidates import prompts_of_iteration, training_draws
from larpo_lib.steps.judgements import EVALUATE_METRICS
from larpo_lib.tables import PromptTable


def check_settings(config: LarpoConfig) -> None:
    """Check what needs neither models nor servers: that settings do not contradict each other.

    Raises:
        ConfigError: they do.
    """
    if (config.prepare.heldout == 0) == (config.evaluation_prompts is None):
        raise ConfigError(
            "evaluation prompts must come from exactly one source",
            remedy="Set either prepare.heldout or evaluation_prompts",
        )
    for setting, reranker in config.evaluate.rerankers.items():
        require_pointwise(reranker, setting)
    check_early_stop(config)
    for each in by_iteration(config).values():
        _check_gains(each)
    check_run_benchmarks(config)
    if config.promote.metric not in EVALUATE_METRICS:
        raise ConfigError(
            f"promote.metric is '{config.promote.metric}', which `larpo run` does not measure",
            remedy=f"Use one of {', '.join(EVALUATE_METRICS)}, or promote.must_improve for metrics of benchmarks",
        )
    _check_accuracy(config)
    # A server serves one policy. A run trains others, which it would go on to sample from the first one's server.
    remedy = "Set its type to hf or vllm, or run the steps one by one and serve each policy before you sample from it"
    if config.evaluate.sampler.serves_one_policy:
        raise ConfigError(
            "evaluate.sampler is a server, which serves only one policy, but a run evaluates several", remedy=remedy
        )
    several = config.loop.iterations > 1 or config.demonstrations is not None
    if config.sample.sampler.serves_one_policy and several:
        raise ConfigError(
            "sample.sampler is a server, which serves only one policy, but this run trains before it samples",
            remedy=remedy,
        )


def check_prepared(config: LarpoConfig, prepared: Mapping[str, Path]) -> None:
    """What is checked and told of a run's data before anything is sampled.

    Args:
        config: of the run.
        prepared: as `Plan.prepared` names them.

    Raises:
        LarpoError: a reference cannot be read, or a file of a benchmark is not as it should be.
    """
    heldout = prepared["heldout"]
    prompts = prepared.get("prompts", heldout)
    check_references(config, prompts, heldout)
    foretell_calls(config, prompts, heldout)
    tell_trained_on(heldout, {name: path for name, path in prepared.items() if name != "heldout"})


def check_references(config: LarpoConfig, prompts: Path, heldout: Path) -> None:
    """Check that the verifier can read every reference it will judge by.

    Raises:
        DataError: names each row whose reference it cannot read.
    """
    require_references(prompts, config.rerank.reranker)
    require_references(heldout, *config.evaluate.rerankers.values(), config.evaluate.judge)


def foretell_calls(config: LarpoConfig, prompts: Path, heldout: Path) -> None:
    """Tell at most how many calls that may cost money rerankers and benchmarks make in a run.

    It is told before anything is sampled. The steps count again what they really have to score, without repeated
    responses and stored decisions, and refuse more than `max_calls` before the first call; here that is warned of.

    Raises:
        LarpoError: a file of such a benchmark is not as it should be.
    """
    evaluating = config.evaluate.rerankers
    if any(part.most_calls(2) for one in (config.rerank.reranker, *evaluating.values()) for part in one.parts()):
        _foretell_rerankers(config, prompts, heldout)
    for benchmark, _ in benchmarks_of_run(config):
        effort = benchmark_effort(benchmark, config, len(PromptTable(heldout, "prompts")), fetched=True)
        section = getattr(config, benchmark.name)
        if effort.responses:
            most = f"{effort.responses:,} responses of at most {section.answers.max_new_tokens:,} tokens"
            times = measured_policies(config, benchmark.name)
            tell(f"{benchmark.name}: each policy gives {most}, and {times} are asked")
        if effort.calls:
            judge = getattr(section, "judge", None) or section.reranker
            asked = getattr(judge, "model", None) or judge.type
            calls = [effort.calls] * measured_policies(config, benchmark.name)
            _foretell(benchmark.name, asked, calls, getattr(judge, "max_calls", None))


def _foretell_rerankers(config: LarpoConfig, prompts: Path, heldout: Path) -> None:
    ids, numbers = [*PromptTable(prompts, "prompts")], range(1, config.loop.iterations + 1)
    asked = {number: prompts_of_iteration(ids, config.sample, number) for number in numbers}
    settings = {number: at_iteration(config, number) for number in numbers}
    drawn = {number: len(training_draws(settings[number].sample, number)) for number in numbers}
    for part in config.rerank.reranker.parts():
        memory = {number: settings[number].lists.memory if part.list_relative else "current" for number in numbers}
        sizes = [_list_sizes(drawn, asked, remembered(numbers[:number], memory[number])) for number in numbers]
        _foretell_part("rerank", part, sizes)
    evaluated = min(len(PromptTable(heldout, "prompts")), config.evaluate.limit or sys.maxsize)
    policies = config.loop.iterations + 1 if config.loop.evaluate == "every_iteration" else 2
    for setting, reranker in config.evaluate.rerankers.items():
        for part in reranker.parts():
            label = setting.removesuffix(".reranker").replace(".", ", ")
            _foretell_part(label, part, [Counter({config.evaluate.n + 1: evaluated})] * policies)


def _list_sizes(drawn: Mapping[int, int], asked: Mapping[int, Sequence[str]], kept: Sequence[int]) -> Counter[int]:
    """How many lists of which size the last of `kept` iterations ranks, each with what the others drew for it."""
    draws = [(drawn[number], {*asked[number]}) for number in kept]
    return Counter(sum(count for count, own in draws if prompt_id in own) for prompt_id in asked[kept[-1]])


def _foretell_part(label: str, part: RerankerConfig, steps: Sequence[Counter[int]]) -> None:
    calls = [sum(count * part.most_calls(size) for size, count in sizes.items()) for sizes in steps]
    if any(calls):
        _foretell(label, part.type, calls, getattr(part, "max_calls", None))


def _foretell(label: str, asked: str, calls: Sequence[int], allowed: int | None) -> None:
    most = max(calls)
    tell(f"{label}: {asked} makes at most {most:,} calls at a time, and {sum(calls):,} in the whole run")
    if allowed is not None and most > allowed:
        logging.getLogger(__name__).warning(
            "%s may need %s judge calls, but max_calls is %s: if it does, it stops before the first one",
            label,
            f"{most:,}",
            f"{allowed:,}",
        )


def _check_accuracy(config: LarpoConfig) -> None:
    """Refuse to look at what is right where nothing says so."""
    if config.evaluate.judge is not None:
        return
    used = {"promote.metric": config.promote.metric}
    used |= {f"promote.{one.demand}": one.name for one in config.promote.asked if one.benchmark == HELD_OUT}
    if config.loop.early_stop is not None:
        used["loop.early_stop.metric"] = config.loop.early_stop.metric
    for setting, metric in used.items():
        if metric in ("accuracy", "greedy_accuracy"):
            raise ConfigError(
                f"{setting} is '{metric}', but evaluate.judge, which decides what is right, is not set",
                remedy="Set evaluate.judge, or use a metric of the reward",
            )


def _check_gains(config: LarpoConfig) -> None:
    """Refuse objectives that raise 2 to the rewards where these are known to leave 0 to 1.

    What a server gives is not known; the step `train` looks at the lists.
    """
    objective, rerank, negatives = config.train.objective, config.rerank, config.lists.negatives
    if not objective.needs_unit_rewards:
        return
    reason: str | None
    if rerank.length_penalty > 0:
        reason = "rerank.length_penalty makes rewards negative"
    elif negatives is not None and negatives.borrows:
        reason = f"'{negatives.kind}' negatives are scored below the worst response, so below 0"
    else:
        reason = rerank.reranker.beyond_one
    if reason is not None:
        raise ConfigError(
            f"train.objective: {objective.in_words} needs rewards from 0 to 1, but {reason}",
            remedy=f"Set train.objective.{objective.raw_gains} to minmax or rank, or choose another objective, "
            "such as lambdarank",
        )
