"""The pipeline that evaluates a policy made elsewhere: its first component and its last table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from larpo_lib import logs
from larpo_lib.errors import ConfigError
from larpo_lib.pipeline import files
from larpo_lib.pipeline.again import again
from larpo_lib.pipeline.begin import check
from larpo_lib.pipeline.earlier import require_fitting
from larpo_lib.pipeline.execute import Done, open_ticket, promotion_text
from larpo_lib.pipeline.journal import SUMMARY, Journal
from larpo_lib.pipeline.parameters import compose
from larpo_lib.pipeline.results import results
from larpo_lib.pipeline.scratch import settle_cache
from larpo_lib.pipeline.ticket import Place, Ticket, store
from larpo_lib.plan import Plan
from larpo_lib.reporting.table import summary_table
from larpo_lib.tracking import Tracker

_ONE_ROUND = {"loop": {"iterations": 1, "early_stop": None, "evaluate": "every_iteration"}, "demonstrations": None}


def begin(given: Mapping[str, Any], example: str) -> str:
    """Check the request, find or make its MLflow run, and leave the ticket in the run's root; gives where.

    Args:
        given: the parameters of the pipeline by name, and `job`.
        example: URI of one of KFP's artifacts of this run.

    Raises:
        LarpoError: something asked for cannot be.
    """
    logs.set_up()
    settle_cache()
    place = Place.find(given["root"], given["run_id"], given["job"], example)
    with Journal(place.root, given["job"]).step("start"):
        return again(lambda: _begin(given, place))


def _begin(given: Mapping[str, Any], place: Place) -> str:
    if not given["policy"]:
        raise ConfigError("there is no policy to evaluate", remedy="Set policy")
    config = compose(given, _ONE_ROUND, pipeline="evaluate")
    check(config, given, place.root)
    policies = (given["baseline"], given["policy"])
    require_fitting(Plan(config, place.root, policies=policies), 1)
    parent = Tracker(config.tracking, store(place.root)).begin(config.name, place.key, config)
    ticket = Ticket(
        job=given["job"],
        root=place.root,
        name=place.name,
        shown=place.shown,
        parent=parent,
        config=config,
        policies=policies,
    )
    return ticket.keep()


def compare(run: str) -> Done:
    """The policy beside the one it is compared with, and the gate's decision."""
    ticket = open_ticket(run)
    with ticket.journal.step(SUMMARY):
        return again(lambda: _compare(ticket))


def _compare(ticket: Ticket) -> Done:
    measured = results(ticket)
    names = [f"`{ticket.policies[i]}`" for i in measured]
    table = summary_table([measured[i] for i in measured], list(measured))
    decision = promotion_text(files.read(ticket.plan.promotion, "promotion.json"))
    text = f"{' against '.join(reversed(names))}\n\n```\n{table}\n```\n\n{decision}"
    return Done(ticket.root, measured[1], {"uri": ticket.root}, None, {"markdown": text})
