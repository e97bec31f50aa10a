"""A small loop of the form that passes on a real backend: nothing is read out of a group, and state is in the store.

What is waited for is a nested pipeline and `.after`; whatever a pod is given is an argument of its component too.
"""

from typing import NamedTuple

from kfp import dsl
from small_components import component

from larpo_kubeflow.pipelines.functions import distinct


@component
def start(job: str, root: str, rounds: int, shares: int, stop: int) -> NamedTuple(
    "Started", [("run", str), ("rounds", list), ("shares", list)]
):
    """Leave the settings."""
    from journal_steps import begin

    return begin(root, job, rounds, shares, stop)


@component
def gate(run: str, iteration: str) -> str:
    """Say what a round does."""
    from journal_steps import gate

    return gate(run, int(iteration))


@component
def sample(run: str, iteration: str, share: str, gpus: str):
    """A share of a round."""
    from journal_steps import step

    step(run, f"sample-{iteration}-{share}")


@component
def merge(run: str, iteration: str):
    """All shares of a round."""
    from journal_steps import read, step

    step(run, f"merge-{iteration}", *(f"sample-{iteration}-{i}" for i in range(read(run)["shares"])))


@component
def train(run: str, iteration: str, gpus: str):
    """A round's policy."""
    from journal_steps import step

    step(run, f"train-{iteration}", f"merge-{iteration}")


@component
def evaluate(run: str, iteration: str, gpus: str):
    """Measure a round's policy; 0: the one before."""
    from journal_steps import step

    step(run, f"evaluate-{iteration}", *([f"train-{iteration}"] if iteration != "0" else []))


@component
def promote(run: str):
    """Take the best policy."""
    from journal_steps import step

    step(run, "promote", "evaluate-0")


@component
def report(run: str):
    """Tell all."""
    from journal_steps import step

    step(run, "report", "promote")


@component
def final_report(job: str, root: str) -> str:
    """Say how the run ended."""
    from journal_steps import end

    return end(root, job)


def nested(function):
    """A pipeline to be used as a task, with component names of its own."""
    return distinct(dsl.pipeline(name=function.__name__.replace("_", "-"))(function))


def heavy(task, gpus):
    """A task with GPUs that may be tried again."""
    task.set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(gpus)
    return task.set_retry(2, backoff_max_duration="30d")


@nested
def sampling(run: str, iteration: str, shares: list, gpus: str):
    """All shares of a round."""
    with dsl.ParallelFor(shares, name="share") as share:
        heavy(sample(run=run, iteration=iteration, share=share, gpus=gpus), gpus)


@nested
def all_rounds(run: str, rounds: list, shares: list, gpus: str):
    """Round after round, however many they are."""
    with dsl.ParallelFor(rounds, parallelism=1, name="round") as i:
        due = gate(run=run, iteration=i).set_caching_options(False)
        with dsl.If(due.output != "skip", name="active"):
            sampled = sampling(run=run, iteration=i, shares=shares, gpus=gpus)
            merged = merge(run=run, iteration=i).after(sampled)
            trained = heavy(train(run=run, iteration=i, gpus=gpus), gpus).after(merged)
            with dsl.If(due.output == "measure", name="measured"):
                heavy(evaluate(run=run, iteration=i, gpus=gpus), gpus).after(trained)


@nested
def loop(run: str, rounds: list, shares: list, gpus: str):
    """Everything behind the start."""
    baseline = heavy(evaluate(run=run, iteration="0", gpus=gpus), gpus)
    looped = all_rounds(run=run, rounds=rounds, shares=shares, gpus=gpus)
    promoted = promote(run=run).after(looped, baseline).set_caching_options(False)
    report(run=run).after(promoted).set_caching_options(False)


def journal_loop(root: str, rounds: int = 2, shares: int = 1, stop: int = 0, gpus: str = "0"):
    """The whole run."""
    closing = final_report(job=dsl.PIPELINE_JOB_ID_PLACEHOLDER, root=root).set_caching_options(False)
    with dsl.ExitHandler(closing, name="everything"):
        started = start(job=dsl.PIPELINE_JOB_ID_PLACEHOLDER, root=root, rounds=rounds, shares=shares, stop=stop)
        started.set_caching_options(False)
        made = started.outputs
        loop(run=made["run"], rounds=made["rounds"], shares=made["shares"], gpus=gpus)
