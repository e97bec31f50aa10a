import gzip
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_models import user

from larpo_lib.errors import LarpoError
from larpo_lib.rewards.answers import Scorable, equations_share, final_number, is_right, states_answer


def _item(response, reference="#### 5"):
    return Scorable("p", user("?"), response, reference)


def _lines(path):
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def test_the_annotated_equations_of_published_answers_hold(shared_data):
    answers = [row["answer"] for row in _lines(shared_data("gsm8k/train.jsonl.gz"))]
    annotations = [text for answer in answers for text in re.findall(r"<<(.*?)>>", answer)]
    equations = [text for text in annotations if re.search(r"[\d).][-+*/]", text)]  # <<5=5>> only repeats a number
    assert len(equations) > 23_000
    assert sum(equations_share(text) == 1 for text in equations) / len(equations) > 0.997


def test_published_answers_earn_the_share_for_their_steps(shared_data):
    """The others use unknowns, are rounded by their authors, or write no equation in numbers."""
    answers = [row["answer"] for row in _lines(shared_data("gsm8k/train.jsonl.gz"))[::4]]
    assert sum(equations_share(answer) == 1 for answer in answers) / len(answers) > 0.97
    plain = [equations_share(re.sub(r"<<.*?>>", "", answer)) for answer in answers]
    assert sum(share == 1 for share in plain) / sum(share > 0 for share in plain) > 0.97


@pytest.mark.parametrize(
    ("response", "number"),
    [
        ("so 3 + 4 = 7. #### 7", 7),
        ("#### -3", -3),
        ("#### +3", 3),
        ("####7", 7),
        (r"so $\boxed{42}$ and 7 more words", 42),
        ("The answer is 7.", 7),
        ("He pays $5.25, which is 3 more than $2.25.", 2.25),
        ("3 of 10", 10),
        ("#### 3 and then 4", 3),
        ("first #### 3, no: #### 4", 4),
        ("Section A1: 9", 9),
    ],
)
def test_the_final_number(response, number):
    assert final_number(response) == number


@pytest.mark.parametrize("text", ["", "no number", "####", "A: none"])
def test_a_text_without_number_has_no_final_number(text):
    assert final_number(text) is None


@pytest.mark.parametrize(
    ("response", "reference", "right"),
    [
        ("#### 544", "#### 44", False),
        ("#### 44", "#### 544", False),
        ("#### 4.4", "#### 44", False),
        ("#### 440", "#### 44", False),
        ("#### -44", "#### 44", False),
        ("44 apples make 88", "#### 44", False),
        ("#### 44.0", "#### 44", True),
        ("#### 0.10", "#### .1", True),
        ("#### 1,000", "1000", True),
        ("no number at all", "#### 0", False),
    ],
)
def test_numbers_are_compared_and_never_substrings(response, reference, right):
    assert is_right(_item(response, reference)) is right


@pytest.mark.parametrize("reference", [None, "", "unknown"])
def test_nothing_is_right_without_a_number_to_compare_with(reference):
    with pytest.raises(LarpoError, match="prompt p: the verifier needs a reference that contains a number"):
        is_right(_item("#### 5", reference))


@pytest.mark.parametrize(
    ("text", "stated"),
    [("#### 5", True), ("A: 5", True), (r"\boxed{5}", True), ("5", False), ("####", False), ("#### five", False)],
)
def test_an_answer_is_stated_by_a_mark_before_a_number(text, stated):
    assert states_answer(text) is stated


@given(st.integers(-(10**9), 10**9), st.integers(-(10**9), 10**9))
def test_a_number_equals_itself_alone(one, other):
    assert is_right(_item(f"so #### {one:,}", f"#### {one}"))
    assert is_right(_item(f"#### {one}", f"#### {other}")) == (one == other)


@pytest.mark.parametrize(
    "text",
    [
        "3 + 4 = 7",
        "so 3+4=7.",
        "48/2 = <<48/2=24>>24 clips",
        "16 - 3 - 4 = 9",
        "2 + 3 * 4 = 14",
        "(2 + 3) * 4 = 20",
        "6 x 4/5 = 24/5",
        "7 ÷ 2 = 3.5",
        "2 × 3 = 6",  # noqa: RUF001
        "$90 + $300 = $390",
        "1,000 * 2 = 2,000",
        ".5 * 60 = 30",
        "2 * .25 = .5",
        "-14 + 3 = -11",
        "5 - -3 = 8",
        "10 / 3 = 3.33",
        "2 * 3 = 6 = 12 / 2",
        "2 + 3 = 10 / 2 = 5",
        "- 3 + 4 = 7\n- 7 + 1 = 8",
        "tax 3 + 4 = 7",
        "Total: 3 + 4 = 7 apples",
    ],
)
def test_equations_that_hold(text):
    assert equations_share(text) == 1


@pytest.mark.parametrize(
    "text",
    [
        "3 + 4 = 8",
        "3 + 4 = 77",
        "3 + 4 = 70",
        "(2 + 3) * 4 = 14",
        "2 + 3 * 4 = 20",
        "10 / 3 = 3.4",
        "5 / 15 = 1/2",
        "2 * .25 = 5",
        "5 - 3 = -2",
        "5 / 0 = 0",
    ],
)
def test_equations_that_do_not_hold(text):
    assert equations_share(text) == 0
    assert equations_share(f"{text}. 1 + 1 = 2.") == 0.5


@pytest.mark.parametrize(
    "text", ["", "no equation", "5 = 5", "x = 3", "3 + 4 > 6", "2x + 3 = 9", "3 bags * 4 = 12", "X * 5 + 2 = 12"]
)
def test_what_is_no_equation_of_numbers_is_not_counted(text):
    assert equations_share(text) == 0
    assert equations_share(f"{text}. 1 + 1 = 2.") == 1


def test_every_equation_of_a_chain_counts():
    assert equations_share("2 * 3 = 6 = 12 / 2") == 1
    assert equations_share("2 * 3 = 7 + 0 = 7") == 0.5


def _text(terms, operators):
    return " ".join(part for pair in zip(terms, [*operators, "="], strict=True) for part in map(str, pair))


@given(st.lists(st.integers(1, 99), min_size=2, max_size=6), st.data())
def test_python_agrees_on_what_an_expression_is_worth(terms, data):
    operators = data.draw(st.lists(st.sampled_from("+-*"), min_size=len(terms) - 1, max_size=len(terms) - 1))
    text = _text(terms, operators)
    value = eval(text.removesuffix("="))  # noqa: S307 - digits and operators drawn above
    assert equations_share(f"{text} {value}") == 1
    assert equations_share(f"{text} {value + 1}") == 0


def test_long_texts_take_no_time():
    """A model that babbles must not hang the reranker."""
    for text in ("1+" * 2000, "(" * 4000, "1 = " * 1000, "9" * 4000, "(1+(1+" * 700, "1 * " * 1000 + "2 = 3"):
        assert equations_share(text) == 0


def test_numbers_of_thousands_of_digits_are_wrong_and_no_crash():
    digits = "9" * 5000
    assert not is_right(_item(f"#### {digits}"))
    assert equations_share(f"{digits} + 1 = 3") == 0
