from dataclasses import replace

import pytest
from reporting.parsed_page import HOSTILE, Page
from reporting.small_report import small_report

from larpo_lib.reporting.content import Drop, Setting
from larpo_lib.reporting.examples import Text
from larpo_lib.reporting.figures import panels
from larpo_lib.reporting.page import render
from larpo_lib.reporting.table import UNDEFINED

SECTIONS = ("quality", "hacking", "retrieval", "lists", "training")


def page(report, *, figures=False):
    return Page(render(report, panels(report) if figures else {name: [] for name in SECTIONS}))


@pytest.fixture(scope="module")
def whole():
    return page(small_report(), figures=True)


def test_page_needs_nothing_from_anywhere(whole):
    assert whole.tags["svg"] == 13
    whole.check_self_contained()


def test_headline_tells_first_last_and_paired_change(whole):
    assert "Mean reward 0.167 → 0.667 +0.500 (+0.500 to +0.500)" in whole.words()
    assert "Accuracy 0.167 → 0.667 +0.500" in whole.words()
    assert "Pass@2 0.333 → 1.000 +0.667" in whole.words()


def test_held_out_prompts_that_are_trained_on_are_told(whole):
    told = "2 of the held-out prompts are also among the prompts or demonstrations of this run"
    assert told in page(small_report(trained_on=2)).words()
    assert "trained on" not in whole.words()


def test_examples_show_both_sides(whole):
    words = whole.words()
    assert "Of 3 prompts the greedy response of iteration 1 is better than the start's for 1, worse for 1" in words
    assert "Prompt 1 ▲ better reference: 42 question a start greedy ✗ wrong reward 0.000 5 tokens a, 0" in words
    assert "iteration 1 greedy ✓ right reward 1.000 5 tokens a, 0 sampled ✓ right" in words
    assert "Prompt 2 ▼ worse" in words


def test_prompts_of_which_one_response_is_undecided_are_counted_apart(whole):
    undecided = replace(small_report().examples[0], outcome="undecided")
    outcomes = {"better": 1, "worse": 1, "same": 1, "undecided": 2}
    words = page(small_report(examples=[undecided], outcomes=outcomes)).words()
    assert "For 2 it decided only one of the two, so they are not compared. The examples are" in words
    assert "Prompt 1 ? undecided" in words
    assert "it decided only one" not in whole.words()


def test_lists_drops_and_settings_are_told():
    report = small_report(drops=[Drop("build_lists", "duplicates dropped", (None, 0, 1234))])
    words = page(replace(report, drop_columns=["start", "iteration 1", "iteration 2"])).words()
    assert "1 30 0.400 ± 0.200 7 3.500 0.750 12.5 %" in words.replace("\u2009", " ")
    assert "build_lists duplicates dropped \N{EN DASH} 0 1,234" in words
    assert "train learning_rate 5e-07" in words


def test_what_trainings_tell_and_advise_is_told():
    words = page(small_report(), figures=True).words().replace("\u2009", " ")
    assert (
        "reward gap 1 \N{MINUS SIGN}40.00 62.5 % 25.0 % \N{EN DASH} 0.750 Advice after iteration 1: Set <this>."
        in words
    )


@pytest.mark.parametrize(
    ("fixed", "drift", "told"),
    [
        (False, -40.0, "the previous one, which becomes its reference."),
        (True, -40.0, "the previous one; the reference stays the same."),
        (False, None, "the previous one."),
    ],
)
def test_the_reference_of_the_trainings_is_told(fixed, drift, told):
    (diagnosis,) = small_report().diagnoses
    report = small_report(fixed_reference=fixed, diagnoses=[{**diagnosis, "chosen_logp_drift": drift}])
    assert f"Each iteration starts from the policy of {told}" in page(report, figures=True).words()


def test_diversity_is_told_by_iteration_and_temperature():
    words = page(small_report()).words().replace("\u2009", " ")
    assert "distinct 2-grams 1 0.7 43.8 % 62.5 % 1 1.0 \N{EN DASH} \N{EN DASH}" in words
    assert "Diversity" not in page(small_report(diversity=[])).words()


