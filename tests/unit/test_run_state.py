"""How far a run has come, on artifacts that hold nothing but their settings."""

from pathlib import Path

import pytest

from larpo_lib import results
from larpo_lib.artifacts import WorkDir, produce
from larpo_lib.config import LarpoConfig
from larpo_lib.errors import ArtifactError
from larpo_lib.files import write_json
from larpo_lib.half_done import VARIABLE
from larpo_lib.plan import Plan
from larpo_lib.run_state import HERE, all_calls, check_finished, find_run_state


def plan_of(root: Path, **settings) -> Plan:
    tree = {"policy": "models/base", "prepare": {"source": f"{root}/p.jsonl", "heldout": 4}, **settings}
    return Plan(LarpoConfig.model_validate(tree), str(root))


def make(plan: Plan, names, reward=0.0, iteration=None):
    """Publish what the calls of these names make, a reward of `reward` with every evaluation."""
    for call in all_calls(plan, {}):
        if call.name in names and (iteration is None or call.iteration in (None, iteration)):
            for path in call.outputs.values():
                config = call.config
                if call.name == "prepare":  # as the step names a local file
                    config = config.model_copy(update={"source": "p.jsonl"})

                def content(work: WorkDir, path=path):
                    write_json(work.data / "content.json", path)
                    return {"mean_reward": reward}

                inputs = {"evaluation": Path(str(call.inputs["evaluation"]))} if call.name == "promote" else {}
                if call.name == "prepare" and Path(call.config.source).is_file():
                    inputs = {"source": Path(call.config.source)}
                produce(call.name, config, inputs, Path(path), content)


STEPS = ("sample", "rerank", "build_lists", "train")


def test_a_new_run_has_everything_left(tmp_path):
    state = find_run_state(plan_of(tmp_path, demonstrations={"source": "d.jsonl"}, loop={"iterations": 2}))
    assert not state.made
    begin, one = ["prepare", "prepare-demonstrations", "sft", "evaluate"], [*STEPS, "evaluate"]
    assert [call.name for call in state.left] == [*begin, *one, *one, "promote", "report"]


def test_what_is_made_is_not_left(tmp_path):
    plan = plan_of(tmp_path, loop={"iterations": 1})
    make(plan, {"prepare", "evaluate", "sample", "rerank"})
    state = find_run_state(plan)
    assert [call.name for call in state.left] == ["build_lists", "train", "promote", "report"]
    assert state.names == {"build_lists", "train", "promote", "report"}
    make(plan, {"build_lists", "train", "promote", "report"})
    assert not find_run_state(plan).left


def test_other_results_of_a_step_are_told_before_the_run_goes_on_and_no_matter_once_it_is_finished(
    tmp_path, monkeypatch
):
    plan = plan_of(tmp_path, loop={"iterations": 1})
    make(plan, {"prepare", "evaluate", "sample"})
    monkeypatch.setattr(results, "CHANGES", {"sample": (results.Change("0.3.0", "responses are shorter"),)})
    told = r"candidates: exists already, but was made with results of larpo 0\.2\.0, and the step sample gives others: "
    with pytest.raises(ArtifactError, match=told + r"since 0\.3\.0, responses are shorter\. Choose another output"):
        find_run_state(plan)
    monkeypatch.undo()
    make(plan, {"rerank", "build_lists", "train", "promote", "report"})
    monkeypatch.setattr(results, "CHANGES", {"sample": (results.Change("0.3.0", "responses are shorter"),)})
    assert not find_run_state(plan).left


