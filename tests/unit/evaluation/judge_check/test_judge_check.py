"""The check of a judge: a few pairs by hand, what holds for any annotations, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from annotation_rows import annotated, read, row, written
from hypothesis import given, settings
from hypothesis import strategies as st

from larpo_lib.artifacts import Metrics
from larpo_lib.config import LlmJudgeConfig
from larpo_lib.errors import ConfigError, DataError, LarpoError
from larpo_lib.evaluation.judge_check import step
from larpo_lib.evaluation.judge_check.measures import Measures
from larpo_lib.evaluation.judge_check.reading import Compared, compared, read_annotations
from larpo_lib.evaluation.judge_check.settings import JudgeCheckConfig
from larpo_lib.evaluation.judge_checks import check_told
from larpo_lib.statistics.estimates import Bootstrap

QUICK = JudgeCheckConfig(resamples=40)


PEOPLE = [
    row("a", "x", "longer", 1), row("a", "x", "longer", 1), row("a", "x", "longer", 2),  # three people: the first
    row("b", "longest", "y", 2), row("c", "1", "2", 1), row("d", "1", "22", 1), row("e", "1", "22", 2),
    row("f", "1", "2", None), row("g", "1", "2", 2), row("h", "11", "2", 1), row("h", "11", "2", 2),
]  # fmt: skip
JUDGE = [
    row("a", "x", "longer", 1.6), row("a", "longer", "x", 1.8),  # the order decides
    row("b", "y", "longest", 1.2),  # the answers are in each other's place
    row("c", "1", "2", 1.1), row("c", "2", "1", 1.9), row("d", "1", "22", 2), row("e", "1", "22", 2),
    row("f", "1", "2", 1), row("g", "1", "2", None), row("h", "11", "2", 0), row("x", "1", "2", 1),
]  # fmt: skip


def test_a_few_pairs_by_hand(check: Callable[..., Metrics]) -> None:
    """Judge: a 1 (1.6 and 1.2 are 1.4), b 2, c 1, d 2, e 2, h neither; people: a 1, b 2, c 1, d 1, e 2, h neither."""
    found = check(PEOPLE, JUDGE)
    assert found["pairs"] == 6
    assert found["agreement"] == pytest.approx(5 / 6)
    expected = (3 * 2 + 2 * 3 + 1 * 1) / 36
    assert found["kappa"] == pytest.approx((5 / 6 - expected) / (1 - expected))
    assert found["prefers_longer"] == pytest.approx(2 / 4)  # of a, b, d, e; c is of one length, h a draw
    assert found["prefers_longer_beyond"] == pytest.approx(2 / 4 - 1 / 4)
    assert found["changed_by_order"] == 0.5  # a and c were asked in both orders
    assert found["agreement_both_orders"] == 1.0
    assert found["agreement_one_order"] == pytest.approx(4 / 6)  # a: 1.6
    assert found["undecided_dropped"] == 2
    assert found["not_judged_dropped"] == 0
    assert (found["draws_of_judge"], found["draws_of_reference"]) == (1, 1)
    assert found["annotations"] == 11
    assert found["models"] == 1
    assert "spearman" not in found
    assert "prefers_first" not in found


def test_the_place_that_is_shown_first_is_told_where_it_is_known(check: Callable[..., Metrics]) -> None:
    """Shown first: a's second answer, which wins by its place in both orders; b's first, which does not win."""
    judged = [
        row("a", "1", "22", 2, is_switched_outputs=True, preference_by_order=[2, 1]),
        row("b", "1", "22", 2, is_switched_outputs=False, preference_by_order=[2, 2]),
    ]
    found = check([row("a", "1", "22", 1), row("b", "1", "22", 2)], judged)
    assert found["prefers_first"] == 0.75  # a twice, and b in the other order
    assert found["changed_by_order"] == 0.5
    assert (found["agreement"], found["agreement_one_order"], found["draws_of_judge"]) == (0.5, 0.5, 1)


MAYBE = st.one_of(st.none(), st.sampled_from([1.0, 1.4, 1.5, 1.6, 2.0]))
ANNOTATED = st.tuples(
    st.sampled_from("abc"), st.sampled_from(["m", "n"]), st.one_of(MAYBE, st.tuples(MAYBE, MAYBE)),
    st.one_of(st.none(), st.booleans()), st.booleans(),
)  # fmt: skip


@settings(deadline=None, max_examples=30)
@given(st.lists(ANNOTATED, min_size=1, max_size=12))
def test_a_judge_agrees_with_itself(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]) -> None:
    said = read(tmp_path_factory.getbasetemp() / "itself.json", [annotated(*one) for one in rows])
    pairs, dropped = compared(said, said)
    assert len(pairs) + dropped["undecided_dropped"] == len(said) == len({one[:2] for one in rows})
    if pairs:
        estimates = Measures([*pairs.values()]).estimates(Bootstrap(0.95, 2, 0))
        found = {name: one.value for name, one in estimates.items()}
        same = {"agreement", "kappa", "agreement_both_orders", "agreement_one_order", "spearman", "kendall"}
        assert [found[name] for name in same & found.keys()] == pytest.approx([1.0] * len(same & found.keys()))
        assert found.get("prefers_longer_beyond", 0.0) == 0.0


def test_a_pair_with_its_answers_in_either_place_is_one(tmp_path: Path) -> None:
    """b: 1.8, and 1.4 with the answers in each other's place; its model is the first one, as in most pairs."""
    turned = {"generator_1": "tuned", "generator_2": "base"}
    said = read(tmp_path / "rows.json", [
        row("b", "22", "1", 1.4, **turned), row("b", "1", "22", 1.8), row("c", "1", "2", 2), row("d", "1", "2", 1),
        row("e", "1", "2", 1, is_switched_outputs=True), row("e", "1", "2", 2, is_switched_outputs=False),
    ])  # fmt: skip
    pairs, _ = compared(said, said)
    assert {one.model for one in pairs.values()} == {"tuned"}
    found = {pair.instruction: one for pair, one in pairs.items()}
    assert found["b"].orders == pytest.approx((1.6, 1.8))
    assert (found["b"].reference, found["b"].longer) == (pytest.approx(1.7), 1)
    assert found["c"].orders == (2.0, None)
    assert found["e"].orders == (1.0, 2.0)  # it says that they were shown the other way round


