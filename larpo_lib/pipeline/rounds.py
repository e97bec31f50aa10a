"""What the components of the loop do, by their names. They find what they read in the run's root."""

import dataclasses

from larpo_lib.checks import check_prepared
from larpo_lib.early_stop import best_iteration
from larpo_lib.pipeline import files
from larpo_lib.pipeline.execute import StepResult, describe, execute, open_context, train_on_nodes
from larpo_lib.pipeline.retries import with_retries
from larpo_lib.pipeline.run_context import RunContext
from larpo_lib.plan import StepCall
from larpo_lib.shards import Shard
from larpo_lib.storage import localize

SFT, BASELINE, READY = "sft", "baseline", "ready"
"""What comes after `prepare`."""


def prepare(run: str) -> StepResult:
    """Prompts, held-out prompts and demonstrations.

    Returns:
        `next` is `sft` where the policy is to be fine-tuned first, `baseline` where a given policy is to be compared
        with another given one, else `ready`.
    """
    context = open_context(run)
    plan = context.plan
    calls = plan.prepare()
    if plan.policies:  # nothing is trained: prompts to train on are made where held-out ones are taken from them only
        calls = [call for call in calls if plan.heldout in call.outputs.values()]
    done = [execute(context, call) for call in calls]
    with context.journal.step("check-references"):
        with_retries(lambda: _check_prepared(context))
    return dataclasses.replace(done[0], next=_next(context))


def _check_prepared(context: RunContext) -> None:
    with localize(context.plan.prepared(), {}) as paths:
        check_prepared(context.config, paths)


def _next(context: RunContext) -> str:
    if context.policies:
        return BASELINE if context.policies[0] else READY
    return READY if context.config.demonstrations is None else SFT


def sft(run: str) -> StepResult:
    """Fine-tuning on demonstrations."""
    context = open_context(run)
    return execute(context, context.plan.sft())


def sample(run: str, iteration: str, shard: str) -> StepResult:
    """One share of a round's candidates."""
    context = open_context(run)
    return execute(context, context.plan.sample(int(iteration), Shard.parse(shard)))


def merge_candidates(run: str, iteration: str) -> StepResult:
    """The shares of a round's candidates put together. A single one is the whole already."""
    context = open_context(run)
    return _merged(context, "candidates", int(iteration))


def rerank(run: str, iteration: str, shard: str) -> StepResult:
    """One share of a round's ranked candidates."""
    context = open_context(run)
    return execute(context, context.plan.rerank(int(iteration), Shard.parse(shard)))


def build_lists(run: str, iteration: str) -> tuple[StepResult, StepResult]:
    """The shares of a round's ranked candidates put together, and the round's training lists."""
    context = open_context(run)
    return _merged(context, "ranked", int(iteration)), execute(context, context.plan.build_lists(int(iteration)))


def train(run: str, iteration: str) -> StepResult:
    """A round's policy."""
    context = open_context(run)
    call = context.plan.train(int(iteration))
    return train_on_nodes(context, call) if context.config.train.launch.nodes > 1 else execute(context, call)


def evaluate(run: str, iteration: str) -> StepResult:
    """A policy measured; its metrics make one curve over the rounds in the run's MLflow run.

    Also by the benchmarks that the run takes of this policy: the policy is here, and the machine.
    """
    context, number = open_context(run), int(iteration)
    done = execute(context, context.plan.evaluate(number))
    with_retries(lambda: context.log(done.metrics, number))
    for call in with_retries(lambda: _benchmarks(context, number)):
        execute(context, call)
    return done


def _benchmarks(context: RunContext, iteration: int) -> list[StepCall]:
    """The benchmarks that are due once an iteration is evaluated: of its policy, and at the end of the best one's."""
    plan, loop = context.plan, context.config.loop
    due = plan.benchmarks(iteration)
    if not context.config.promote.benchmarks:
        return due
    measured = files.measured({i: plan.at(i, "evaluation") for i in range(iteration + 1)})
    ended = iteration == plan.last(measured)
    return [*due, *plan.late_benchmarks(best_iteration(measured, loop.early_stop))] if ended else due


def _merged(context: RunContext, name: str, iteration: int) -> StepResult:
    plan = context.plan
    if context.shards > 1:
        return execute(context, plan.merge(name, iteration, context.shards))
    made = plan.sample(iteration) if name == "candidates" else plan.rerank(iteration)
    return with_retries(lambda: describe(context, made))