@pytest.mark.parametrize("promoted", [True, False])
def test_gate_is_told_with_its_reason(promoted):
    gate = {
        "promoted": promoted,
        "policy": "iteration 1",
        "model_name": "my-policy",
        "version": 4,
        "alias": "champion" if promoted else "challenger",
        "metric": "greedy_accuracy",
        "reason": "beats version 3 or not",
    }
    words = page(small_report(promotion=gate)).words()
    verdict = "✓ Promoted" if promoted else "✗ Not promoted"
    assert f"{verdict}: iteration 1 is my-policy version 4, now {gate['alias']}" in words
    assert "Compared by greedy accuracy: beats version 3 or not." in words


def test_a_gate_of_several_metrics_is_shown_as_a_table_with_its_figure():
    test = {
        "metric": "gsm8k.accuracy", "demand": "must_not_lose", "margin": 1.0, "lower_is_better": False, "items": 40,
        "policy": 58.2, "opponent": 61.0, "gain": -2.8, "low": -3.9, "high": -1.7, "p_value": 1.0,
        "adjusted_p_value": 1.0, "obstacle": None, "passed": False,
    }  # fmt: skip
    length = {**test, "metric": "evaluate.length", "lower_is_better": True, "obstacle": "it has none"}
    length |= dict.fromkeys(("opponent", "gain", "low", "high", "p_value", "adjusted_p_value"))
    gate = {
        "promoted": False, "policy": "iteration 1", "model_name": "my-policy", "version": 4, "alias": "challenger",
        "metric": "evaluate.reward", "reason": "gsm8k.accuracy is worse", "confidence": 0.95, "tests": [test, length],
    }  # fmt: skip
    words = page(small_report(promotion=gate), figures=True).words()
    assert "Gsm8k.accuracy is worse." in words
    assert "gsm8k.accuracy loss < 1 58.2 61 -2.8 -3.9 to -1.7 1 1 no" in words
    assert "evaluate.length ↓ loss < 1 58.2 - - - - - it has none" in words.replace(UNDEFINED, "-")
    assert "Gain over the opponent with its 90% interval" in words


def test_run_without_gate_judge_examples_or_drops():
    report = small_report(judged=False, examples=[], drops=[], settings=[], versions=[])
    words = page(report, figures=True).words()
    assert "No promotion gate" in words
    assert "ccuracy" not in words.replace("Ranking accuracy", "")
    assert "Responses before and after" not in words
    assert "No step reports dropped rows" in words


def test_hostile_text_stays_text():
    report = small_report()
    example = report.examples[0]
    answer = replace(example.after[0], text=Text(HOSTILE, 0))
    hostile = replace(example, messages=[("user", Text(HOSTILE, 0)), (HOSTILE, Text("", 0))], reference=HOSTILE)
    report = replace(
        report,
        title=HOSTILE,
        examples=[replace(hostile, after=[answer])],
        drops=[Drop(HOSTILE, HOSTILE, (0, 0))],
        settings=[Setting(HOSTILE, [(HOSTILE, HOSTILE)])],
        versions=[(HOSTILE, HOSTILE)],
    )
    found = page(report)
    assert not {"script", "img"} & set(found.tags)
    # title twice, prompt, role, reference, response, drop's step and reason, setting's three, versions' two
    assert found.text.count(HOSTILE) == 13


def test_long_texts_are_boxed_and_say_what_is_missing():
    report = small_report()
    answer = replace(report.examples[0].before[0], text=Text("long " * 800, 12345))
    found = page(replace(report, examples=[replace(report.examples[0], before=[answer])]))
    assert ("class", "text long") in found.attributes
    assert "Cut here: 12,345 more characters." in found.words()


def test_rendering_twice_gives_the_same_text():
    assert render(small_report(), panels(small_report())) == render(small_report(), panels(small_report()))