def test_a_function_that_was_changed_since_is_told_before_the_run_goes_on(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("def f(responses): return [1] * len(responses)")
    plan = plan_of(tmp_path, rerank={"reranker": {"type": "function", "target": f"{file}:f"}}, loop={"iterations": 1})
    make(plan, {"prepare", "sample", "rerank"})
    assert find_run_state(plan).names == {"build_lists", "train", "evaluate", "promote", "report"}
    file.write_text("def f(responses): return [2] * len(responses)")
    with pytest.raises(
        ArtifactError, match=r"ranked: exists already, but was made with another version of .*mine\.py:f"
    ):
        find_run_state(plan)
    file.unlink()  # a finished run needs none
    assert len(find_run_state(plan).made) == 3


def test_a_step_of_two_outputs_is_left_until_both_are_there(tmp_path):
    plan = plan_of(tmp_path)
    make(plan, {"prepare"})
    (tmp_path / "heldout" / "artifact.json").unlink()
    assert find_run_state(plan).left[0].name == "prepare"


def test_a_run_that_stopped_early_has_no_later_iterations_left(tmp_path):
    plan = plan_of(tmp_path, loop={"iterations": 3, "early_stop": {"patience": 1}})
    make(plan, {"prepare"})
    for i in (0, 1):  # no rise: iteration 1 is the last one
        make(plan, {*STEPS, "evaluate"}, iteration=i)
    assert [call.name for call in find_run_state(plan).left] == ["promote", "report"]


def test_the_calls_end_with_the_iteration_that_brings_nothing_and_promote_the_best(tmp_path):
    """Metrics are there as the calls are taken: no rise in iterations 2 and 3, so that the fourth is not begun."""
    plan = plan_of(tmp_path, loop={"iterations": 4, "early_stop": {"patience": 2}})
    measured, names, rewards = {}, [], iter((0.1, 0.5, 0.4, 0.3))
    for call in all_calls(plan, measured):
        names.append(call.name)
        if call.name == "evaluate":
            measured[call.iteration] = {"mean_reward": next(rewards)}
        if call.name == "promote":
            assert call.inputs["policy"] == plan.policy(1)
    one = [*STEPS, "evaluate"]
    assert names == ["prepare", "evaluate", *one, *one, *one, "promote", "report"]
    assert list(call.inputs["policies"]) == [plan.policy(i) for i in (1, 2, 3)]


def test_a_changed_setting_is_refused_at_once_and_named(tmp_path):
    make(plan_of(tmp_path), {"prepare", "evaluate", "sample"})
    for settings, told in (
        ({"sample": {"k": 3}}, r"iteration-1/candidates: exists already, but was made with config\.k 10 instead of 3"),
        ({"prepare": {"source": "/x/other.jsonl", "heldout": 4}}, r'prompts: .* config\.source "p\.jsonl" instead of'),
        ({"seed": 1}, r"config\.seed 0 instead of 1"),
    ):
        with pytest.raises(ArtifactError, match=told):
            find_run_state(plan_of(tmp_path, **settings))
    moved = plan_of(tmp_path, prepare={"source": "/elsewhere/p.jsonl", "heldout": 4}, sample={"processes": 2})
    assert len(find_run_state(moved).made) == 8


def test_a_change_of_a_finished_iteration_is_refused_and_one_of_a_coming_iteration_is_not(tmp_path):
    def changed(*ks):
        changes = [{"iteration": number, "sample": {"k": k}} for number, k in enumerate(ks, start=2)]
        return plan_of(tmp_path, sample={"k": 4}, loop={"iterations": 3, "changes": changes})

    make(changed(6, 8), {"prepare", "evaluate"})
    for i in (1, 2):
        make(changed(6, 8), {*STEPS}, iteration=i)
    assert [call.config.k for call in find_run_state(changed(6, 8)).left if call.name == "sample"] == [8]
    assert [call.config.k for call in find_run_state(changed(6, 5)).left if call.name == "sample"] == [5]
    for ks, told in (((7, 8), "6 instead of 7"), ((), "6 instead of 4")):
        with pytest.raises(ArtifactError, match=rf"iteration-2/candidates: .* was made with config\.k {told}"):
            find_run_state(changed(*ks))


def test_a_setting_of_a_half_done_step_is_refused_before_the_run_goes_on(tmp_path, monkeypatch):
    """Of any step that is left, here of one whose own inputs are gone."""
    plan = plan_of(tmp_path, loop={"iterations": 1})
    make(plan, {"prepare", "evaluate"})
    call = plan.train(1)

    def stop(work: WorkDir):
        (work.scratch / "part").touch()
        raise InterruptedError

    with pytest.raises(InterruptedError):
        produce("train", call.config, {}, Path(call.output), stop)
    assert "train" in find_run_state(plan).names
    assert "train" in find_run_state(plan_of(tmp_path, loop={"iterations": 1}, train={"save_steps": 3})).names
    changed = plan_of(tmp_path, loop={"iterations": 1}, train={"learning_rate": 0.25})
    with pytest.raises(ArtifactError, match=r"policy: is half done with config\.learning_rate 5e-07 instead of 0\.25"):
        find_run_state(changed)
    monkeypatch.setenv(VARIABLE, "1")
    assert "train" in find_run_state(changed).names


def test_more_iterations_than_a_finished_run_had_are_refused_before_they_are_made(tmp_path):
    plan = plan_of(tmp_path, loop={"iterations": 1})
    make(plan, {"prepare", *STEPS, "evaluate", "promote", "report"})
    assert not find_run_state(plan).left
    longer = plan_of(tmp_path, loop={"iterations": 2})
    with pytest.raises(ArtifactError, match=r"promotion: ends a shorter run, but .*iteration-2/evaluation"):
        find_run_state(longer)
    for name in ("promotion", "report"):
        (tmp_path / name / "artifact.json").unlink()
    assert [call.name for call in find_run_state(longer).left] == [*STEPS, "evaluate", "promote", "report"]


@pytest.fixture
def finished(tmp_path):
    """A run of up to two iterations that stopped after its first one."""
    plan = plan_of(tmp_path, loop={"iterations": 2, "early_stop": {"patience": 1}})
    make(plan, {"prepare"})
    for i in (0, 1):
        make(plan, {*STEPS, "evaluate"}, iteration=i)
    make(plan_of(tmp_path, loop={"iterations": 1}), {"promote", "report"})
    return plan


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (
            {"policy": "models/other"},
            r'policy "models/base" instead of "models/other"\. Choose another output, or undo',
        ),
        ({"loop": {"reference": "initial"}}, r'loop\.reference "current" instead of "initial"'),
        (
            {"loop": {"early_stop": {"patience": 1, "min_delta": 0.5}}},
            r"loop\.early_stop\.min_delta 0\.0 instead of 0\.5",
        ),
        ({"loop": {"iterations": 1, "early_stop": None}}, r"loop\.early_stop .* instead of null\."),
    ],
)
def test_a_finished_run_of_another_policy_or_loop_is_refused(finished, tmp_path, settings, told):
    loop = {"iterations": 2, "early_stop": {"patience": 1}} | settings.pop("loop", {})
    asked = plan_of(tmp_path, loop=loop, **settings)
    assert not find_run_state(asked).left
    with pytest.raises(ArtifactError, match=rf"^{tmp_path}: is finished, but was made with {told}"):
        check_finished(asked, HERE, finished.config.model_dump(mode="json"))


