"""The policy as a retriever, on the command line."""

from __future__ import annotations

from typing import Annotated

import typer

from larpo_lib.cli.app import BENCHMARKS, Config, Out, Settings, app
from larpo_lib.cli.benchmarks import OptionalIn, run_benchmark


@app.command("retrieval", rich_help_panel=BENCHMARKS)
def retrieval(
    evaluation: Out,
    policy: OptionalIn = None,
    prompts: OptionalIn = None,
    evaluated: Annotated[str | None, typer.Option(help="What `larpo evaluate` made of the policy and prompts.")] = None,
    queries: Annotated[
        str | None, typer.Option(help="Queries in BEIR's form: queries.jsonl, with _id and text.")
    ] = None,
    corpus: Annotated[str | None, typer.Option(help="Documents: corpus.jsonl, with _id, title and text.")] = None,
    relevance: Annotated[
        str | None, typer.Option(help="Relevant documents: a .tsv or .jsonl of query-id, corpus-id and score.")
    ] = None,
    config: Config = None,
    settings: Settings = None,
) -> None:
    """Measure a policy as a retriever of responses, and retrievers of documents on the same axes.

    Of the responses that `larpo evaluate` sampled (--policy, --prompts, --evaluated): pass_at_i: chance that at least
    one of i is right, unbiased. majority_accuracy: share of prompts on which the number most responses agree on is
    right. best_of_i_reward: expected highest reward of i, unbiased. Of the order in which the policy's own
    log-probabilities put a prompt's distinct responses: kendall_tau (and _per_token): agreement with their rewards, -1
    to 1. ndcg: 1 for the reward model's order. recall_at_i: share of the right ones among the i most probable. Of
    retrievers (--queries, --corpus, --relevance; [retrieval].retrievers): bm25_recall_at_i, embedding_recall_at_i:
    share of a query's relevant documents among the first i. *_low, *_high: bootstrap interval over prompts or queries;
    *_standard_error.

    Must not be compared: numbers at other temperatures, n, prompts, reward models or judges; Pass@N and recall_at_i
    with a retriever's recall but in shape, as in the paper's figure 2; nDCG with 0, which no random order gets;
    log-probabilities with those per token: the sum favours short responses.
    """
    inputs = {
        "policy": policy, "prompts": prompts, "evaluated": evaluated,
        "queries": queries, "corpus": corpus, "relevance": relevance,
    }  # fmt: skip
    run_benchmark("retrieval", inputs, evaluation, config, settings)
