"""A new version of larpo continues what another one has made, but for steps whose results it changes: it says which."""

import json
from pathlib import Path

import pytest
from small_artifacts import Settings, content, double, never

from larpo_lib import artifacts, results
from larpo_lib.artifacts import produce, read_manifest, verify
from larpo_lib.config import LarpoConfig
from larpo_lib.config.kinds import ObjectiveConfig
from larpo_lib.config.tree import BENCHMARKS
from larpo_lib.errors import ArtifactError
from larpo_lib.results import FIRST, Change, other_results, results_version
from larpo_lib.steps.declarations import STEPS


def changed(monkeypatch: pytest.MonkeyPatch, *changes: Change) -> None:
    monkeypatch.setattr(results, "CHANGES", {"double": (FIRST, *changes)})


@pytest.fixture(autouse=True)
def later(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An artifact was made, and then larpo became 0.4.1."""
    produce("double", Settings(), {}, tmp_path / "out", double)
    monkeypatch.setattr(artifacts, "__version__", "0.4.1")


def refusal(tmp_path: Path) -> str:
    with pytest.raises(ArtifactError) as caught:
        produce("double", Settings(), {}, tmp_path / "out", never)
    return str(caught.value)


def test_a_later_version_finds_what_was_made_and_makes_the_same(tmp_path: Path) -> None:
    produce("double", Settings(), {}, tmp_path / "out", never)
    produce("double", Settings(), {}, tmp_path / "again", double)
    before, after = read_manifest(tmp_path / "out"), read_manifest(tmp_path / "again")
    assert after["libraries"].pop("larpo") == "0.4.1"  # who made it is known
    assert before == after
    assert {**content(tmp_path / "out"), "artifact.json": b""} == {**content(tmp_path / "again"), "artifact.json": b""}


def test_a_changed_result_is_refused_with_step_version_and_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed(monkeypatch, Change("0.3.0", "twice is four times"), Change("0.4.0", "four times is eight times"))
    assert refusal(tmp_path) == (
        f"{tmp_path / 'out'}: exists already, but was made with results of larpo 0.2.0, and the step double gives "
        "others: since 0.3.0, twice is four times; since 0.4.0, four times is eight times. Choose another output, or "
        "delete this one to make it again."
    )
    produce("triple", Settings(), {}, tmp_path / "triple", double)
    produce("triple", Settings(), {}, tmp_path / "triple", never)  # other steps are as they were


def test_only_what_came_since_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = Change("0.9.0", "twice is four times"), Change("0.10.0", "four times is eight times")
    changed(monkeypatch, first)
    produce("double", Settings(), {}, tmp_path / "second", double)
    changed(monkeypatch, first, second)
    assert other_results("double", "0.9.0") == (
        "results of larpo 0.9.0, and the step double gives others: since 0.10.0, four times is eight times"
    )
    verify(tmp_path / "second")
    changed(monkeypatch, first)
    assert other_results("double", "0.10.0") == "results of larpo 0.10.0, which this version does not know"


def test_a_changed_setting_is_named_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed(monkeypatch, Change("0.4.0", "twice is four times"))
    with pytest.raises(ArtifactError, match=r"config\.value 1 instead of 2; results of larpo 0\.2\.0, and the step"):
        produce("double", Settings(value=2), {}, tmp_path / "out", never)


def test_what_0_1_made_is_refused_with_what_0_2_changed() -> None:
    """As the changelog says in its words on upgrading."""
    for step in (*STEPS, *BENCHMARKS, "prepare.prompts", "preferences.fold"):
        assert results_version(step) == "0.2.0"
        assert other_results(step, "0.2.0") == ""
    assert other_results("sft", "0.1.0") == (
        "results of larpo 0.1.0, and the step sft gives others: since 0.2.0, responses known only as text are "
        "tokenized as they stand in their conversation, a warm-up ends one step earlier, DeepSpeed adds up "
        "gradients in bfloat16 in float32 at stages 2 and 3, LoRA in bfloat16 is merged in float32, and models of "
        "every family are trained without dropout and with their cap on logits"
    )
    assert other_results("sample", "0.1.0").endswith("since 0.2.0, it does not continue what 0.1.0 has made")


def test_the_table_names_steps_and_its_versions_rise() -> None:
    names = {name.replace("-", "_") for name in (*STEPS, *BENCHMARKS)}
    assert results.CHANGES.keys() <= names
    for changes in results.CHANGES.values():
        numbers = [results._number(change.version) for change in changes]
        assert numbers == sorted(numbers)


RECORDED = Path(__file__).with_name("identities.json")
STEP_SECTIONS = ("prepare", "sft", "sample", "rerank", "lists", "train", "reward_model", "evaluate",
                 "search_temperature", "promote", "report")  # fmt: skip


def test_a_new_setting_does_not_change_the_fingerprints_of_those_who_do_not_set_it() -> None:
    """It is named in its section's `younger`. A default that really has to change is a change of results."""
    config = LarpoConfig.model_validate({"policy": "base", "prepare": {"source": "prompts.jsonl"}})
    sections = {name: getattr(config, name) for name in (*STEP_SECTIONS, *BENCHMARKS)}
    found = {name: section.identity() for name, section in sections.items() if section is not None}
    for kind in ObjectiveConfig.alternatives():
        if not any(field.is_required() for field in kind.model_fields.values()):
            found[f"objective {kind().type}"] = kind().identity()
    recorded = json.loads(RECORDED.read_text("utf-8"))  # of 0.2.0; younger sections have no old artifacts
    assert {name: json.loads(json.dumps(found[name])) for name in recorded} == recorded
