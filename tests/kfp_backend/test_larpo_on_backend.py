"""The pipeline `larpo` on the emulated backend: every combination of what decides which tasks it has."""

from collections import Counter
from typing import Any

import pytest
from backend_outcome import V2_16, V2_17
from larpo_runs import Pipeline

COMBINATIONS = [
    (rounds, peak, promote, evaluate, sft, shards)
    for rounds in (1, 2, 4)
    for peak in (None, 0, 1)
    for promote in ("last_iteration", "every_iteration")
    for evaluate in ("last_iteration", "every_iteration")
    if evaluate == "every_iteration" or (peak is None and promote == "last_iteration")  # else the settings are refused
    for sft, shards in ((False, 1), (True, 3))
]


def combined(
    rounds: int, peak: int | None, promote: str, evaluate: str, sft: bool, shards: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings and parameters of a combination."""
    loop: dict[str, Any] = {"promote": promote, "evaluate": evaluate}
    if peak is not None:
        loop["early_stop"] = {"metric": "mean_reward", "patience": 1}
    settings = {
        "loop": loop,
        "train": {"launch": {"launcher": "torchrun", "nproc": 2}},
        **({"demonstrations": {"source": "demonstrations"}} if sft else {}),
    }
    return settings, {"rounds": rounds, "shards": shards}


@pytest.mark.parametrize(("rounds", "peak", "promote", "evaluate", "sft", "shards"), COMBINATIONS)
def test_every_combination_takes_its_steps_and_succeeds(
    rounds: int, peak: int | None, promote: str, evaluate: str, sft: bool, shards: int, pipeline: Pipeline
) -> None:
    settings, parameters = combined(rounds, peak, promote, evaluate, sft, shards)
    pipeline.set(settings, **parameters, train_gpus="2", sample_gpus="1")
    pipeline.quick.peak = 99 if peak is None else peak
    backend = pipeline.backend(V2_17 if shards == 1 else V2_16, seed=rounds)
    outcome, text = pipeline.run(backend)
    assert (outcome.phase, outcome.messages) == ("Succeeded", {})
    assert text.startswith("# Run one: SUCCEEDED")

    last = rounds if peak is None else min(rounds, peak + 1)  # the first one that is no better is the last one
    best = last if peak is None else min(last, peak)
    measured = last if evaluate == "every_iteration" else int(last == rounds)
    assert Counter(outcome.tasks()) == +Counter(
        {
            "start": 1, "prepare": 1, "sft": int(sft), "gate": rounds, "sample": last * shards,
            "merge-candidates": last, "rerank": last * shards, "build-lists": last, "train": last,
            "evaluate": 1 + measured, "promote": 1 + (measured if promote == "every_iteration" else 0), "report": 1,
            "final-report": 1,
        }
    )  # fmt: skip
    policy = f"iteration-{best}/policy" if best else ("sft" if sft else str(pipeline.folder / "policy"))
    assert pipeline.quick.read[f"{pipeline.root}/promotion"][0].endswith(policy)
    limits = {path.rpartition("/")[2]: pod.limits for path, pod in outcome.pods.items()}
    assert limits["train"] == {"memory": "8Gi", "nvidia.com/gpu": "2"}
    assert limits["sample"] == {"memory": "8Gi", "nvidia.com/gpu": "1"}


@pytest.mark.parametrize("seed", [None, 1, 2])
def test_a_second_run_of_the_same_name_finds_all_that_was_made(seed: int | None, pipeline: Pipeline) -> None:
    settings, parameters = combined(2, 1, "every_iteration", "every_iteration", sft=True, shards=3)
    pipeline.set(settings, **parameters)
    backend = pipeline.backend(seed=seed)
    first, _ = pipeline.run(backend)
    made = [*pipeline.quick.made]
    again, text = pipeline.run(backend)
    assert (first.phase, again.phase) == ("Succeeded", "Succeeded")
    assert text.startswith("# Run one: SUCCEEDED")
    assert pipeline.quick.made == made
    assert again.tasks() == first.tasks()  # Kubeflow's cache is off: each looks at the store


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"loop": {"promote": "every_iteration", "evaluate": "last_iteration"}}, "every_iteration"),
        ({"loop": {"early_stop": {"metric": "mean_reward"}, "evaluate": "last_iteration"}}, "early_stop"),
    ],
)
def test_what_cannot_be_is_refused_by_the_first_task(settings: dict[str, Any], told: str, pipeline: Pipeline) -> None:
    pipeline.set(settings)
    outcome, text = pipeline.run(pipeline.backend())
    assert (outcome.phase, outcome.tasks()) == ("Failed", ["start", "final-report"])
    assert text.startswith("# Run one: FAILED")
    assert told in text
    assert pipeline.quick.made == []
