"""What the components of the loop do, by their names. They find what they read in the run's root."""

from __future__ import annotations

import dataclasses

from larpo_lib.checks import check_references
from larpo_lib.pipeline.again import again
from larpo_lib.pipeline.execute import Done, describe, execute, open_ticket, train_on_nodes
from larpo_lib.pipeline.ticket import Ticket
from larpo_lib.shards import Shard
from larpo_lib.storage import localize

SFT, BASELINE, READY = "sft", "baseline", "ready"
"""What comes after `prepare`."""


def prepare(run: str) -> Done:
    """Prompts, held-out prompts and demonstrations.

    Returns:
        `next` is `sft` where the policy is to be fine-tuned first, `baseline` where a given policy is to be compared
        with another given one, else `ready`.
    """
    ticket = open_ticket(run)
    plan = ticket.plan
    calls = plan.prepare()
    if plan.policies:  # nothing is trained: prompts to train on are made where held-out ones are taken from them only
        calls = [call for call in calls if plan.heldout in call.outputs.values()]
    done = [execute(ticket, call) for call in calls]
    with ticket.journal.step("check-references"):
        again(lambda: _check_references(ticket))
    return dataclasses.replace(done[0], next=_next(ticket))


def _check_references(ticket: Ticket) -> None:
    plan = ticket.plan
    prompts = plan.heldout if plan.policies else plan.prompts
    with localize({"prompts": prompts, "heldout": plan.heldout}, {}) as local:
        check_references(ticket.config, local["prompts"], local["heldout"])


def _next(ticket: Ticket) -> str:
    if ticket.policies:
        return BASELINE if ticket.policies[0] else READY
    return READY if ticket.config.demonstrations is None else SFT


def sft(run: str) -> Done:
    """Fine-tuning on demonstrations."""
    ticket = open_ticket(run)
    return execute(ticket, ticket.plan.sft())


def sample(run: str, iteration: str, shard: str) -> Done:
    """One share of a round's candidates."""
    ticket = open_ticket(run)
    return execute(ticket, ticket.plan.sample(int(iteration), Shard.parse(shard)))


def merge_candidates(run: str, iteration: str) -> Done:
    """The shares of a round's candidates put together. A single one is the whole already."""
    ticket = open_ticket(run)
    return _merged(ticket, "candidates", int(iteration))


def rerank(run: str, iteration: str, shard: str) -> Done:
    """One share of a round's ranked candidates."""
    ticket = open_ticket(run)
    return execute(ticket, ticket.plan.rerank(int(iteration), Shard.parse(shard)))


def build_lists(run: str, iteration: str) -> tuple[Done, Done]:
    """The shares of a round's ranked candidates put together, and the round's training lists."""
    ticket = open_ticket(run)
    return _merged(ticket, "ranked", int(iteration)), execute(ticket, ticket.plan.build_lists(int(iteration)))


def train(run: str, iteration: str) -> Done:
    """A round's policy."""
    ticket = open_ticket(run)
    call = ticket.plan.train(int(iteration))
    return train_on_nodes(ticket, call) if ticket.config.train.launch.nodes > 1 else execute(ticket, call)


def evaluate(run: str, iteration: str) -> Done:
    """A policy measured; its metrics make one curve over the rounds in the run's MLflow run."""
    ticket = open_ticket(run)
    done = execute(ticket, ticket.plan.evaluate(int(iteration)))
    again(lambda: ticket.tracker().opened().log_metrics(done.metrics, step=int(iteration)))
    return done


def _merged(ticket: Ticket, name: str, iteration: int) -> Done:
    plan = ticket.plan
    if ticket.shards > 1:
        return execute(ticket, plan.merge(name, iteration, ticket.shards))
    made = plan.sample(iteration) if name == "candidates" else plan.rerank(iteration)
    return again(lambda: describe(ticket, made))