def test_a_finished_run_that_began_with_demonstrations_is_none_without_them(tmp_path):
    with_them = plan_of(tmp_path, loop={"iterations": 1}, demonstrations={"source": "d.jsonl"})
    make(with_them, {call.name for call in all_calls(with_them, {})})
    without = plan_of(tmp_path, loop={"iterations": 1})
    assert not find_run_state(without).left
    check_finished(with_them, HERE, with_them.config.model_dump(mode="json"))
    with pytest.raises(ArtifactError, match=rf"^{tmp_path}: is finished, but was made with demonstrations\. Choose"):
        check_finished(without, HERE, with_them.config.model_dump(mode="json"))


def test_a_finished_run_whose_source_has_changed_is_refused_even_where_its_settings_are_not_known(tmp_path):
    source = tmp_path / "p.jsonl"
    source.write_text('{"prompt": "a"}\n')
    plan = plan_of(tmp_path, loop={"iterations": 1})
    make(plan, {call.name for call in all_calls(plan, {})})
    check_finished(plan, HERE, {})
    source.write_text('{"prompt": "b"}\n')
    with pytest.raises(ArtifactError, match=rf"is finished, but was made with another version of {source}\. Choose"):
        check_finished(plan, HERE, {})
    source.unlink()
    check_finished(plan, HERE, {})


def test_a_number_of_iterations_that_a_finished_run_never_came_to_may_be_any(finished, tmp_path):
    for iterations in (1, 2, 3):
        loop = {"iterations": iterations, "early_stop": {"patience": 1}}
        asked = plan_of(tmp_path, loop=loop)
        assert not find_run_state(asked).left
        check_finished(asked, HERE, finished.config.model_dump(mode="json"))


def test_fewer_iterations_than_a_finished_run_made_are_refused(tmp_path):
    plan = plan_of(tmp_path, loop={"iterations": 2})
    make(plan, {"prepare", *STEPS, "evaluate", "promote", "report"})
    shorter = plan_of(tmp_path, loop={"iterations": 1})
    assert not find_run_state(shorter).left
    with pytest.raises(ArtifactError, match=r"made with loop\.iterations 2 instead of 1\."):
        check_finished(shorter, HERE, plan.config.model_dump(mode="json"))
    check_finished(shorter, HERE, {})  # of older versions
