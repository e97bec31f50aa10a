"""Every step by its command, one behind the other, on the tiny world."""

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_world import Larpo, Outcome, files

from larpo_lib.artifacts import read_manifest, read_metrics, verify
from larpo_lib.tables import read_table


def succeeded(outcome: Outcome) -> dict[str, Any]:
    """The metrics that a command printed."""
    assert outcome.code == 0, outcome.err
    metrics: dict[str, Any] = json.loads(outcome.out)
    return metrics


def chain(world: Path, out: Path) -> list[list[object]]:
    """The commands from raw files to a report, as arguments."""
    lists = ["--ranked", out / "ranked", "--lists", out / "lists"]
    heldout = ["--set", f"prepare.source={world / 'heldout.jsonl'}"]
    evaluated = ["--prompts", out / "heldout", "--evaluation"]
    return [
        ["prepare", "--prompts", out / "prompts"],
        ["prepare", "--prompts", out / "heldout", *heldout],
        ["prepare", "--demonstrations", out / "shown"],
        ["sft", "--policy", world / "policy", "--demonstrations", out / "shown", "--trained", out / "sft"],
        ["sample", "--policy", out / "sft", "--prompts", out / "prompts", "--candidates", out / "candidates"],
        ["rerank", "--prompts", out / "prompts", "--candidates", out / "candidates", "--ranked", out / "ranked"],
        ["build-lists", "--prompts", out / "prompts", *lists],
        ["train", "--policy", out / "sft", "--lists", out / "lists", "--trained", out / "policy"],
        ["evaluate", "--policy", out / "sft", *evaluated, out / "before"],
        ["evaluate", "--policy", out / "policy", *evaluated, out / "after"],
    ]


def report(out: Path) -> list[object]:
    evaluations = ["--evaluations", out / "before", "--evaluations", out / "after", "--policies", out / "policy"]
    extra = ["--preparations", out / "shown", "--candidates", out / "candidates", "--report", out / "report"]
    given = ["--ranked", out / "ranked", "--lists", out / "lists", "--prompts", out / "heldout"]
    return ["report", *evaluations, *given, *extra]


def test_steps_follow_one_another_from_raw_files_to_a_report(larpo: Larpo, tiny_world: Path, tmp_path: Path) -> None:
    config = ["--config", tiny_world / "larpo.toml"]
    commands = [*chain(tiny_world, tmp_path), report(tmp_path)]
    printed = [succeeded(larpo(*command, *config)) for command in commands]
    outputs = ["prompts", "heldout", "shown", "sft", "candidates", "ranked", "lists", "policy", "before", "after"]
    for name, metrics in zip([*outputs, "report"], printed, strict=True):
        verify(tmp_path / name)
        assert read_metrics(tmp_path / name) == metrics
    metrics = dict(zip(outputs, printed, strict=False))
    assert metrics["prompts"]["prompts"] == 10
    assert metrics["candidates"]["candidates"] + metrics["candidates"]["empty_responses_dropped"] == 40
    assert metrics["ranked"]["ranked"] == metrics["candidates"]["candidates"]
    assert metrics["lists"]["lists"] == metrics["policy"]["lists"] > 0
    assert (metrics["sft"]["steps"], metrics["policy"]["steps"]) == (3, 2)
    assert metrics["after"]["responses"] == 6 * (2 + 1)
    assert (tmp_path / "report" / "report.html").is_file()

    before = files(tmp_path)
    again = [larpo(*command, *config) for command in commands]
    assert [succeeded(outcome) for outcome in again] == printed
    assert {outcome.err for outcome in again} == {""}, "finished steps show no progress"
    assert files(tmp_path) == before


