"""The pipeline that evaluates a policy made elsewhere: its first component and its last table."""

from collections.abc import Mapping
from typing import Any

from larpo_lib.errors import ConfigError
from larpo_lib.pipeline import files
from larpo_lib.pipeline.begin import check, first_task, pinned
from larpo_lib.pipeline.earlier_results import check_earlier_results
from larpo_lib.pipeline.execute import StepResult, open_context, promotion_text
from larpo_lib.pipeline.journal import SUMMARY
from larpo_lib.pipeline.parameters import compose
from larpo_lib.pipeline.results import results
from larpo_lib.pipeline.retries import with_retries
from larpo_lib.pipeline.run_context import Place, RunContext, Started
from larpo_lib.plan import Plan
from larpo_lib.reporting.table import summary_table

_ONE_ROUND = {"loop": {"iterations": 1, "early_stop": None, "evaluate": "every_iteration"}, "demonstrations": None}


@first_task
def begin(given: Mapping[str, Any], place: Place) -> Started:
    """Check the request, find or make its MLflow run, and leave the context in the run's root."""
    if not given["policy"]:
        raise ConfigError("no policy to evaluate is set", remedy="Set policy")
    config = pinned(compose(given, _ONE_ROUND, pipeline="evaluate"), place.root)
    check(config, given, place.root)
    baseline = given["baseline"] and pinned(config.model_copy(update={"policy": given["baseline"]}), place.root).policy
    policies = (baseline, config.policy)
    check_earlier_results(Plan(config, place.root, policies=policies), 1)
    return Started(RunContext.begin(given["job"], place, config, config.name, policies=policies))


def compare(run: str) -> StepResult:
    """The policy beside the one it is compared with, and the gate's decision."""
    context = open_context(run)
    with context.journal.step(SUMMARY):
        return with_retries(lambda: _compare(context))


def _compare(context: RunContext) -> StepResult:
    measured = results(context)
    names = [f"`{context.policies[i]}`" for i in measured]
    table = summary_table(measured)
    decision = promotion_text(files.read(context.plan.promotion, "promotion.json"))
    text = f"{' against '.join(reversed(names))}\n\n```\n{table}\n```\n\n{decision}"
    return StepResult(context.root, measured[1], {"uri": context.root}, None, {"markdown": text})