def test_several_annotators_are_no_judge_unless_they_are_named_together(check: Callable[..., Metrics]) -> None:
    """Their mean in each order is 1.475: the first answer; the last of them prefers the second one."""
    rows = [row("a", "1", "2", value, preference_by_order=[value] * 2, annotator=name)
            for name, value in zip("ABCD", (1.0, 2.0, 1.0, 1.9), strict=True)]  # fmt: skip
    with pytest.raises(
        DataError, match=r"judged\.json: has decisions of several judges: A, B, C, D\. Keep those of one"
    ):
        check([row("a", "1", "2", 1)], rows)
    found = check([row("a", "1", "2", 1)], rows, judged_by="four people")
    assert (found["agreement"], found["agreement_both_orders"]) == (1.0, 1.0)
    assert check(rows, [row("a", "1", "2", 1)], "reference")["agreement"] == 1.0


def test_a_preference_is_a_number_or_none(check: Callable[..., Metrics]) -> None:
    wanted = [row("a", "1", "2", 2), row("b", "1", "2", 2)]
    found = check(wanted, [row("a", "1", "2", float("nan")), row("b", "1", "2", 2)])
    assert (found["pairs"], found["undecided_dropped"]) == (1, 1)
    for odd in ({"preference": True}, {"preference_by_order": [1, True]}):
        with pytest.raises(DataError, match=r"row 1, field 'preference.*': is true, not a number\. Write 1 "):
            check(wanted, [row("a", "1", "2", None) | odd])


def test_one_pair_of_a_table_has_one_pair_of_lengths(tmp_path: Path) -> None:
    table = tmp_path / "twice.csv"
    table.write_text("model,row,preference,len_ref,len_model\nm,0,2,3,4\nm,0,1,3,4\nm,0,1,30,4\n")
    with pytest.raises(DataError, match=r"twice\.csv, row 4: has the lengths 30 and 4, but row 2 of .* has 3 and 4"):
        read_annotations([table])


def test_judge_and_reference_have_different_names(check: Callable[..., Metrics], tmp_path: Path) -> None:
    check(PEOPLE, PEOPLE)
    report = json.loads((tmp_path / "check" / "report.json").read_text())
    assert (report["policy"], report["judged_by"]) == ("someone", f"someone in {tmp_path.name}/reference.json")


def test_what_is_unread_in_one_order_is_undecided(check: Callable[..., Metrics]) -> None:
    wanted = [row("a", "1", "2", 2), row("b", "1", "2", 2)]
    found = check(wanted, [row("a", "1", "2", None, preference_by_order=[2.0, None]), row("b", "1", "2", 2)])
    assert (found["pairs"], found["undecided_dropped"]) == (1, 1)
    with pytest.raises(LarpoError, match="of the reference: 2; not judged: 0, without a preference: 2"):
        check(wanted, [row(name, "1", "2", 2, preference_by_order=[None, 2.0]) for name in "ab"], "none")