def test_prepare_makes_what_is_named(larpo: Larpo, tiny_world: Path, tmp_path: Path) -> None:
    config = ["--config", tiny_world / "larpo.toml"]
    both = ["--prompts", tmp_path / "prompts", "--heldout", tmp_path / "heldout", "--set", "prepare.heldout=4"]
    assert succeeded(larpo("prepare", *both, *config))["prompts"] == 6
    assert read_metrics(tmp_path / "heldout")["prompts"] == 4

    rows = [{"prompt": "p", "responses": ["a", "b", "c"], "rewards": [0, 2, 1]}]
    (tmp_path / "ranked.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    wanted = ["--prompts", tmp_path / "known", "--ranked", tmp_path / "ranked"]
    succeeded(larpo("prepare", *wanted, "--set", f"prepare.source={tmp_path / 'ranked.jsonl'}"))
    ranked = read_table(tmp_path / "ranked", "ranked")
    assert [(row["response"], row["reward"], row["rank"]) for row in ranked] == [("a", 0, 3), ("b", 2, 1), ("c", 1, 2)]


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ([], "prepare needs an output"),
        (["heldout"], "prepare cannot make heldout"),
        (["prompts", "demonstrations"], "prepare cannot make prompts and demonstrations"),
    ],
)
def test_prepare_tells_what_it_can_make(larpo: Larpo, tmp_path: Path, wanted: list[str], told: str) -> None:
    outcome = larpo("prepare", *(argument for name in wanted for argument in (f"--{name}", tmp_path / name)))
    assert outcome.code == 2
    assert outcome.err == (
        f"larpo: {told}. "
        "Pass --prompts, --prompts --heldout, --demonstrations, or --prompts --ranked.\n"
    )  # fmt: skip


def test_a_search_prints_its_choice_and_samples_as_the_run_would(
    larpo: Larpo, tiny_world: Path, tmp_path: Path
) -> None:
    config = ["--config", tiny_world / "larpo.toml", "--set", "search_temperature.temperatures=[0.5, 1.5]"]
    succeeded(larpo("prepare", "--prompts", tmp_path / "prompts", *config))
    inputs = ["--policy", tiny_world / "policy", "--prompts", tmp_path / "prompts"]
    metrics = succeeded(larpo("search-temperature", *inputs, "--search", tmp_path / "search", *config))
    assert metrics["temperature"] in (0.5, 1.5)
    assert metrics["responses"] == 10 * 2 * 4
    used = read_manifest(tmp_path / "search")["config"]
    assert (used["max_new_tokens"], used["sampler"]["model"]["device"]) == (16, "cpu")  # as [sample] has it
    assert used["reranker"]["mode"] == "graded"  # as [rerank] has it


def test_iteration_decides_what_is_sampled(larpo: Larpo, tiny_world: Path, tmp_path: Path) -> None:
    config = ["--config", tiny_world / "larpo.toml", "-s", "sample.prompts_per_iteration=3"]
    succeeded(larpo("prepare", "--prompts", tmp_path / "prompts", *config))
    seen = []
    for iteration in (1, 2):
        candidates = tmp_path / f"candidates-{iteration}"
        inputs = ["--policy", tiny_world / "policy", "--prompts", tmp_path / "prompts", "--iteration", iteration]
        succeeded(larpo("sample", *inputs, "--candidates", candidates, *config))
        assert read_manifest(candidates)["arguments"] == {"iteration": iteration}
        rows = read_table(candidates, "candidates", ["prompt_id", "iteration"])
        assert {row["iteration"] for row in rows} == {iteration}
        seen.append({row["prompt_id"] for row in rows})
    assert [len(prompts) for prompts in seen] == [3, 3]
    assert not seen[0] & seen[1]


def test_a_shard_of_another_form_is_told(larpo: Larpo, tiny_world: Path, tmp_path: Path) -> None:
    given = ("--policy", "p", "--prompts", "q", "--candidates", tmp_path / "c", "--shard", "2/2")
    outcome = larpo("sample", "--config", tiny_world / "larpo.toml", *given)
    assert outcome.code == 2
    assert "'2/2' is not in the form i/n" in outcome.err
