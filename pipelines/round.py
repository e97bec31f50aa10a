"""One round of the loop: sample, rerank, build lists, train; evaluate and promote where the gate says so."""

from typing import Any

from kfp import dsl

from components.build_lists import build_lists
from components.evaluate import evaluate
from components.gate import gate
from components.keep import keep
from components.merge_candidates import merge_candidates
from components.merge_ranked import merge_ranked
from components.promote import promote
from components.rerank import rerank
from components.sample import sample
from components.train import train
from pipelines.cluster import Cluster, Machine
from pipelines.names import distinct


def round_pipeline(cluster: Cluster) -> Any:
    """The pipeline of one round, to be used as a task."""

    @dsl.pipeline(name="round", description="Sample, rerank, build lists, train, and evaluate where it is due.")
    def round_(
        run: str,
        iteration: int,
        policy: str,
        sample_shards: list,
        rerank_shards: list,
        gpu_type: str,
        sample_gpus: int,
        sample_cpus: str,
        sample_memory: str,
        rerank_gpus: int,
        rerank_cpus: str,
        rerank_memory: str,
        train_gpus: int,
        train_cpus: str,
        train_memory: str,
        evaluate_gpus: int,
        evaluate_cpus: str,
        evaluate_memory: str,
        node_selector: dict,
        tolerations: list,
    ) -> str:
        where = (gpu_type, node_selector, tolerations)
        sampler = Machine(sample_gpus, sample_cpus, sample_memory, *where)
        reranker = Machine(rerank_gpus, rerank_cpus, rerank_memory, *where)
        trainer = Machine(train_gpus, train_cpus, train_memory, *where)
        evaluator = Machine(evaluate_gpus, evaluate_cpus, evaluate_memory, *where)

        due = cluster.light(gate(run=run, iteration=iteration, policy=policy), cache=False)
        with dsl.If(due.output != "skip", name="active"):
            with dsl.ParallelFor(items=sample_shards, name="sampling") as shard:
                part = sample(run=run, iteration=iteration, policy=policy, shard=shard)
                cluster.heavy(part, "sampler", sampler)
            candidates = merge_candidates(run=run, iteration=iteration, shards=dsl.Collected(part.output))
            with dsl.ParallelFor(items=rerank_shards, name="reranking") as shard:
                # KFP's local runners hand a loop's item over in place of what other tasks gave.
                scored = rerank(run=run, iteration=iteration, shard=shard).after(candidates)
                cluster.heavy(scored, "base", reranker)
            ranked = merge_ranked(run=run, iteration=iteration, shards=dsl.Collected(scored.output))
            lists = build_lists(run=run, iteration=iteration, ranked=ranked.outputs["Output"])
            for task in (candidates, ranked, lists):
                cluster.light(task)
            trained = train(run=run, iteration=iteration, policy=policy, lists=lists.outputs["Output"])
            cluster.heavy(trained, "trainer", trainer)
            with dsl.If(due.output != "train", name="measured"):
                evaluated = evaluate(run=run, iteration=iteration, policy=trained.outputs["Output"])
                cluster.heavy(evaluated, "sampler", evaluator)
                with dsl.If(due.output == "promote", name="promoted"):
                    promoted = promote(run=run, iteration=iteration, policy=trained.outputs["Output"])
                    cluster.light(promoted.after(evaluated), cache=False)
        with dsl.Else(name="skipped"):
            kept = cluster.light(keep(policy=policy))
        return dsl.OneOf(trained.outputs["Output"], kept.output)

    return distinct(round_)
