"""Algorithm 1 as a Kubeflow pipeline: the loop of `larpo run`, each step a task.

KFP has neither recursion nor loops over a number that is known at run time only, so the rounds are unrolled up to a
maximum when the pipeline is compiled, and each is behind a gate. What crosses rounds is a string, the policy's URI.
"""

from typing import Any

from kfp import dsl

from components.evaluate import evaluate
from components.final_report import final_report
from components.images import Images
from components.keep import keep
from components.prepare import prepare
from components.promote import promote
from components.report import report
from components.sft import sft
from components.start import start
from pipelines.cluster import Cluster, Limits, Machine
from pipelines.names import distinct
from pipelines.round import round_pipeline

MAX_ROUNDS = 4


def larpo_pipeline(
    max_rounds: int = MAX_ROUNDS,
    images: Images = Images(),  # noqa: B008 - both are frozen
    limits: Limits = Limits(),  # noqa: B008
) -> Any:
    """The whole loop as a pipeline, for the compiler and for KFP's local runners.

    Args:
        max_rounds: how many rounds a run may ask for.
        images: where the images are.
        limits: retries and timeouts.
    """
    cluster = Cluster(images, limits)
    one_round = round_pipeline(cluster)
    beginning = beginning_pipeline(cluster)

    @dsl.pipeline(
        name="larpo",
        description="LLM alignment as retriever preference optimisation: sample, rerank, build lists, train, evaluate,"
        " round by round, and promote the result.",
    )
    def larpo(
        root: str = "",
        run_id: str = "",
        preset: str = "",
        settings: str = "{}",
        policy: str = "",
        seed: int = -1,
        prompts_source: str = "",
        prompts_limit: int = 0,
        prompts_heldout: int = -1,
        evaluation_prompts_source: str = "",
        demonstrations_source: str = "",
        rounds: int = 0,
        early_stop_metric: str = "",
        early_stop_patience: int = 0,
        early_stop_min_delta: float = -1.0,
        sample_shards: int = 1,
        sample_sampler: str = "",
        sample_k: int = 0,
        sample_temperature: str = "",
        sample_max_new_tokens: int = 0,
        sample_prompts_per_round: int = 0,
        sample_gpus: int = 0,
        sample_cpus: str = "2",
        sample_memory: str = "8Gi",
        rerank_shards: int = 1,
        rerank_reranker: str = "",
        rerank_model: str = "",
        rerank_gpus: int = 0,
        rerank_cpus: str = "2",
        rerank_memory: str = "8Gi",
        lists_memory: str = "",
        lists_selection: str = "",
        train_objective: str = "",
        train_beta: float = 0.0,
        train_learning_rate: float = 0.0,
        train_epochs: int = 0,
        train_batch_size: int = 0,
        train_launcher: str = "",
        train_nodes: int = 0,
        train_gpus: int = 0,
        train_cpus: str = "2",
        train_memory: str = "8Gi",
        evaluate_when: str = "",
        evaluate_n: int = 0,
        evaluate_gpus: int = 0,
        evaluate_cpus: str = "2",
        evaluate_memory: str = "8Gi",
        promote_when: str = "",
        promote_model_name: str = "",
        tracking_experiment: str = "",
        gpu_type: str = "nvidia.com/gpu",
        node_selector: dict = {},  # noqa: B006 - read by the compiler only
        tolerations: list = [],  # noqa: B006
    ):
        """Run the loop.

        Args:
            root: Where runs live: an s3:// URI or an absolute path. Empty: the run's own folder in the pipeline root.
            run_id: Name of the run below root. A run of the same name goes on from what it has published. Empty: the
                identity Kubeflow gives the run.
            preset: Settings to begin with: quickstart, the name of a file of pipelines/configs such as
                mistral-7b-base-fsfairx, or the s3:// URI of a TOML file. Empty: the defaults.
            settings: JSON of settings over the preset, as in {"sample": {"top_p": 0.9}}. The parameters below win over
                them where they are not left at "as the settings say".
            policy: Policy to start from: an s3:// URI, or a directory of the cache volume. Empty: as the settings say.
            seed: Decides everything that is drawn. -1: as the settings say.
            prompts_source: Prompts to train on: an s3:// URI of JSONL, JSON, CSV or Parquet, or the name of a data set.
                Empty: as the settings say.
            prompts_limit: How many of them to take. 0: as the settings say.
            prompts_heldout: How many of them to keep apart for evaluation. -1: as the settings say.
            evaluation_prompts_source: Prompts of their own for evaluation, in place of prompts_heldout. Empty: as the
                settings say.
            demonstrations_source: Demonstrations to fine-tune the policy on first. Empty: as the settings say.
            rounds: Iterations of the loop, at most what the pipeline was compiled for. 0: as the settings say.
            early_stop_metric: mean_reward or accuracy: stop when it rises no more; off: never stop early. Empty: as the
                settings say.
            early_stop_patience: Rounds without a rise after which to stop. 0: as the settings say.
            early_stop_min_delta: What counts as a rise. -1: as the settings say.
            sample_shards: Pods that share the sampling of a round.
            sample_sampler: hf or vllm. Empty: as the settings say.
            sample_k: Responses a prompt. 0: as the settings say.
            sample_temperature: One temperature, or one a round with commas between them. Empty: as the settings say.
            sample_max_new_tokens: Longest response. 0: as the settings say.
            sample_prompts_per_round: Prompts sampled in a round. 0: as the settings say.
            sample_gpus: GPUs of each sampling pod.
            sample_cpus: Processors it asks for.
            sample_memory: Memory it asks for and may use.
            rerank_shards: Pods that share the reranking of a round.
            rerank_reranker: Type of the reranker, such as verifier, classifier or pairrm. Empty: as the settings say.
            rerank_model: Directory of its model on the cache volume. Empty: as the settings say.
            rerank_gpus: GPUs of each reranking pod.
            rerank_cpus: Processors it asks for.
            rerank_memory: Memory it asks for and may use.
            lists_memory: current, previous or all: whose responses a list may hold. Empty: as the settings say.
            lists_selection: best_worst, top_bottom, one_vs_rest or whole_list. Empty: as the settings say.
            train_objective: Objective, such as listmle, lambdarank, contrastive or dpo. Empty: as the settings say.
            train_beta: Its beta. 0: as the settings say.
            train_learning_rate: Peak learning rate. 0: as the settings say.
            train_epochs: Passes over the lists of a round. 0: as the settings say.
            train_batch_size: Lists an optimiser step, over all processes. 0: as the settings say.
            train_launcher: none, torchrun or deepspeed. Empty: as the settings say.
            train_nodes: Machines that train together, by a TrainJob where there is more than one. 0: as the settings
                say.
            train_gpus: GPUs of each machine that trains. With a launcher there is a process for each.
            train_cpus: Processors it asks for.
            train_memory: Memory it asks for and may use.
            evaluate_when: every_round or last_round. Empty: as the settings say.
            evaluate_n: Responses a held-out prompt: N of Pass@N. 0: as the settings say.
            evaluate_gpus: GPUs of each evaluating pod.
            evaluate_cpus: Processors it asks for.
            evaluate_memory: Memory it asks for and may use.
            promote_when: last_round: only the result of the run goes through the gate; every_round: each round's policy
                does as well. Empty: as the settings say.
            promote_model_name: Model of the registry that the policy becomes a version of. Empty: as the settings say.
            tracking_experiment: MLflow experiment. Empty: as the settings say.
            gpu_type: Resource name of the GPUs.
            node_selector: Labels of the nodes that models run on.
            tolerations: Tolerations of the pods that run models.
        """
        where = (gpu_type, node_selector, tolerations)
        evaluator = Machine(evaluate_gpus, evaluate_cpus, evaluate_memory, *where)
        closing = final_report(job=dsl.PIPELINE_JOB_ID_PLACEHOLDER, root=root, run_id=run_id)
        cluster.last(closing).set_display_name("final report")
        with dsl.ExitHandler(closing, name="loop"):
            started = start(
                job=dsl.PIPELINE_JOB_ID_PLACEHOLDER, max_rounds=max_rounds, root=root, run_id=run_id, preset=preset,
                settings=settings, policy=policy, seed=seed, prompts_source=prompts_source,
                prompts_limit=prompts_limit, prompts_heldout=prompts_heldout,
                evaluation_prompts_source=evaluation_prompts_source, demonstrations_source=demonstrations_source,
                rounds=rounds, early_stop_metric=early_stop_metric, early_stop_patience=early_stop_patience,
                early_stop_min_delta=early_stop_min_delta, sample_shards=sample_shards, sample_sampler=sample_sampler,
                sample_k=sample_k, sample_temperature=sample_temperature, sample_max_new_tokens=sample_max_new_tokens,
                sample_prompts_per_round=sample_prompts_per_round, rerank_shards=rerank_shards,
                rerank_reranker=rerank_reranker, rerank_model=rerank_model, lists_memory=lists_memory,
                lists_selection=lists_selection, train_objective=train_objective, train_beta=train_beta,
                train_learning_rate=train_learning_rate, train_epochs=train_epochs, train_batch_size=train_batch_size,
                train_launcher=train_launcher, train_nodes=train_nodes, train_gpus=train_gpus, train_cpus=train_cpus,
                train_memory=train_memory, gpu_type=gpu_type, evaluate_when=evaluate_when, evaluate_n=evaluate_n,
                promote_when=promote_when, promote_model_name=promote_model_name,
                tracking_experiment=tracking_experiment,
            )  # fmt: skip
            cluster.light(started, cache=False, retries=1)
            run = started.outputs["run"]
            begun = beginning(
                run=run, gpu_type=gpu_type, train_gpus=train_gpus, train_cpus=train_cpus, train_memory=train_memory,
                node_selector=node_selector, tolerations=tolerations,
            ).set_display_name("prepare")  # fmt: skip
            baseline = evaluate(run=run, iteration=0, policy=begun.output)
            cluster.heavy(baseline, "sampler", evaluator)
            last = begun
            # The first round needs no baseline, so on a cluster the two go on side by side.
            for iteration in range(1, max_rounds + 1):
                current = one_round(
                    run=run, iteration=iteration, policy=last.output, sample_shards=started.outputs["sample_shards"],
                    rerank_shards=started.outputs["rerank_shards"], gpu_type=gpu_type, sample_gpus=sample_gpus,
                    sample_cpus=sample_cpus, sample_memory=sample_memory, rerank_gpus=rerank_gpus,
                    rerank_cpus=rerank_cpus, rerank_memory=rerank_memory,
                    train_gpus=started.outputs["train_gpus"], train_cpus=started.outputs["train_cpus"],
                    train_memory=started.outputs["train_memory"], evaluate_gpus=evaluate_gpus,
                    evaluate_cpus=evaluate_cpus, evaluate_memory=evaluate_memory, node_selector=node_selector,
                    tolerations=tolerations,
                ).set_display_name(f"round {iteration}")  # fmt: skip
                last = current if iteration == 1 else current.after(baseline)
            promoted = promote(run=run, iteration=0, policy=last.output).after(baseline)
            cluster.light(promoted, cache=False)
            cluster.light(report(run=run, promotion=promoted.outputs["Output"]))

    return larpo


def beginning_pipeline(cluster: Cluster) -> Any:
    """The pipeline before the first round, to be used as a task."""

    @dsl.pipeline(name="prepare", description="Prompts, and the policy that the first round begins with.")
    def beginning(
        run: str,
        gpu_type: str,
        train_gpus: int,
        train_cpus: str,
        train_memory: str,
        node_selector: dict,
        tolerations: list,
    ) -> str:
        prepared = cluster.light(prepare(run=run))
        with dsl.If(prepared.outputs["Output"] == "sft", name="demonstrations"):
            tuned = sft(run=run)
            machine = Machine(train_gpus, train_cpus, train_memory, gpu_type, node_selector, tolerations)
            cluster.heavy(tuned, "trainer", machine)
        with dsl.Else(name="as-given"):
            kept = cluster.light(keep(policy=prepared.outputs["Output"]))
        return dsl.OneOf(tuned.outputs["Output"], kept.output)

    return distinct(beginning)
