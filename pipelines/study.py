"""A grid of settings, a run for each: from the same policy, on the same prompts, in one table.

Every run is a whole loop of its own. Runs could share candidates for as long as they have the same policy, which is the
first round only; from the second on, what a setting does to the candidates is part of what it does.
"""

from typing import Any

from kfp import dsl

from components.evaluate import evaluate
from components.final_report import final_report
from components.images import Images
from components.member import member
from components.start_study import start_study
from components.study_table import study_table
from pipelines.cluster import Cluster, Limits, Machine
from pipelines.larpo import MAX_ROUNDS, beginning_pipeline
from pipelines.round import round_pipeline


def study_pipeline(
    max_rounds: int = MAX_ROUNDS,
    images: Images = Images(),  # noqa: B008 - both are frozen
    limits: Limits = Limits(),  # noqa: B008
) -> Any:
    """The pipeline, for the compiler and for KFP's local runners.

    Args:
        max_rounds: how many rounds a run may ask for.
        images: where the images are.
        limits: retries and timeouts.
    """
    cluster = Cluster(images, limits)
    beginning, one_round = beginning_pipeline(cluster), round_pipeline(cluster)

    @dsl.pipeline(name="larpo-study", description="Compare settings: a run of the loop for each, in one table.")
    def larpo_study(
        root: str = "",
        run_id: str = "",
        preset: str = "",
        settings: str = "{}",
        grid: list = ["{}"],  # noqa: B006 - read by the compiler only
        policy: str = "",
        seed: int = -1,
        prompts_source: str = "",
        rounds: int = 0,
        sample_shards: int = 1,
        sample_gpus: int = 0,
        sample_cpus: str = "2",
        sample_memory: str = "8Gi",
        rerank_shards: int = 1,
        rerank_gpus: int = 0,
        rerank_cpus: str = "2",
        rerank_memory: str = "8Gi",
        train_launcher: str = "",
        train_gpus: int = 0,
        train_cpus: str = "2",
        train_memory: str = "8Gi",
        evaluate_gpus: int = 0,
        evaluate_cpus: str = "2",
        evaluate_memory: str = "8Gi",
        tracking_experiment: str = "",
        gpu_type: str = "nvidia.com/gpu",
        node_selector: dict = {},  # noqa: B006
        tolerations: list = [],  # noqa: B006
    ):
        """Compare settings.

        Args:
            root: Where runs live: an s3:// URI or an absolute path. Empty: the run's own folder in the pipeline root.
            run_id: Name of the run below root. A run of the same name goes on from what it has published. Empty: the
                identity Kubeflow gives the run.
            preset: Settings to begin with: quickstart, the name of a file of pipelines/configs such as
                mistral-7b-base-fsfairx, or the s3:// URI of a TOML file. Empty: the defaults.
            settings: JSON of settings over the preset that all runs share. The parameters below win over them where
                they are not left at "as the settings say".
            grid: What each run changes, a list of JSON texts, as in ["{\\"lists\\": {\\"memory\\": \\"all\\"}}", "{}"].
                No run may change how policies are measured, or what they begin with.
            policy: Policy to start from: an s3:// URI, or a directory of the cache volume. Empty: as the settings say.
            seed: Decides everything that is drawn. -1: as the settings say.
            prompts_source: Prompts to train on: an s3:// URI of JSONL, JSON, CSV or Parquet, or the name of a data set.
                Empty: as the settings say.
            rounds: Iterations of the loop, at most what the pipeline was compiled for. 0: as the settings say.
            sample_shards: Pods that share the sampling of a round.
            sample_gpus: GPUs of each sampling pod.
            sample_cpus: Processors it asks for.
            sample_memory: Memory it asks for and may use.
            rerank_shards: Pods that share the reranking of a round.
            rerank_gpus: GPUs of each reranking pod.
            rerank_cpus: Processors it asks for.
            rerank_memory: Memory it asks for and may use.
            train_launcher: none, torchrun or deepspeed. Empty: as the settings say.
            train_gpus: GPUs of each pod that trains. With a launcher there is a process for each.
            train_cpus: Processors it asks for.
            train_memory: Memory it asks for and may use.
            evaluate_gpus: GPUs of each evaluating pod.
            evaluate_cpus: Processors it asks for.
            evaluate_memory: Memory it asks for and may use.
            tracking_experiment: MLflow experiment. Empty: as the settings say.
            gpu_type: Resource name of the GPUs.
            node_selector: Labels of the nodes that models run on.
            tolerations: Tolerations of the pods that run models.
        """
        where = {"gpu_type": gpu_type, "node_selector": node_selector, "tolerations": tolerations}
        training = {"train_gpus": train_gpus, "train_cpus": train_cpus, "train_memory": train_memory}
        machine = Machine(evaluate_gpus, evaluate_cpus, evaluate_memory, gpu_type, node_selector, tolerations)
        closing = final_report(job=dsl.PIPELINE_JOB_ID_PLACEHOLDER, root=root, run_id=run_id)
        cluster.last(closing).set_display_name("final report")
        with dsl.ExitHandler(closing, name="study"):
            started = start_study(
                job=dsl.PIPELINE_JOB_ID_PLACEHOLDER, max_rounds=max_rounds, root=root, run_id=run_id, preset=preset,
                settings=settings, grid=grid, policy=policy, seed=seed, prompts_source=prompts_source, rounds=rounds,
                sample_shards=sample_shards, rerank_shards=rerank_shards, train_launcher=train_launcher,
                train_gpus=train_gpus, tracking_experiment=tracking_experiment,
            )  # fmt: skip
            run = cluster.light(started, cache=False, retries=1).outputs["Output"]
            begun = beginning(run=run, **training, **where).set_display_name("prepare")
            baseline = evaluate(run=run, iteration=0, policy=begun.output)
            cluster.heavy(baseline, "sampler", machine)
            # KFP's local runners hand a loop's item over in place of what other tasks gave, so its first task finds the
            # rest by itself.
            with dsl.ParallelFor(items=grid, name="runs") as change:
                opened = member(job=dsl.PIPELINE_JOB_ID_PLACEHOLDER, root=root, run_id=run_id, change=change)
                cluster.light(opened.after(baseline))
                last = opened.outputs["policy"]
                for iteration in range(1, max_rounds + 1):
                    current = one_round(
                        run=opened.outputs["run"], iteration=iteration, policy=last,
                        sample_shards=opened.outputs["sample_shards"], rerank_shards=opened.outputs["rerank_shards"],
                        sample_gpus=sample_gpus, sample_cpus=sample_cpus, sample_memory=sample_memory,
                        rerank_gpus=rerank_gpus, rerank_cpus=rerank_cpus, rerank_memory=rerank_memory,
                        evaluate_gpus=evaluate_gpus, evaluate_cpus=evaluate_cpus, evaluate_memory=evaluate_memory,
                        **training, **where,
                    ).set_display_name(f"round {iteration}")  # fmt: skip
                    last = current.output
            cluster.light(study_table(run=run, policies=dsl.Collected(last)))

    return larpo_study
