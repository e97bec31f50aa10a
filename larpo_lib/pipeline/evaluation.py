"""The pipeline that evaluates a policy made elsewhere: its first component and its last table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from larpo_lib.errors import ConfigError
from larpo_lib.pipeline import files
from larpo_lib.pipeline.begin import check
from larpo_lib.pipeline.execute import Done, promotion_text
from larpo_lib.pipeline.parameters import compose
from larpo_lib.pipeline.results import results
from larpo_lib.pipeline.ticket import Place, Ticket, store
from larpo_lib.reporting.table import summary_table
from larpo_lib.tracking import Tracker

_ONE_ROUND = {"loop": {"iterations": 1, "early_stop": None, "evaluate": "every_iteration"}, "demonstrations": None}


def begin(given: Mapping[str, Any], example: str) -> str:
    """Check the request, find or make its MLflow run, and give the ticket.

    Args:
        given: the parameters of the pipeline by name, and `job`.
        example: URI of one of KFP's artifacts of this run.

    Raises:
        LarpoError: something asked for cannot be.
    """
    place = Place.find(given["root"], given["run_id"], given["job"], example)
    with files.journal(place.root, "start"):
        if not given["policy"]:
            raise ConfigError("there is no policy to evaluate", remedy="Set policy")
        # Where nothing is trained, prompts to train on need no source of their own.
        prompts = {"prepare": {"source": given["prompts_source"]}} if given["prompts_source"] else {}
        heldout = {"evaluation_prompts": {"source": given["prompts_source"]}} if given["prompts_source"] else {}
        config = compose({**given, "prompts_source": ""}, _ONE_ROUND, prompts, heldout)
        check(config, {"max_rounds": 1, "sample_shards": 1, "rerank_shards": 1}, place.root)
        parent = Tracker(config.tracking, store(place.root)).begin(config.name, place.key, config)
        ticket = Ticket(
            root=place.root,
            name=place.name,
            shown=place.shown,
            parent=parent,
            config=config,
            policies=(given["baseline"], given["policy"]),
        )
        run = ticket.model_dump_json()
        files.keep_ticket(place.root, run)
    return run


def compare(run: str, promotion: str) -> Done:
    """The policy beside the one it is compared with, and the gate's decision."""
    ticket = Ticket.model_validate_json(run)
    measured = results(ticket)
    names = [f"`{ticket.policies[i]}`" for i in measured]
    table = summary_table([measured[i] for i in measured], list(measured))
    decision = promotion_text(files.read(promotion, "promotion.json"))
    text = f"{' against '.join(reversed(names))}\n\n```\n{table}\n```\n\n{decision}"
    return Done(ticket.root, measured[1], {"uri": ticket.root}, None, {"markdown": text})
