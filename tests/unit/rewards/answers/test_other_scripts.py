# ruff: noqa: RUF001 - full-width punctuation is what is read here
"""Numbers that touch letters of scripts other than Latin, as Chinese and Thai are written; every value is by hand."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_models import user

from larpo_lib.errors import LarpoError
from larpo_lib.rewards.answers import Scorable, equations_share, final_number, is_right, states_answer
from larpo_lib.rewards.answers.expressions import Expressions
from larpo_lib.rewards.answers.mathematics import is_right as is_right_mathematics
from larpo_lib.rewards.answers.plain import plain
from larpo_lib.rewards.rerankers.verifier import VerifierConfig

EXPRESSIONS = Expressions()


def _item(response, reference="42"):
    return Scorable("p", user("?"), response, reference)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        # Chinese
        ("答案是42。", 42),
        ("所以一共有42个苹果。", 42),
        ("因此，小明还剩42元。", 42),
        ("第一步：3 + 39 = 42，再加3，所以答案是45。", 45),
        ("她每天卖 16 - 3 - 4 = 9 个鸡蛋，每个2元，所以每天赚18元。", 18),
        ("答案是４２。", 42),
        ("总价是１，０００元", 1000),
        ("价格：4．5元", 4.5),
        ("气温是-5度", -5),
        ("答案是－５度", -5),
        ("一共1½杯", 1.5),
        ("是1/3。", Fraction(1, 3)),
        ("= **42**个", 42),
        ("赚了￥42元", 42),
        ("共4,200万元", 42_000_000),
        ("共3.5亿人", 350_000_000),
        ("距离是3千米", 3),
        # Japanese
        ("答えは42です。", 42),
        ("3 + 39 = 42 です。したがって、答えは45です。", 45),
        ("売上は3千円です", 3000),
        ("合計ｱﾒ42ｺ", 42),
        # Thai, Lao, Khmer, Myanmar
        ("คำตอบคือ42บาท", 42),
        ("ดังนั้นเธอมี๔๒บาท", 42),
        ("ລາວມີ42ກີບ", 42),
        ("គាត់មាន42រៀល", 42),
        ("သူမှာ42ကျပ်ရှိ", 42),
        # Korean, Arabic, Hebrew, Hindi: with spaces, but not around every number
        ("총42개", 42),
        ("\u0627\u0644\u0645\u062c\u0645\u0648\u0639 3 \u064842", 42),
        ("\u05d1-42", 42),
        ("कुल42रुपये", 42),
    ],
)
def test_a_number_beside_letters_that_name_nothing_is_the_last_number(text, number):
    assert final_number(text) == number


@pytest.mark.parametrize("text", ["x42个", "A4纸", "用Python3编写", "答案是x42。", "Ответ42рубля"])
def test_letters_that_may_name_something_are_part_of_the_number_as_before(text):
    assert final_number(text) is None
    assert final_number("the 42nd of them") == 42


@pytest.mark.parametrize(
    "text",
    ["#### 42个", "#### 42元。", "#### 42（个），每个3元", "#### ￥42", r"\boxed{42个}", r"\boxed{42}个", "#### 42บาท"],
)
def test_a_marked_number_may_have_words_behind_it(text):
    assert final_number(text) == 42
    assert states_answer(text)


def test_the_number_behind_the_answer_is_counts_and_not_those_of_the_next_clause():
    assert final_number("The answer is 42，因为每个3元") == 42
    assert final_number("The answer is 42个苹果，每个3元。") == 42


@pytest.mark.parametrize("heading", ["#### 1. 计算总数", "#### 1、计算总数", "#### 2）合計"])
def test_a_heading_is_no_answer(heading):
    assert final_number(f"{heading}\n3+39=42\n所以答案是42。") == 42


@pytest.mark.parametrize("mode", ["exact", "math", "graded"])
def test_the_verifier_takes_the_last_number_and_no_step_for_the_answer(mode):
    reranker = VerifierConfig(mode=mode).make()
    response = "第一步：3 + 39 = 42，再加3，所以答案是45。"
    right, wrong = reranker.score([_item(response, "45"), _item(response, "42")])
    assert (right, wrong) == pytest.approx((0.9, 0.3) if mode == "graded" else (1, 0))  # an equation holds; no mark


@pytest.mark.parametrize(
    ("response", "reference", "right"),
    [
        (r"所以面积是 $2\sqrt{3}$ 平方厘米。", r"2\sqrt{3}", True),
        (r"\boxed{2\sqrt{3}厘米}", r"2\sqrt{3}", True),
        (r"\boxed{2\sqrt{3}厘米}", r"3\sqrt{2}", False),
        (r"答案是 $\frac{\pi}{2}$。", r"\frac{\pi}{2}", True),
        (r"所以边长为\(\sqrt{2}\)米", r"\sqrt{2}", True),
        ("所以 $3x+1$ 是答案", "3x+1", True),
        ("约是3.14。", "3.14", True),
    ],
)
def test_mathematics_in_chinese_sentences(response, reference, right):
    assert is_right_mathematics(_item(response, reference), Expressions()) is right


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("所以3+4=7个", 1),
        ("共3＋4＝7。", 1),
        ("（3+39）×2=84", 1),
        ("共３＋４＝７", 1),
        ("3+4=7，8+1=9", 1),
        ("每天：3×4=12个，5+6=12", 0.5),
        ("รวม3+4=8บาท", 0),
        ("每个2元×3=6", 0),  # it names a unit
        ("x3+4=7", 0),
        ("每天3+4=8, 每周5+6=11", 0.5),
    ],
)
def test_equations_beside_letters_without_spaces(text, share):
    assert equations_share(text) == share


def test_a_reference_in_words_is_read_as_a_response_is():
    assert is_right(_item("一共42。", "42个"))
    assert not is_right(_item("一共42个，不是43个。", "42个"))


@pytest.mark.parametrize(
    ("text", "number", "wrong"),
    [
        ("答案是3万5千元。", 35_000, 1000),
        ("答案是1亿2000万。", 120_000_000, 10_000),
        ("答案是5百元。", 500, 5),
        ("答えは3兆円です。", 3 * 10**12, 3),
        ("答えは1万5000円です。", 15_000, 5000),
        ("答案是1.5万。", 15_000, "1.5"),
        ("答案是3.2亿元", 320_000_000, "3.2"),
        ("答案是1.23456万", "12345.6", 12_345),
        ("一共1亿2000万5千人", 120_005_000, 5000),
        ("共3千万元", 30_000_000, 3000),
        ("共1千2百万元", 12_000_000, 2_000_000),
        ("共3万亿元", 3 * 10**12, 30_000),
        ("共1万2000亿元", 12 * 10**11, 12_000),
        ("共1千零1夜", 1001, 1000),
        ("共1万零500元", 10_500, 500),
        ("共2萬5000元", 25_000, 5000),
        ("借金は1億2345万6789円です", 123_456_789, 6789),
        ("共１万５千元", 15_000, 1000),
        ("共 3 万 5 千 元", 35_000, 1000),
        (r"\boxed{3万5千}", 35_000, 1000),
        (r"\boxed{3\text{万}5\text{千}元}", 35_000, 1000),
        ("#### 3万5千元", 35_000, 3),
        ("The answer is 3万5千元。", 35_000, 3),
        ("亏了-3万5千元", -35_000, 35_000),
        ("2百，300人", 300, 200_300),  # two numbers, and no thousands
        ("共42，3百50元", 350, 42_350),
        ("共4,500万元", 45_000_000, 5_000_000),
        ("距离是38万千米", 380_000, 38 * 10**7),
        ("重5千克", 5, 5000),
        ("重5百克", 500, 5),
        ("功率是3兆瓦", 3, 3 * 10**12),
        ("增长5个百分点", 5, 500),
        ("力是5千牛", 5, 5000),
        ("共5千欧元", 5000, 5),
        ("答えは4分の3です", "3/4", 3),
        (r"\boxed{4分の3}", "3/4", 3),
        ("占5分之2。", "2/5", 2),
        ("答えは3又4分の1です", "13/4", "1/4"),
        ("一共3又1/2个", "7/2", "1/2"),
        ("答案是2的10次方。", 1024, 10),
        ("答えは2の3乗です", 8, 3),
        ("모두 24조각이고 8조각을 먹었으므로 16조각이 남습니다.", 16, 8),
        ("16만큼 큽니다", 16, 160_000),
        ("重5两", 5, 52),
        ("الجواب 5 و هو صحيح", 5, 55),
        ("الطول 5م", 5, 55),
        ("#### 16ر.س", 16, 6),
        ("الجواب هو 16 د.إ", 16, 6),
        ("#### 5ك.م", 5, 55),
        ("5000+5000 = 1万", 10_000, 1),
    ],
)
def test_digits_and_scales_of_chinese_and_japanese_are_one_number(text, number, wrong):
    assert is_right(_item(text, str(number)))
    assert not is_right(_item(text, str(wrong)))
    assert is_right_mathematics(_item(text, str(number)), EXPRESSIONS)
    assert not is_right_mathematics(_item(text, str(wrong)), EXPRESSIONS)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("答案是2万一千元", (2, 20_000, 1000)),
        ("答案是3万5元", (3, 5, 30_000, 30_005, 35_000)),  # 35,000 to some, 30,005 to others
        ("答案是3万 5", (3, 5, 30_000)),
        ("答案是3十", (3, 30)),
        ("答案是1百5十", (1, 5, 100)),
        ("答案是三万5000元", (5000,)),
        ("答案是1万2万", (1, 2, 10_000, 20_000)),
        ("答案是1万50000", (1, 10_000, 50_000)),
        ("答案是1.5万3000", (15_000, 3000)),
        ("答案是1/2万", ("1/2", "1/20000")),
        ("答案是3*10^4万", (30_000,)),
        ("答案是1万12%", ("12%", 10_000)),
        ("答案是5个亿", (5,)),
        ("答案是3多万", (3,)),
        ("3만 5천원", (3, 5, 35_000)),  # Korean
        ("3만 5000원", (3, 5000)),
        ("3억원", (3,)),
        ("5조 원", (5,)),
        ("答案是三分之2", (2, 3)),
        ("答えは100分の1.5", ("1.5", 100)),
        ("一共3又三分之一", (3,)),
        ("الجواب: 5ص", (5,)),  # an unknown, as y is
        (f"答案是{'9' * 100}万", ("9" * 100,)),
    ],
)
@pytest.mark.parametrize("form", ["3+39=42，{}", r"\boxed{{{}}}", "#### {}", "42. The answer is {}"], ids=repr)
def test_a_number_that_is_part_of_another_is_not_read_and_neither_is_an_earlier_one(text, wrong, form):
    for said in (form.format(text), form.format(text.removeprefix("答案是"))):
        assert final_number(said) is None
        for reference in (42, *wrong):
            assert not is_right(_item(said, str(reference)))
            assert not is_right_mathematics(_item(said, str(reference)), EXPRESSIONS)


def test_the_scale_of_an_expression_is_no_unit_of_it():
    assert not is_right_mathematics(_item(r"\boxed{2\sqrt{3}万}", r"2\sqrt{3}"), EXPRESSIONS)
    assert is_right_mathematics(_item(r"\boxed{2\sqrt{3}千米}", r"2\sqrt{3}"), EXPRESSIONS)


def test_an_arabic_letter_by_itself_is_an_unknown():
    for text, other in (("2س+3", "2"), ("5س", "5"), ("2 س", "2")):
        assert not is_right_mathematics(_item(rf"\boxed{{{text}}}", other), EXPRESSIONS)
    for reference in ("5س", "#### 5س"):
        with pytest.raises(LarpoError, match="reference"):
            is_right(_item("الجواب: 5ص", reference))
    assert is_right_mathematics(_item(r"\boxed{5 ريال}", "5"), EXPRESSIONS)


def test_a_chain_is_digits_in_plain_notation():
    assert plain("1万5000円") == "15000 円"
    assert plain("答案是3万5千元。") == "答案是 35000 元."
    assert plain("2万一千元") == "2万一千元"


def _in_chinese(number, small, zeros):
    """Four digits in each group, and its unit; what could be read otherwise begins with a zero."""
    text = ""
    for power, unit in ((12, "兆"), (8, "亿"), (4, "万"), (0, "")):
        left = number // 10**power % 10_000
        written = ""
        for size, name in ((1000, "千"), (100, "百")):
            if small and left >= size:
                written += f"{left // size}{name}"
                left %= size
        if left:
            zero = bool(text or written) and (left < 10 or (zeros and left < 100))
            written += "零" * zero + str(left)
        text += written + unit * bool(written)
    return text


@given(st.integers(1, 10**16 - 1) | st.integers(1, 10**6), st.booleans(), st.booleans())
def test_numbers_written_with_chinese_units_are_read_as_they_are(number, small, zeros):
    written = _in_chinese(number, small, zeros)
    assert final_number(f"3+39=42，答案是{written}元。") == number, written
    assert final_number(rf"\boxed{{{written}}}") == number, written
