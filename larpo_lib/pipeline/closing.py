"""The last component: says how a run ended, whatever became of it, ends its MLflow run, and cleans up."""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

from larpo_lib import logs
from larpo_lib.errors import LarpoError
from larpo_lib.pipeline import files, variables
from larpo_lib.pipeline.execute import StepResult, promotion_text
from larpo_lib.pipeline.journal import SUMMARY, WITHOUT_A_WORD, Journal, UnfinishedStep
from larpo_lib.pipeline.pod_cache import use_writable_cache
from larpo_lib.pipeline.results import results
from larpo_lib.pipeline.retries import with_retries
from larpo_lib.pipeline.run_context import Place, RunContext, member_root
from larpo_lib.plan import SUMMARY as SUMMARY_FILE
from larpo_lib.progress import tell
from larpo_lib.reporting.table import summary_table
from larpo_lib.tracking.client import one_line

_LOG = logging.getLogger(__name__)

_SUCCEEDED, _FAILED, _TERMINATED = "SUCCEEDED", "FAILED", "TERMINATED"
_FOUND = (
    "\nAnother run had finished in this root. What it made was found and not made again. For a new run each time, as "
    "of a recurring run, leave `run_id` empty.\n"
)
_STATUS: Mapping[str, Literal["FINISHED", "FAILED", "KILLED"]] = {
    _SUCCEEDED: "FINISHED",
    _FAILED: "FAILED",
    _TERMINATED: "KILLED",
}


def close(given: Mapping[str, str], example: str) -> StepResult:
    """Report how a run ended: well only if its last step is noted as done.

    Kubeflow's own word is not asked for: what it calls the state of a run's tasks is neither final nor certain here,
    and a task that asks for it may not be run at all.

    Args:
        given: the parameters `root` and `run_id` of the pipeline, and `job`, the identity of the run in Kubeflow.
        example: URI of one of KFP's artifacts of this run.
    """
    logs.set_up()
    tell("larpo: step close")
    use_writable_cache()
    return with_retries(lambda: _close(given["job"], given["root"], given["run_id"], example))


def _close(job: str, root: str, run_id: str, example: str) -> StepResult:
    troubles: list[str] = []
    try:
        place = Place.find(root, run_id, job, example)
        context = RunContext.find(place.root, job)
        done = SUMMARY in Journal(place.root, job).done()
        causes = [] if done else _noted(place.root, job, context)
    except LarpoError as error:
        if error.transient:
            raise
        place, context, done, causes = Place(root, run_id or job, None), None, False, [str(error)]
    state = _SUCCEEDED if done else _FAILED
    if not done:
        state, more = _of_the_workflow(troubles)
        causes += more
    text = f"# Run {place.name}: {state}\n\nRoot: `{place.root}`\n"
    if causes:
        text += "\n## What failed\n\n" + "".join(f"- {cause}\n" for cause in causes)
    if context is not None:
        text += _results(context, troubles) if done else ""
        text += _FOUND if done and context.journal.others_finished() else ""
        _clean_up(context, troubles)
        text += "".join(f"\nThis, too: {trouble}\n" for trouble in troubles)
        text += _end(context, state, text, "; ".join(causes))
    else:
        text += "\nThe run ended before it started in MLflow.\n"
    tell(text.rstrip())
    metadata = {"state": state, "root": place.root, "cause": "; ".join(causes)}
    return StepResult(place.root, {}, metadata, None, {"markdown": text})


def _noted(root: str, job: str, context: RunContext | None) -> list[str]:
    """What the journals say, that of the run and those of a study's runs."""
    members = () if context is None else range(1, len(context.members) + 1)
    told = [_told("", trouble) for trouble in Journal(root, job).unfinished()]
    for number in members:
        place = member_root(root, number)
        told += [_told(f"{place.removeprefix(root + '/')}/", trouble) for trouble in Journal(place, job).unfinished()]
    return told


def _told(place: str, trouble: UnfinishedStep) -> str:
    cause = trouble.cause and f": {trouble.cause}"
    return f"**{place}{trouble.step}**{cause or f' {WITHOUT_A_WORD}'}"


def _of_the_workflow(troubles: list[str]) -> tuple[str, list[str]]:
    """How the run ended in the workflow engine's words, and what failed there: images, volumes, lost pods.

    The pod is told the workflow's name by its label; where nothing runs in a cluster, nobody can be asked.
    """
    name = os.environ.get(variables.WORKFLOW)
    if not name or "KUBERNETES_SERVICE_HOST" not in os.environ:
        return _FAILED, []
    with _aside(troubles):
        from larpo_lib.kubernetes.workflow import read_workflow

        found = read_workflow(name)
        return _TERMINATED if found.terminated else _FAILED, [f"in the cluster, {line}" for line in found.failures]
    return _FAILED, []


def _results(context: RunContext, troubles: list[str]) -> str:
    """The table of evaluations and the gate's decision; of a study, where its own table is."""
    if context.members:
        return f"\nSummary: `{context.root}/{SUMMARY_FILE}`\n"
    with _aside(troubles):
        table = summary_table(dict(sorted(results(context).items())))
        decision = promotion_text(files.read(context.plan.promotion, "promotion.json"))
        return f"\n```\n{table}\n```\n\n## Promotion\n\n{decision}\nSummary: `{context.root}/{SUMMARY_FILE}`\n"
    return ""


def _clean_up(context: RunContext, troubles: list[str]) -> None:
    """Delete TrainJobs of the run that are still there; only a run on several machines has any."""
    if context.config.train.launch.nodes == 1 or "KUBERNETES_SERVICE_HOST" not in os.environ:
        return
    with _aside(troubles):
        from larpo_lib.kubernetes import cleanup

        for name in context.members or (context.name,):
            cleanup(name)


@contextmanager
def _aside(troubles: list[str]) -> Iterator[None]:
    """Add what goes wrong to what the report tells, whatever it is: the run must not stay open in MLflow for it."""
    try:
        yield
    except LarpoError as error:
        troubles.append(str(error))
    except Exception as error:
        _LOG.exception("the report goes on without it")
        troubles.append(one_line(error))


def _end(context: RunContext, state: str, text: str, cause: str) -> str:
    """End the MLflow run, with the report in it, and those of a study; what stands in the way is told."""
    status = _STATUS[state]
    try:
        for number in range(1, len(context.members) + 1):
            member = RunContext.find(member_root(context.root, number), context.job)
            if member is not None:
                member.tracker().end_run(status, text, cause[:500])
        tracker = context.tracker()
        tracker.end_run(status, text, cause[:500])
        return f"\nMLflow: {tracker.run_url(context.parent)}\n"
    except LarpoError as error:
        return f"\nMLflow could not be updated: {one_line(error)}\n"
