"""What the components do that judge a run: the gate, the report, the table of what was dropped."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping

from larpo_lib.artifacts import Metrics
from larpo_lib.errors import ArtifactError
from larpo_lib.pipeline import files
from larpo_lib.pipeline.again import again
from larpo_lib.pipeline.execute import Done, execute, open_ticket
from larpo_lib.pipeline.journal import SUMMARY
from larpo_lib.pipeline.ticket import Ticket
from larpo_lib.plan import SUMMARY as SUMMARY_FILE
from larpo_lib.plan import Call, best_iteration, summarize
from larpo_lib.reporting.content import drops

END = "end"
"""In place of a round's number: the result of the run."""


def promote(run: str, iteration: str) -> Done:
    """The gate.

    Args:
        run: where the ticket is.
        iteration: whose policy it is about; `end`: the run's result.
    """
    ticket = open_ticket(run)
    plan = ticket.plan
    if iteration != END:
        number = int(iteration)
        return execute(ticket, plan.promote(number, plan.at(number, "promotion"), number))
    measured = again(lambda: results(ticket))
    best = best_iteration(measured, ticket.config.loop.early_stop)
    return execute(ticket, plan.promote(best, plan.promotion, None))


def report(run: str) -> Done:
    """The report, and `summary.json` in the run's root.

    Args:
        run: where the ticket is.
    """
    ticket = open_ticket(run)
    measured = again(lambda: results(ticket))
    call = ticket.plan.report(max(measured))
    done = execute(ticket, call)
    with ticket.journal.step(SUMMARY):
        return again(lambda: _summary(ticket, call, done, measured))


def _summary(ticket: Ticket, call: Call, done: Done, measured: Mapping[int, Metrics]) -> Done:
    seconds = time.time() - ticket.tracker().opened().started / 1000
    promoted = files.read(ticket.plan.promotion, "metrics.json")
    files.write(ticket.root, SUMMARY_FILE, summarize(ticket.config, measured, promoted, seconds))
    return dataclasses.replace(done, texts={**done.texts, "markdown": drops_text(call)})


def results(ticket: Ticket) -> dict[int, Metrics]:
    """The metrics of the iterations that the run made, as far as they were measured.

    Raises:
        ArtifactError: the last iteration was not.
    """
    plan = ticket.plan
    every = {i: plan.at(i, "evaluation") for i in range(ticket.config.loop.iterations + 1)}
    measured = files.measured(every)
    last = plan.last(measured)
    if last not in measured:
        raise ArtifactError(f"{plan.at(last, 'evaluation')}: is not there", remedy="Let the round before finish")
    return {i: metrics for i, metrics in measured.items() if i <= last}


def drops_text(call: Call) -> str:
    """A table in Markdown of what every step of a run dropped, from the call of its report."""
    parts = [(step, column, files.read(uri, "metrics.json")) for step, column, uri in _sources(call.inputs)]
    last = max(column for _, column, _ in parts)
    head = ["step", "what", "start", *(f"iteration {i}" for i in range(1, last + 1))]
    rows = [
        [drop.step, drop.reason, *("" if value is None else f"{value:,}" for value in drop.counts)]
        for drop in drops(parts, last + 1)
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in [head, ["---"] * len(head), *rows])


def _sources(inputs: Mapping[str, object]) -> list[tuple[str, int, str]]:
    """Step, iteration and place of the artifacts that a report is about."""
    found = []
    for name, given in inputs.items():
        if name in ("preparations", "candidates", "ranked", "lists", "policies"):
            assert isinstance(given, list)
            first = 0 if name == "preparations" else 1
            steps = {"candidates": "sample", "ranked": "rerank", "lists": "build_lists", "policies": "train"}
            for i, uri in enumerate(given):
                step = steps.get(name, str(uri).rpartition("/")[2])
                found.append((step, first * (i + 1), str(uri)))
    return found
