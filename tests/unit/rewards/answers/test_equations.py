"""Equations in other signs, in LaTeX, and beside what is not read; the values are reckoned by hand."""

import gzip
import json
import re
import time

import pytest

from larpo_lib.rewards.answers import equations_share


@pytest.mark.parametrize("sign", ["*", "\u00b7", "\u22c5", "\u2217", "\u00d7", r"\times", r"\cdot", r"\*"])
@pytest.mark.parametrize("around", ["{}", "${}$", r"\({}\)", r"\[ {} \]", "so {}.", "**{}**"])
def test_every_sign_of_a_product_is_one(sign, around):
    assert equations_share(around.format(f"2 {sign} 3 + 4 = 10")) == 1
    assert equations_share(around.format(f"2 {sign} 3 + 4 = 7")) == 0


@pytest.mark.parametrize("minus", ["-", "\u2212", "\u2013", "\u2011"])
def test_every_minus_is_one(minus):
    assert equations_share(f"10 {minus} 3 + 2 = 9") == equations_share(f"3 {minus} 10 = {minus}7") == 1
    assert equations_share(f"10 {minus} 3 + 2 = 5") == 0


LAYOUT = ("newline", "hline", "bullet", "ldots", "dots", "noindent", "small", "item", "Rightarrow", "leq", "therefore")


@pytest.mark.parametrize(
    ("left", "right", "wrong"),
    [
        (r"\frac{48}{2}", "24", "25"),
        (r"\frac{6}{2} + 1 + 1", "5", "4"),
        (r"9 \times \$2 + 1", r"\$19", r"\$3"),
        (r"1{,}000 \cdot 2 + 1", "2{,}001", "2,002"),
        ("\u20ac5 + \u20ac3 + 2", "\u20ac10", "\u20ac5"),
        ("2\u00a0\u00d7\u202f3 + 4", "10", "7"),
        ("1 1/2 + 1", "2 1/2", "1.5"),
        ("2\u00bd + 1", "3.5", "1.5"),
        (r"2\frac{1}{2} * 2", "5", "1"),
        ("3 + 4", r"\boxed{7}", r"\boxed{1}"),
        ("3 + 4", "**7**", "**8**"),
        ("$-14 + 3", "-11$", "-17$"),
        ("**Step 1** 3 + 4", "7", "8"),
        ("\u24603 + 4", "7", "17"),
        (r"\therefore 3 + 4", r"7 \Rightarrow 8", "1"),
        (r"\text{Total} = 3 + 4", "7", "8"),
        ("a total of 3 + 4", "7 of them", "8 of them"),
        ("3 + 4", "7 - so he has 7", "8"),
        ("3 + 4", "7 (for 2 days)", "8"),
        ("3 + 4", "7(2 days)", "8(2 days)"),
        ("In 2020 300 + 5", "305", "300"),
        ("1,500 300 + 5", "305", "300"),
        ("3 / 12", "25%", "26%"),
        ("3 / 12", r"25\%", "4%"),
        ("100 - 75", "25%", "24%"),
        ("1/3", "33.3%", "33.2%"),
        ("1/4", "25 percent", "20 percent"),
        *((rf"X \{command} 3 + 4", "7", "8") for command in LAYOUT),
    ],
)
def test_equations_in_other_notations(left, right, wrong):
    assert equations_share(f"{left} = {right}") == 1
    assert equations_share(f"{left} = {wrong}") == 0
    assert equations_share(f"{left} = {wrong}\n1 + 1 = 2.") == 0.5