def test_intervals_draw_instructions_and_not_pairs() -> None:
    """Ten models of one instruction are one draw: the interval is that of two instructions, from 0 to 1."""
    pairs = [
        Compared(group, None, 1.0, (1.0, None), wanted, wanted, 0, None)
        for group, wanted in (("a", 1.0), ("b", 2.0))
        for _ in range(10)
    ]
    found = Measures(pairs).estimates(Bootstrap(0.95, 100, 0))["agreement"]
    assert (found.value, found.low, found.high) == (0.5, 0.0, 1.0)


def test_what_is_not_defined_is_left_out(check: Callable[..., Metrics]) -> None:
    found = check([row("a", "1", "2", 1)], [row("a", "1", "2", 1)])
    assert found["agreement"] == 1.0
    assert {"kappa", "prefers_longer", "changed_by_order", "kendall"}.isdisjoint(found)


def test_a_part_is_drawn_by_the_seed(check: Callable[..., Metrics]) -> None:
    rows = [row(f"{number}", "1", "2", 1 + number % 2) for number in range(20)]
    found = check(rows, rows, limit=5)
    assert (found["pairs"], found["not_drawn"], found["agreement"]) == (5, 15, 1.0)


def test_what_cannot_be_compared_is_refused(check: Callable[..., Metrics], tmp_path: Path) -> None:
    for odd, told in (([1, "x"], r"'preference_by_order\[1\]': is 'x', not a number"), ([1], "not a list of two")):
        with pytest.raises(DataError, match=told):
            check([row("a", "1", "2", 1)], [row("a", "1", "2", 1, preference_by_order=odd)])
    with pytest.raises(
        LarpoError,
        match=r"no preference on a common pair \(pairs of the reference: 1; not judged: 1, without a preference: 0\)",
    ):
        check([row("a", "1", "2", 1)], [row("b", "1", "2", 1)])
    table = tmp_path / "table.csv"
    table.write_text("model,row,preference,len_ref,len_model\nm,0,1,1,1\n")
    annotations = written(tmp_path / "rows.json", [row("a", "1", "2", 1)])
    with pytest.raises(DataError, match=r"rows\.json: is not of the kind of the reference"):
        step.run(QUICK, reference=[table], judged=[annotations], evaluation=tmp_path / "check")
    with pytest.raises(DataError, match=r"table\.csv, row 2: is of another kind than the rows before it"):
        step.run(QUICK, reference=[annotations, table], judged=[annotations], evaluation=tmp_path / "check")
    with pytest.raises(ConfigError, match="needs either a judge to ask or what one has decided"):
        step.run(QUICK, reference=[annotations], evaluation=tmp_path / "check")
    asking = JudgeCheckConfig(judge=LlmJudgeConfig(base_url="http://localhost:1", model="m"))
    with pytest.raises(DataError, match=r"table\.csv: has no texts to ask a judge about"):
        step.run(asking, reference=[table], evaluation=tmp_path / "check")


def test_a_check_is_told_beside_scores_of_its_own_judge_alone(check: Callable[..., Metrics], tmp_path: Path) -> None:
    judge = "gpt by alpaca_eval_llama3_70b_fn"
    check(PEOPLE, JUDGE, judged_by=judge)
    told = check_told(tmp_path / "check", judge)
    assert told.startswith("on 6 pairs that someone annotated: Agreement in one order 0.667 [")
    assert ", and by both orders Cohen's kappa 0.739 [" in told
    assert "Longer, beyond the reference 0.250 [" in told
    assert "Agreement in both orders 1.000 [" in check_told(tmp_path / "check", f"{judge} in both orders")
    assert check_told(None, judge) == ""
    with pytest.raises(ConfigError, match=rf"is a check of {judge}, but the judge here is gpt by weighted"):
        check_told(tmp_path / "check", "gpt by weighted_alpaca_eval_gpt4_turbo")
    assert check_told(tmp_path / "check", "gpt with other prompts", "gpt").startswith(
        "asked by alpaca_eval_llama3_70b_fn, on 6 pairs that someone annotated: Agreement in one order 0.667 ["
    )
    with pytest.raises(ConfigError, match="but the judge here is gpt-5 with other prompts"):
        check_told(tmp_path / "check", "gpt-5 with other prompts", "gpt-5")
    check([row("a", "1", "2", 1)], [row("a", "1", "2", 1)], name="one order", judged_by="gpt by x")
    assert check_told(tmp_path / "one order", "gpt by x").startswith("on 1 pairs that someone annotated: Agreement 1.0")
    with pytest.raises(ConfigError, match="the judge was not asked in both orders"):
        check_told(tmp_path / "one order", "gpt by x in both orders")
