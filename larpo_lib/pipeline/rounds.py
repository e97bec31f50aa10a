"""What the components of the loop do, by their names."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence

from larpo_lib.checks import check_references
from larpo_lib.pipeline import files
from larpo_lib.pipeline.execute import Done, describe, execute, train_on_nodes
from larpo_lib.pipeline.ticket import Ticket
from larpo_lib.plan import Call
from larpo_lib.shards import Shard
from larpo_lib.storage import localize


def prepare(run: str) -> Done:
    """Prompts, held-out prompts and demonstrations. `next` is `sft`, or the policy that the loop begins with."""
    ticket = Ticket.model_validate_json(run)
    plan = ticket.plan
    calls = plan.prepare()
    if plan.policies:  # nothing is trained: prompts to train on are made where held-out ones are taken from them only
        calls = [call for call in calls if plan.heldout in call.outputs.values()]
    done = [execute(ticket, call) for call in calls]
    prompts = plan.heldout if plan.policies else plan.prompts
    with (
        files.journal(ticket.root, "check-references"),
        localize({"prompts": prompts, "heldout": plan.heldout}, {}) as local,
    ):
        check_references(ticket.config, local["prompts"], local["heldout"])
    tuned = ticket.config.demonstrations is not None and not plan.policies
    return dataclasses.replace(done[0], next="sft" if tuned else plan.policy(0))


def sft(run: str) -> Done:
    """Fine-tuning on demonstrations."""
    ticket = Ticket.model_validate_json(run)
    return execute(ticket, ticket.plan.sft())


def gate(run: str, iteration: int, policy: str) -> str:
    """What a round does: `skip`, `train`, also `evaluate`, also `promote`.

    Args:
        run: the ticket.
        iteration: of the round.
        policy: where the policy is that the round would begin with.
    """
    ticket = Ticket.model_validate_json(run)
    plan, loop = ticket.plan, ticket.config.loop
    with files.journal(ticket.root, f"gate-{iteration}"):
        measured = files.measured({i: plan.at(i, "evaluation") for i in range(iteration)})
        last = plan.last(measured)
        if iteration > last:
            early = "" if last == loop.iterations else f": the loop stopped early by {loop.early_stop}"
            sys.stderr.write(f"round {iteration} is skipped, round {last} was the last one{early}\n")
            return "skip"
        assert policy == plan.policy(iteration - 1), (policy, plan.policy(iteration - 1))
        if not plan.measures(iteration, loop.iterations):
            return "train"
        return "promote" if loop.promote == "every_iteration" else "evaluate"


def sample(run: str, iteration: int, policy: str, shard: str) -> Done:
    """One share of a round's candidates."""
    ticket = Ticket.model_validate_json(run)
    return execute(ticket, _agreed(ticket.plan.sample(iteration, Shard.parse(shard)), policy))


def rerank(run: str, iteration: int, shard: str) -> Done:
    """One share of a round's ranked candidates."""
    ticket = Ticket.model_validate_json(run)
    return execute(ticket, ticket.plan.rerank(iteration, Shard.parse(shard)))


def merge_candidates(run: str, iteration: int, shards: Sequence[str]) -> Done:
    """The shares of a round's candidates put together. A single one is the whole already."""
    ticket = Ticket.model_validate_json(run)
    if len(shards) == 1:
        return describe(ticket, ticket.plan.sample(iteration))
    return execute(ticket, _agreed(ticket.plan.merge("candidates", iteration, len(shards)), *shards))


def merge_ranked(run: str, iteration: int, shards: Sequence[str]) -> Done:
    """The shares of a round's ranked candidates put together. A single one is the whole already."""
    ticket = Ticket.model_validate_json(run)
    if len(shards) == 1:
        return describe(ticket, ticket.plan.rerank(iteration))
    return execute(ticket, _agreed(ticket.plan.merge("ranked", iteration, len(shards)), *shards))


def build_lists(run: str, iteration: int, ranked: str) -> Done:
    """A round's training lists."""
    ticket = Ticket.model_validate_json(run)
    return execute(ticket, _agreed(ticket.plan.build_lists(iteration), ranked))


def train(run: str, iteration: int, policy: str, lists: str) -> Done:
    """A round's policy."""
    ticket = Ticket.model_validate_json(run)
    call = _agreed(ticket.plan.train(iteration), policy, lists)
    return train_on_nodes(ticket, call) if ticket.config.train.launch.nodes > 1 else execute(ticket, call)


def evaluate(run: str, iteration: int, policy: str) -> Done:
    """A policy measured; its metrics make one curve over the rounds in the run's MLflow run."""
    ticket = Ticket.model_validate_json(run)
    done = execute(ticket, _agreed(ticket.plan.evaluate(iteration), policy))
    ticket.tracker().opened().log_metrics(done.metrics, step=iteration)
    return done


def _agreed(call: Call, *handed: str) -> Call:
    """The call, if it reads what the tasks before handed over: else tasks of two runs were mixed."""
    read = {uri for given in call.inputs.values() for uri in ([given] if isinstance(given, str) else given or ())}
    assert read.issuperset(handed), (handed, read)
    return call
