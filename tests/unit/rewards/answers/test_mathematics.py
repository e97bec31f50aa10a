"""Answers that are mathematics; which are equal is worked out by hand."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import user

from larpo_lib.errors import LarpoError
from larpo_lib.rewards.answers import Scorable, final_values, same_answer
from larpo_lib.rewards.answers.expressions import Expressions
from larpo_lib.rewards.answers.mathematics import is_right, readable


@pytest.fixture(scope="module")
def expressions():
    return Expressions()


def _item(response, reference):
    return Scorable("p", user("?"), response, reference)


EQUAL = [
    # expressions
    (r"\boxed{3\sqrt{2}}", r"3\sqrt2"),
    (r"\boxed{\sqrt{18}}", r"3\sqrt2"),
    (r"$\frac{\sqrt{2}}{2}$", r"\frac{1}{\sqrt{2}}"),
    (r"\boxed{(x+1)^2}", "x^2+2x+1"),
    (r"\boxed{-\frac{1}{2}x}", r"-\frac{x}{2}"),
    (r"\boxed{2\pi}", "2 pi"),
    ("\\boxed{2\u03c0}", r"2\pi"),
    (r"\boxed{\log_2 8}", "3"),
    (r"\boxed{\binom{5}{2}}", "10"),
    (r"\boxed{\sqrt[3]{2}}", "2^{1/3}"),
    (r"\boxed{3+4i}", "4i+3"),
    (r"\boxed{x^{3}+C}", "x^3 + C"),
    (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{pmatrix}1\\2\end{pmatrix}"),
    ("0.333333", r"\frac13"),
    # equations and inequalities
    (r"\boxed{y=2x+1}", "y = 1 + 2x"),
    (r"\boxed{2x+1}", "y = 2x+1"),
    (r"\boxed{f(x)=x^2}", "x^2"),
    (r"\boxed{5 > x}", "x<5"),
    (r"\boxed{4x+6y=12}", "2x+3y=6"),
    (r"\boxed{x^2+y^2-1=0}", "x^2+y^2=1"),
    (r"\boxed{12}", "Area = 12"),
    (r"\boxed{y=2, x=1}", "x=1, y=2"),
    (r"\boxed{1, 2}", "x_1=1, x_2=2"),
    # groups
    ("(1,2)", "(1, 2)"),
    (r"\boxed{(1,\sqrt{4})}", "(1,2)"),
    (r"\boxed{\left(3,\sqrt{2}\right)}", r"(3, \sqrt 2)"),
    (r"\boxed{[1,\infty)}", r"[1, \infty)"),
    (r"(-\infty,2]\cup[3,4)", r"(-\infty, 2] \cup [3, 4)"),
    (r"x \in [1,\sqrt2]", r"[1,\sqrt{2}]"),
    ("1 < x < 2", "(1,2)"),
    (r"\boxed{\{\sqrt{2},1\}}", r"\{1,\sqrt2\}"),
    (r"\boxed{\left\{\frac{1}{2},\frac{\sqrt{3}}{2}\right\}}", r"\frac{\sqrt3}{2}, \frac12"),
    (r"x=\pm 3", "3,-3"),
    (r"\boxed{1\pm\sqrt{2}}", r"1+\sqrt2, 1-\sqrt2"),
    (r"\boxed{x=3,y=4}", "(3,4)"),
    (r"\boxed{\emptyset}", r"\emptyset"),
    # units, percents, bases
    (r"\boxed{6\pi \text{ cm}^2}", r"6\pi"),
    (r"\boxed{6\pi \text{ m}}", r"6\pi"),
    (r"\boxed{5\sqrt{2}\text{ miles}}", r"5\sqrt2"),
    (r"\boxed{90^\circ}", "90"),
    (r"\boxed{50\%}", r"\frac12"),
    (r"\boxed{\$32{,}348}", r"\$32,\!348"),
    (r"\boxed{2516_8}", "2516_{8}"),
    (r"\boxed{2516}", "2516_{8}"),
    (r"\boxed{60 \text{ miles per hour}}", "60 mph"),
    (r"\boxed{36 \text{ km/h}}", "10 m/s"),
    (r"\boxed{120}", "5!"),
    (r"\boxed{3x+2}", "2 + 3x"),
    (r"\boxed{18} cm^2 in total", "18"),
    (r"\boxed{18\text{ t-shirts}}", "18"),
    (r"\boxed{5\text{ o'clock}}", "5"),
    # words and choices
    (r"\boxed{\text{Monday}}", "monday"),
    (r"\boxed{\text{(C)}}", "C"),
    ("The answer is (C).", "(C)"),
    # numbers, and where they stand
    ("#### 204", "204"),
    (r"\boxed{\dfrac{3}{4}}", "0.75"),
    ("The total is 204.", "204"),
    ("so the result is $3\\sqrt{2}$ cm, since 3 > 2.", r"\sqrt{18}"),
    ("Thus the answer is $3\\sqrt{2}$, since $3 > 2$.", r"\sqrt{18}"),
]
OTHER = [
    (r"\boxed{3\sqrt{2}}", r"2\sqrt3"),
    (r"\boxed{3t}", "3"),  # math-verify takes t for a unit
    (r"\boxed{2ab}", "2"),
    (r"\boxed{2\pi}", "2"),
    (r"\boxed{(3,\sqrt{2})}", r"(5,\sqrt3)"),  # both are empty intervals to math-verify
    (r"\boxed{(1,\sqrt2)}", r"\{1,\sqrt2\}"),
    (r"\boxed{[1,\sqrt2]}", r"(1,\sqrt2)"),
    ("[1,2)", "(1,2]"),
    (r"\boxed{2:30}", "1:15"),  # one ratio to math-verify
    (r"\boxed{12_5}", "12_7"),  # 12 to math-verify
    (r"\boxed{0.\overline{3}}", "0"),  # 0 to math-verify
    (r"\boxed{10\,000}", "0"),  # 10 * 0 to math-verify
    (r"\boxed{y=5}", "x=5"),
    (r"\boxed{x=1}", "x=2"),
    (r"\boxed{x^2-1=0}", "x^2+1=0"),  # both end in = 0
    (r"\boxed{5x+y=6}", "2x+3y=6"),
    (r"\boxed{5}", "a+b=5"),  # equal to math-verify
    (r"\boxed{x=2,y=1}", "x=1,y=2"),
    (r"\boxed{60 \text{ km/h}}", "60 mph"),
    (r"\boxed{5}", "5!"),
    (r"\boxed{3x-2}", "3x+2"),
    (r"\boxed{3x+2}", "3"),
    (r"\boxed{2n+1}", "2n-1"),
    (r"\boxed{3xy+1}", "3xy-1"),
    (r"\boxed{2(x-1)}", "2(x+1)"),
    (r"\boxed{x}", "y"),
    (r"\boxed{\text{Monday}}", "Tuesday"),
    (r"\boxed{\text{(C)}}", "A"),
    (r"\boxed{6\pi \text{ cm}}", r"6\pi\text{ kg}"),
    (r"\boxed{\frac{1}{2}}", r"\frac{3}{2}"),
    (r"\boxed{0.3}", r"\frac13"),
    (r"\boxed{3.14}", r"\pi"),
    (r"\boxed{1,2}", "1,2,3"),
    (r"\boxed{1, \sqrt{2}}", r"1, \sqrt{2}, \sqrt{3}"),
    ("", "5"),
    ("no idea", "x^2"),
    (r"\boxed{\frac{}{}}", "x"),
    (r"\boxed{" + "(" * 200 + "}", "x+1"),
    (r"\boxed{" + "x+" * 400 + "1}", "x+1"),
]


@pytest.mark.parametrize(("response", "reference"), EQUAL)
def test_equal_answers_are_right(response, reference, expressions):
    assert is_right(_item(response, reference), expressions)


@pytest.mark.parametrize(("response", "reference"), OTHER)
def test_other_answers_are_wrong(response, reference, expressions):
    assert not is_right(_item(response, reference), expressions)


def test_every_answer_is_right_where_it_is_the_reference(expressions):
    for _, reference in EQUAL:
        assert is_right(_item(rf"\boxed{{{reference}}}", reference), expressions), reference


@pytest.mark.parametrize("reference", ["", "(((", r"\frac{1}{", "see the discussion of the second part", "#### "])
def test_a_reference_that_nobody_can_read_is_refused(reference, expressions):
    assert not readable(reference, expressions)
    with pytest.raises(LarpoError, match="prompt p: the verifier needs a reference with an answer that it can read"):
        is_right(_item("5", reference), expressions)


@pytest.mark.parametrize("response", [r"\boxed{9^{9^{9}}}", r"\boxed{\sum_{k=1}^{10^{10}} k^k}"])
def test_an_expression_that_takes_too_long_is_wrong_and_the_next_is_read(response, expressions):
    start = time.monotonic()
    assert not is_right(_item(response, r"\sqrt{2}"), expressions)
    assert time.monotonic() - start < 60  # 4 s of processor time, on a busy machine
    assert is_right(_item(r"\boxed{\sqrt{8}}", r"2\sqrt{2}"), expressions)


@pytest.mark.parametrize(
    "run", ["1", "1\u2044", "1=", "x=1,", "(1,", "$1", "a b ", "1 ", "_1", "1_", "\\frac"], ids=repr
)
@pytest.mark.parametrize("reference", ["3", r"\sqrt{2}", "x+y=3"])
def test_long_texts_are_compared_in_bounded_time(run, reference, expressions):
    item = _item(run * (200_000 // len(run)), reference)
    start = time.process_time()
    assert not is_right(item, expressions)
    assert time.process_time() - start < 1


def test_it_works_in_threads(expressions):
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(lambda n: is_right(_item(rf"\boxed{{{n}\sqrt{{3}}}}", r"5\sqrt{3}"), expressions), range(20))
    assert [*found] == [n == 5 for n in range(20)]


def test_it_works_after_a_fork(expressions):
    assert expressions.same("x+1", "1+x")
    child = os.fork()
    if child == 0:
        os._exit(0 if expressions.same("x+2", "2+x") and not expressions.same("x+2", "x+1") else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert expressions.same("x+3", "3+x")


def test_its_process_starts_when_it_is_needed_and_ends_with_it():
    expressions = Expressions()
    assert is_right(_item(r"\boxed{9{,}500}", "9500"), expressions)
    assert expressions.process.child is None
    assert expressions.same("x+1", "1+x")
    child = expressions.process.child
    del expressions
    assert child.returncode is not None


_TEXT = st.lists(
    st.sampled_from(["\\", "{", "}", "$", "\\boxed{", "x", "1", "2", "^", "_", ",", "(", ")", "\\frac", "=", " ", "-"])
)


@settings(max_examples=100)
@given(_TEXT.map("".join))
def test_no_text_is_refused(text):
    expressions = _shared()
    assert is_right(_item(text, "x^2+7y"), expressions) is False
    readable(text, expressions)


def _shared(found=[]):  # noqa: B006 - one process for all examples
    if not found:
        found.append(Expressions())
    return found[0]


@settings(max_examples=100)
@given(st.fractions(max_denominator=50), st.fractions(max_denominator=50), st.sampled_from("+-*"))
def test_numbers_are_read_as_math_verify_reads_them(one, other, operator):
    """The fast path and sympy agree on what is a number."""
    text = f"{_fraction(one)} {operator} \\left({_fraction(other)}\\right)"
    value = {"+": one + other, "-": one - other, "*": one * other}[operator]
    assert same_answer(final_values(rf"\boxed{{{text}}}"), final_values(f"{value}"))
    written, wrong = _fraction(value), _fraction(value + Fraction(1, 7))
    assert _shared().same(text, written)
    assert not _shared().same(text, wrong)
    assert not same_answer(final_values(rf"\boxed{{{text}}}"), final_values(wrong))


def _fraction(value):
    return rf"\frac{{{value.numerator}}}{{{value.denominator}}}"
