"""Evaluates a policy that was made elsewhere, sends it through the gate, and shows it beside another one."""

from typing import Any

from kfp import dsl

from components.compare import compare
from components.evaluate import evaluate
from components.final_report import final_report
from components.images import Images
from components.keep import keep
from components.prepare import prepare
from components.promote import promote
from components.start_evaluation import start_evaluation
from pipelines.cluster import Cluster, Limits, Machine
from pipelines.names import distinct


def evaluate_pipeline(images: Images = Images(), limits: Limits = Limits()) -> Any:  # noqa: B008 - both are frozen
    """The pipeline, for the compiler and for KFP's local runners.

    Args:
        images: where the images are.
        limits: retries and timeouts.
    """
    cluster = Cluster(images, limits)
    baseline_pipeline = _baseline(cluster)

    @dsl.pipeline(
        name="larpo-evaluate", description="Evaluate a policy on held-out prompts, and promote it if it is the better."
    )
    def larpo_evaluate(
        root: str = "",
        run_id: str = "",
        preset: str = "",
        settings: str = "{}",
        policy: str = "",
        baseline: str = "",
        seed: int = -1,
        prompts_source: str = "",
        sample_sampler: str = "",
        evaluate_n: int = 0,
        evaluate_gpus: int = 0,
        evaluate_cpus: str = "2",
        evaluate_memory: str = "8Gi",
        promote_model_name: str = "",
        tracking_experiment: str = "",
        gpu_type: str = "nvidia.com/gpu",
        node_selector: dict = {},  # noqa: B006 - read by the compiler only
        tolerations: list = [],  # noqa: B006
    ):
        """Evaluate a policy.

        Args:
            root: Where runs live: an s3:// URI or an absolute path. Empty: the run's own folder in the pipeline root.
            run_id: Name of the run below root. A run of the same name goes on from what it has published. Empty: the
                identity Kubeflow gives the run.
            preset: Settings to begin with: quickstart, the name of a file of pipelines/configs such as
                mistral-7b-base-fsfairx, or the s3:// URI of a TOML file. Empty: the defaults.
            settings: JSON of settings over the preset, as in {"evaluate": {"limit": 500}}. The parameters below win
                over them where they are not left at "as the settings say".
            policy: Policy to evaluate: an s3:// URI, or a directory of the cache volume.
            baseline: Policy to compare it with, and to beat where the registry has no champion. Empty: none.
            seed: Decides everything that is drawn. -1: as the settings say.
            prompts_source: Held-out prompts: an s3:// URI of JSONL, JSON, CSV or Parquet, or the name of a data set.
                Empty: as the settings say.
            sample_sampler: hf or vllm. Empty: as the settings say.
            evaluate_n: Responses a held-out prompt: N of Pass@N. 0: as the settings say.
            evaluate_gpus: GPUs of each evaluating pod.
            evaluate_cpus: Processors it asks for.
            evaluate_memory: Memory it asks for and may use.
            promote_model_name: Model of the registry that the policy becomes a version of. Empty: as the settings say.
            tracking_experiment: MLflow experiment. Empty: as the settings say.
            gpu_type: Resource name of the GPUs.
            node_selector: Labels of the nodes that models run on.
            tolerations: Tolerations of the pods that run models.
        """
        machine = Machine(evaluate_gpus, evaluate_cpus, evaluate_memory, gpu_type, node_selector, tolerations)
        closing = final_report(job=dsl.PIPELINE_JOB_ID_PLACEHOLDER, root=root, run_id=run_id)
        cluster.last(closing).set_display_name("final report")
        with dsl.ExitHandler(closing, name="evaluation"):
            started = start_evaluation(
                job=dsl.PIPELINE_JOB_ID_PLACEHOLDER, root=root, run_id=run_id, preset=preset, settings=settings,
                policy=policy, baseline=baseline, seed=seed, prompts_source=prompts_source,
                sample_sampler=sample_sampler, evaluate_n=evaluate_n, promote_model_name=promote_model_name,
                tracking_experiment=tracking_experiment,
            )  # fmt: skip
            run = cluster.light(started, cache=False, retries=1).outputs["Output"]
            prepared = cluster.light(prepare(run=run))
            measured = baseline_pipeline(
                run=run, baseline=baseline, prepared=prepared.outputs["Output"], evaluate_gpus=evaluate_gpus,
                evaluate_cpus=evaluate_cpus, evaluate_memory=evaluate_memory, gpu_type=gpu_type,
                node_selector=node_selector, tolerations=tolerations,
            ).set_display_name("baseline")  # fmt: skip
            evaluated = evaluate(run=run, iteration=1, policy=policy).after(prepared)
            cluster.heavy(evaluated, "sampler", machine)
            promoted = promote(run=run, iteration=0, policy=policy).after(evaluated, measured)
            cluster.light(promoted, cache=False)
            cluster.light(compare(run=run, promotion=promoted.outputs["Output"]))

    return larpo_evaluate


def _baseline(cluster: Cluster) -> Any:
    @dsl.pipeline(name="baseline", description="The policy to compare with, where there is one.")
    def measured(
        run: str,
        baseline: str,
        prepared: str,
        gpu_type: str,
        evaluate_gpus: int,
        evaluate_cpus: str,
        evaluate_memory: str,
        node_selector: dict,
        tolerations: list,
    ) -> str:
        machine = Machine(evaluate_gpus, evaluate_cpus, evaluate_memory, gpu_type, node_selector, tolerations)
        ready = cluster.light(keep(policy=prepared))
        with dsl.If(baseline != "", name="given"):
            evaluated = evaluate(run=run, iteration=0, policy=baseline)
            cluster.heavy(evaluated.after(ready), "sampler", machine)
        with dsl.Else(name="absent"):
            kept = cluster.light(keep(policy=prepared))
        return dsl.OneOf(evaluated.outputs["Output"], kept.output)

    return distinct(measured)
