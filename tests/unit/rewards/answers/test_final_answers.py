"""Answers in the notations that models write them in; every value is worked out by hand."""

from fractions import Fraction

import pytest
from small_models import user

from larpo_lib.rewards.answers import Scorable, final_number, is_right, states_answer


def _right(response, reference):
    return is_right(Scorable("p", user("?"), response, reference))


@pytest.mark.parametrize(
    ("response", "number"),
    [
        (r"\boxed{$9{,}500$}", 9500),
        (r"\boxed{10,\!000}", 10000),
        ("#### 1 000", 1000),
        (r"\boxed{\$18} for 3 days", 18),
        (r"\boxed{\text{18}} in 3 days", 18),
        ("Plan A: 30 dollars. Plan B: 45. The difference is 15.", 15),
    ],
)
def test_what_was_once_misread(response, number):
    assert final_number(response) == number


@pytest.mark.parametrize("response", ["It takes 18-20 days", "It takes 18\u201320 days", "(3,4)", "2:30", "{1, 2}"])
def test_several_numbers_are_not_one(response):
    assert final_number(response) is None


@pytest.mark.parametrize(
    ("response", "reference"),
    [
        (r"\frac{1}{2}", r"\boxed{\frac{3}{2}}"),
        ("3/4", "1/4"),
        ("9", r"\boxed{9{,}500}"),
        ("2:30", "5:30"),
        ("(2,3)", "(23)"),
        ("It takes 18-20 days", "-20"),
        ("It takes 18-20 days", "20"),
        ("It takes 18-20 days", "18-21"),
        ("(2,3)", "(3,2)"),
        ("[2,3]", "(2,3)"),
        ("#### 2:30 am", "2:30 pm"),
        (r"\boxed{5 \text{ cm}}", "5 kg"),
        (r"\boxed{5 \text{ cm}}", "5 m"),
        (r"\boxed{3} and \boxed{5}", "5"),
        (r"\boxed{3x}", "3"),
        (r"\boxed{2\pi}", "2"),
        (r"\boxed{3\sqrt{2}}", "2"),
        (r"so it is $3\sqrt{2}$.", "3"),
        (r"\boxed{9^{9^{9^9}}}", "9"),
        ("#### 1e999999", "1"),
        ("5%", "0.5"),
    ],
)
def test_other_answers_are_wrong(response, reference):
    assert not _right(response, reference)


