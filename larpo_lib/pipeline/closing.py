"""The last component: says how a run ended, whatever became of it, ends its MLflow run, and cleans up."""

from __future__ import annotations

import os
import sys
from typing import Literal

from larpo_lib.errors import LarpoError
from larpo_lib.pipeline import files
from larpo_lib.pipeline.execute import Done, promotion_text
from larpo_lib.pipeline.results import results
from larpo_lib.pipeline.ticket import Place, Ticket
from larpo_lib.plan import SUMMARY
from larpo_lib.reporting.table import summary_table
from larpo_lib.tracking.client import one_line

_SUCCEEDED = "SUCCEEDED"


def close(*, state: str, message: str, job: str, root: str, run_id: str, example: str) -> Done:
    """Report how a run ended.

    Args:
        state: of the tasks before, in KFP's words: SUCCEEDED, FAILED, CANCELLED.
        message: what KFP says of a failure.
        job: identity of the run in Kubeflow.
        root: parameter of the pipeline; `run_id` likewise.
        example: URI of one of KFP's artifacts of this run.
    """
    troubles: list[str] = []
    try:
        place = Place.find(root, run_id, job, example)
        kept = files.kept_ticket(place.root)
        ticket = None if kept is None else Ticket.model_validate_json(kept)
        causes = [] if state == _SUCCEEDED else _causes(place.root)
    except LarpoError as error:
        place, ticket, causes = Place(root, run_id or job, None), None, [str(error)]
    if state != _SUCCEEDED and message and not causes:
        causes = [f"KFP says: {message}"]
    text = f"# Run {place.name}: {state}\n\nRoot: `{place.root}`\n"
    if causes:
        text += "\n## What failed\n\n" + "".join(f"- {cause}\n" for cause in causes)
    if ticket is not None:
        text += _results(ticket, troubles) if state == _SUCCEEDED else ""
        _clean_up(ticket, troubles)
        text += "".join(f"\nThis, too: {trouble}\n" for trouble in troubles)
        text += _end(ticket, state, text, "; ".join(causes))
    else:
        text += "\nThe run ended before it was begun in MLflow.\n"
    sys.stderr.write(text)
    metadata = {"state": state, "root": place.root, "cause": "; ".join(causes)}
    return Done(place.root, {}, metadata, None, {"markdown": text})


def _causes(root: str) -> list[str]:
    told = []
    for entry in files.unfinished(root):
        if entry["state"] == "failed":
            told.append(f"**{entry['step']}**: {entry['cause']}")
        else:
            told.append(f"**{entry['step']}** was stopped, or ended without a word, as when memory runs out")
    return told


def _results(ticket: Ticket, troubles: list[str]) -> str:
    """The table of evaluations and the gate's decision; of a study, where its own table is."""
    if ticket.members:
        return f"\nSummary: `{ticket.root}/{SUMMARY}`\n"
    try:
        measured = results(ticket)
        decision = files.read(ticket.plan.promotion, "promotion.json")
    except LarpoError as error:
        troubles.append(str(error))
        return ""
    table = summary_table([measured[i] for i in sorted(measured)], sorted(measured))
    return f"\n```\n{table}\n```\n\n## Promotion\n\n{promotion_text(decision)}\nSummary: `{ticket.root}/{SUMMARY}`\n"


def _clean_up(ticket: Ticket, troubles: list[str]) -> None:
    """Delete TrainJobs of the run that are still there; only a run on several machines has any."""
    if ticket.config.train.launch.nodes == 1 or "KUBERNETES_SERVICE_HOST" not in os.environ:
        return
    from larpo_lib.kubernetes import cleanup

    try:
        for name in ticket.members or (ticket.name,):
            cleanup(name)
    except LarpoError as error:
        troubles.append(str(error))


def _end(ticket: Ticket, state: str, text: str, cause: str) -> str:
    """End the MLflow run, with the report in it, and those of a study; what stands in the way is told."""
    status: Literal["FINISHED", "FAILED"] = "FINISHED" if state == _SUCCEEDED else "FAILED"
    try:
        for i in range(1, len(ticket.members) + 1):
            kept = files.kept_ticket(f"{ticket.root}/members/{i}")
            if kept is not None:
                Ticket.model_validate_json(kept).tracker().end(status, text, cause[:500])
        tracker = ticket.tracker()
        tracker.end(status, text, cause[:500])
        return f"\nMLflow: {tracker.address(ticket.parent)}\n"
    except LarpoError as error:
        return f"\nMLflow could not be told: {one_line(error)}\n"