@pytest.mark.parametrize(
    "text",
    [
        *(f"2{power} + 1 + 1 = {value}" for power in ("^3", "^{3}", "**3", " ** 3", "\u00b3") for value in (10, 5)),
        "2^3 + 1 = 4",
        "2^-1 + 1 = 1.5",
        "2^(1/2) + 1 + 1 = 3",
        "\u221a9 + 1 + 1 = 5",
        "\u221a 9 + 1 = 4",
        r"\sqrt{9} + 1 + 1 = 5",
        r"\sqrt 9 + 1 = 4",
        r"\frac{6}{1.5} + 1 + 1 = 6",
        r"\sin 30 + 1 = 1.5",
        r"\sin^2 90 + 1 = 2",
        r"\log_2 8 + 1 = 4",
        r"\log_{10} 1000 + 1 = 4",
        r"\log(100) + 1 + 1 = 4",
        r"\ln 1 + 1 = 1",
        r"\max(3, 4) + 1 + 1 = 6",
        r"\operatorname{lcm}(4, 6) + 1 + 1 = 14",
        r"\binom{4}{2} + 1 + 1 = 8",
        r"\sum_{i=1}^{3} 2 + 1 = 7",
        r"17 \bmod 5 + 1 = 3",
        r"3 + 4 = 2 \pmod{5}",
        "5 + 5 = 20% * 50",
        "5 + 5 = 20 percent of 50",
        "3! + 1 + 2 = 9",
        "20% of 50 + 5 = 15",
        r"20\% of 50 + 5 = 15",
        "20 percent of 50 + 5 = 15",
        "1/3 of 12 + 3 = 7",
        "2 times 3 + 4 = 10",
        "12 divided by 3 + 4 = 8",
        "[3 + 1] * 2 + 1 = 9",
        "$2 * 3$ + 4 + 1 = 11",
        "450 000 + 1 = 450 001",
        "1 + 5 \u00b1 3 + 1 = 9",
        "4 + 4 = 2^3",
        "4 + 4 = 2\u00b3",
        "1 + 3 = 2**2",
        "2 + 2 = 2 \\sqrt{4}",
        r"1 + 2 = 1 + \frac{4.0}{2}",
        "2 + 6 = 2(3 + 1)",
        "8 + 2 = 4 * (1 + (1.5))",
        "5 + 5 = 20% of 50",
        "2 + 3 = 4 + x",
        "1 + 2 = 5 - y",
        "600 * 30 = 18 000",
    ],
)
def test_no_part_of_what_is_not_read_is_an_equation(text):
    """Right or wrong, it does not count."""
    assert equations_share(text) == 0
    assert equations_share(f"{text}\n1 + 1 = 2.") == 1


def test_percentages_end_a_chain():
    """A solution of GSM8K has the first."""
    assert equations_share("4/5 * 1/4 = 1/5 = 20%") == 1
    assert equations_share("4/5 * 1/4 = 1/5 = 5%") == 0.5
    assert equations_share("4/5 * 1/4 = 20%, so 20% * 50 = 3") == 1


def test_a_chain_is_read_as_far_as_it_is_numbers():
    assert equations_share("2 * 3 = 6 = 5 + x") == 1


@pytest.mark.parametrize("sign", ["\u00b7", "\u00d7", r"\times ", r"\cdot ", r"\*"])
def test_published_solutions_earn_the_same_in_every_sign(shared_data, sign):
    with gzip.open(shared_data("gsm8k/train.jsonl.gz"), "rt", encoding="utf-8") as file:
        solutions = [re.sub(r"<<.*?>>", "", json.loads(line)["answer"]) for line in file][:1500]
    for solution in solutions:
        text = solution.replace("*", sign).replace("-", "\u2212")
        assert equations_share(text) == equations_share(solution), solution


_LONG = 200_000


@pytest.mark.parametrize(
    "run",
    [
        "1 1/2 ",
        "\\a",
        "\\arrow",
        "2^",
        "**",
        "1**",
        " of ",
        "1 of ",
        "\\frac{1}{2}",
        "1 + x = ",
        "\u2212",
        "1(",
        "1(2 ",
        "\\log_",
        "\\log_2",
        "\\log_{",
        "a" * 99,
    ],
)
def test_long_texts_are_read_in_bounded_time(run):
    text = "\\" + run * (_LONG // len(run)) + " 1 + 1 = 2"
    start = time.process_time()
    equations_share(text)
    assert time.process_time() - start < 2