@pytest.mark.parametrize(
    ("response", "reference"),
    [
        ("2:30", "2:30"),
        ("(2, 3)", "(2,3)"),
        (r"\boxed{\left(2,\,3\right)}", "(2,3)"),
        ("It takes 18-20 days", "18\u201320"),
        (r"\boxed{\frac{1}{2}}", "0.5"),
        (r"\boxed{\{2, 1\}}", "1, 2"),
        (r"\boxed{3,5}", "3.5"),
        (r"\boxed{3,5}", "5, 3"),
        (r"$x = 3$ or $x = 5$", "3, 5"),
        ("1 m", "100 cm"),
        ("2 hours 30 minutes", "150 minutes"),
        ("#### 2 hours and 30 minutes", "2.5"),
        (r"\boxed{5 \text{ ft } 3 \text{ in}}", "63 inches"),
        ("25%", "25"),
        ("25%", "0.25"),
        (r"\boxed{25\%}", r"\boxed{\frac14}"),
    ],
)
def test_equal_answers_in_other_notations_are_right(response, reference):
    assert _right(response, reference)
    assert _right(reference, response)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        # digits, signs and spaces of Unicode
        ("\uff11\uff18", 18),
        ("\u0661\u0668", 18),
        ("\uff0d18", -18),
        ("\u201318", -18),
        ("\u200b18\u200b", 18),
        ("1\u2009000", 1000),
        ("1\u202f000\u202f000", 10**6),
        ("1\u00a0000,25", 1000.25),
        ("\u00bd", 0.5),
        ("1\u00bd", 1.5),
        ("10\u2076", 10**6),
        ("3\u00d710\u207b\u00b2", Fraction(3, 100)),
        # thousands
        ("9,500", 9500),
        ("1,234,567.89", Fraction(123456789, 100)),
        ("1'234'567", 1234567),
        ("5_000", 5000),
        ("1.234.567", 1234567),
        ("1.234,56", 1234.56),
        ("1,00,000", 100000),
        ("12,5", 12.5),
        ("0,500", 0.5),
        # money, percents, units, words
        (r"\$18.50", 18.5),
        ("-$3", -3),
        ("$-3", -3),
        ("\u20ac1,000", 1000),
        ("18\u20ac", 18),
        ("Rs.500", 500),
        ("50\u00a2", 50),
        ("25 percent", 25),
        (r"25\%", 25),
        ("90^\\circ", 90),
        ("90\u00b0", 90),
        (r"18\text{ miles per hour}", 18),
        ("18km", 18),
        ("18 m/s", 18),
        ("18/hour", 18),
        ("18 a day", 18),
        ("5 million", 5 * 10**6),
        ("-9.9 billion", -99 * 10**8),
        ("18, as shown above", 18),
        # fractions and mixed numbers
        (r"\frac12", 0.5),
        (r"\dfrac{3}{4}", 0.75),
        (r"-\tfrac34", -0.75),
        (r"\frac{-3}{4}", -0.75),
        (r"1\frac{1}{2}", 1.5),
        ("1 1/2 cups", 1.5),
        ("1 and 1/2", 1.5),
        ("-1 1/2", -1.5),
        (r"\frac{1{,}000}{3}", Fraction(1000, 3)),
        (r"0.\overline{3}", Fraction(1, 3)),
        (r"0.1\overline{6}", Fraction(1, 6)),
        # arithmetic
        ("1.5e3", 1500),
        (r"1.5\times10^3", 1500),
        (r"1.5 \cdot 10^{-3}", 0.0015),
        ("6.02 x 10^23", 602 * 10**21),
        ("2^{10}", 1024),
        ("2**10", 1024),
        (r"\sqrt{16}", 4),
        (r"\frac{1}{2}\cdot 6", 3),
        ("3 + 4 = 7", 7),
        ("x = 5", 5),
        # decoration
        ("007", 7),
        ("18.", 18),
        ("18.0", 18),
        (".5", 0.5),
        ("**18**", 18),
        ("*18*", 18),
        ("`18`", 18),
        (r"\mathbf{18}", 18),
        (r"\textbf{18}", 18),
        (r"\color{red}{18}", 18),
        (r"\approx 18.2", 18.2),
        (r"\left(18\right)", 18),
        (r"{18}", 18),
        ("-0", 0),
    ],
)
def test_notations(text, value):
    wanted = Fraction(str(value)) if isinstance(value, float) else value
    for written in (f"#### {text}", rf"\boxed{{{text}}}", rf"It is $\boxed{{{text}}}$.", f"The answer is {text}", text):
        assert final_number(written) == wanted, written


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("The answer is 18 because 20 - 2 = 18 and 2 is left.", 18),
        ("The answer is 18.\nThere are 3 others.", 18),
        ("**Answer:** 18 dollars\n\nLet me check: 2 * 9.", 18),
        ("The final answer is: $\\boxed{18}$. I hope it is correct 100%.", 18),
        ("Final answer: (C) 18", 18),
        ("Answer: 18 and not 20", 18),
        ("#### 2. Compute the total\nSo it is 18.", 18),
        ("#### Step 3: add\nHe has 18", 18),
        ("#### Total: 18", 18),
        ("####\n\n18", 18),
        ("\\boxed{5}, no: \\boxed{18}", 18),
        ("\\boxed{18}. I put it into \\boxed{}", 18),
        ("\\boxed{18", 18),
        ("\\boxed 7", 7),
        ("\\fbox{7}", 7),
        ("\\\\boxed{18}", 18),
        ("\\boxed{\\boxed{18}}", 18),
        ("\\boxed{\\text{Ann has } 18 \\text{ apples}}", 18),
        ("Put your answer in \\boxed{}. So 5 + 13 = 18", 18),
        ("Q: how many? A: 18", 18),
        ("A: 18\nB: 20", 18),
        ("A: 18. That is 3 * 6.", 18),
        ("3 * 6 = 18\n#### 18. That is 3 * 6.", 18),
        ("#### 18 4 14 buys 3", 18),
        ("#### 18 ####", 18),
        ("He made an 18-mile trip", 18),
        ("18 dollars, as before COVID-19", 18),
        ("In section A1 it says 18 and in B2 too", 18),
        ("The trip cost 3 thousand dollars.", 3000),
        ("the ratio is 3/4.", Fraction(3, 4)),
    ],
)
def test_where_the_answer_stands(text, value):
    assert final_number(text) == value


@pytest.mark.parametrize(
    "text",
    [
        r"\boxed{x}, for 3 days",
        r"\boxed{\text{five}}, 5",
        r"\boxed{3x}",
        r"\boxed{\infty}",
        "NaN",
        "inf",
        "#### 1/0",
        "#### 3x + 5",
        "#### 2024-05-06",
        "7 + 3i",
        r"\sqrt{2}",
    ],
)
def test_what_is_no_number_is_not_replaced_by_another(text):
    assert final_number(text) is None


@pytest.mark.parametrize(
    ("text", "stated"),
    [(r"\boxed{x}", False), (r"\boxed{(2,3)}", True), ("The answer is 5", False), ("#### 2. Compute 5\nSo 5.", False)],
)
def test_an_answer_is_stated_where_it_can_be_read(text, stated):
    assert states_answer(text) is stated
