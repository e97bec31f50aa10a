"""What the components do that judge a run: the gate, the report, the table of what was dropped."""

import dataclasses
import time
from collections.abc import Iterator, Mapping
from typing import Any

from larpo_lib.artifacts import Metrics
from larpo_lib.early_stop import best_iteration
from larpo_lib.errors import ArtifactError
from larpo_lib.pipeline import files
from larpo_lib.pipeline.execute import StepResult, execute, open_context
from larpo_lib.pipeline.journal import SUMMARY
from larpo_lib.pipeline.retries import with_retries
from larpo_lib.pipeline.run_context import RunContext
from larpo_lib.plan import SUMMARY as SUMMARY_FILE
from larpo_lib.plan import StepCall
from larpo_lib.reporting.content import drops
from larpo_lib.run_files import summarize

END = "end"
"""In place of a round's number: the result of the run."""


def promote(run: str, iteration: str) -> StepResult:
    """The gate.

    Args:
        run: where the context is.
        iteration: whose policy it is about; `end`: the run's result.
    """
    context = open_context(run)
    plan = context.plan
    if iteration != END:
        number = int(iteration)
        return execute(context, plan.promote(number, plan.at(number, "promotion"), number))
    measured = with_retries(lambda: results(context))
    best = best_iteration(measured, context.config.loop.early_stop)
    return execute(context, plan.promote(best, plan.promotion, None))


def report(run: str) -> StepResult:
    """The report, and `summary.json` in the run's root.

    Args:
        run: where the context is.
    """
    context = open_context(run)
    measured = with_retries(lambda: results(context))
    call = context.plan.report(max(measured), best_iteration(measured, context.config.loop.early_stop))
    done = execute(context, call)
    with context.journal.step(SUMMARY):
        return with_retries(lambda: _summary(context, call, done, measured))


def _summary(context: RunContext, call: StepCall, done: StepResult, measured: Mapping[int, Metrics]) -> StepResult:
    seconds = time.time() - context.tracker().open_run().started / 1000
    promoted = files.read(context.plan.promotion, "metrics.json")
    files.write(context.root, SUMMARY_FILE, summarize(context.config, measured, promoted, seconds))
    return dataclasses.replace(done, texts={**done.texts, "markdown": drops_text(call)})


def results(context: RunContext) -> dict[int, Metrics]:
    """The metrics of the iterations that the run made, as far as they were measured.

    Raises:
        ArtifactError: the last iteration was not.
    """
    plan = context.plan
    every = {i: plan.at(i, "evaluation") for i in range(context.config.loop.iterations + 1)}
    measured = files.measured(every)
    last = plan.last(measured)
    if last not in measured:
        raise ArtifactError(
            f"{plan.at(last, 'evaluation')}: does not exist", remedy="Wait until the previous iteration has finished"
        )
    return {i: metrics for i, metrics in measured.items() if i <= last}


def drops_text(call: StepCall) -> str:
    """A table in Markdown of what every step of a run dropped, from the call of its report."""
    parts = [(step, column, files.read(uri, "metrics.json")) for step, column, uri in _sources(call.inputs)]
    last = max(column for _, column, _ in parts)
    head = ["step", "what", "start", *(f"iteration {i}" for i in range(1, last + 1))]
    rows = [
        [drop.step, drop.reason, *("" if value is None else f"{value:,}" for value in drop.counts)]
        for drop in drops(parts, last + 1)
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in [head, ["---"] * len(head), *rows])


def _sources(inputs: Mapping[str, Any]) -> Iterator[tuple[str, int, str]]:
    """Step, iteration and place of the artifacts that a report is about."""
    steps = {"candidates": "sample", "ranked": "rerank", "lists": "build_lists", "policies": "train"}
    for name, given in inputs.items():
        if name == "preparations":
            yield from ((uri.rpartition("/")[2], 0, uri) for uri in given)
        elif name in steps:
            yield from ((steps[name], i, uri) for i, uri in enumerate(given, start=1))
