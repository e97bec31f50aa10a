import json
import re
import time
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_punkt import write_punkt

from larpo_lib.rewards.rules import sentences
from larpo_lib.rewards.rules.formats import BulletList, Placeholders, Title
from larpo_lib.rewards.rules.ifeval import INSTRUCTIONS, followed, read_instructions, variants
from larpo_lib.rewards.rules.languages import language_of

REFERENCE = json.loads(Path(__file__).with_name("ifeval_reference.json").read_text("utf-8"))


@pytest.fixture
def punkt(tmp_path, monkeypatch):
    import nltk

    monkeypatch.setattr(nltk.data, "path", [str(write_punkt(tmp_path))])
    sentences._punkt.cache_clear()
    yield
    sentences._punkt.cache_clear()


@pytest.mark.parametrize("mode", ["strict", "loose"])
def test_verdicts_are_those_of_lm_eval(mode, punkt):
    told = defaultdict(set)
    for row in REFERENCE["rows"]:
        ours = followed(read_instructions(REFERENCE["names"], row["kwargs"]), row["response"], loose=mode == "loose")
        assert ours == [bool(each) for each in row[mode]], row
        for name, verdict in zip(REFERENCE["names"], ours, strict=True):
            told[name].add(verdict)
    assert told.keys() == INSTRUCTIONS.keys()
    assert {name for name, verdicts in told.items() if len(verdicts) < 2} == set()


def test_a_loose_response_loses_lines_or_stars():
    assert variants("*a*\nb\nc") == ["*a*\nb\nc", "b\nc", "*a*\nb", "b", "a\nb\nc", "a\nb"]
    lowercase = read_instructions(["change_case:english_lowercase"], [{}])
    text = "Sure! Here you go:\nthe ferry waits for nobody and leaves at seven in the morning"
    assert followed(lowercase, text, loose=False) == [False]
    assert followed(lowercase, text, loose=True) == [True]


def _title(text):
    return any(found.lstrip("<").rstrip(">").strip() for found in re.findall(r"<<[^\n]+>>", text))


def _bullets(text):
    return len(re.findall(r"^\s*\*[^\*].*$", text, re.MULTILINE)) + len(re.findall(r"^\s*-.*$", text, re.MULTILINE))


@given(st.lists(st.sampled_from([*"[]<>*-a \n\r\t", "\x1c", "\u2028"]), max_size=12).map("".join))
def test_forms_are_found_as_by_the_expressions_of_the_paper(text):
    """Which take a time that grows with the square of the response's length."""
    assert Title().follows(text) == _title(text)
    assert BulletList(num_bullets=_bullets(text)).follows(text)
    places = len(re.findall(r"\[.*?\]", text))
    assert Placeholders(num_placeholders=places).follows(text)
    assert not Placeholders(num_placeholders=places + 1).follows(text)


@pytest.mark.parametrize("text", ["[" * 40_000, "\n" * 40_000, "<<" * 20_000])
def test_no_response_takes_long(text):
    start = time.process_time()
    Placeholders(num_placeholders=1).follows(text)
    BulletList(num_bullets=1).follows(text)
    Title().follows(text)
    assert time.process_time() - start < 0.5


def test_empty_text_follows_nothing():
    no_comma = read_instructions(["punctuation:no_comma"], [None])
    assert followed(no_comma, " \n", loose=False) == followed(no_comma, "", loose=True) == [False]


@pytest.mark.parametrize(
    ("ids", "arguments", "told"),
    [
        ([], [], "has no list of instructions"),
        ("punctuation:no_comma", [{}], "has no list of instructions"),
        (["punctuation:no_comma"], [], "has 1 instructions, and not as many tables of arguments"),
        (["punctuation:no_comma"], "[{]", "its arguments are text, but no JSON"),
        (["punctuation:no_commas"], [{}], "has the instruction 'punctuation:no_commas', which is none of change_case"),
        (["punctuation:no_comma"], [{"num_words": 3}], "punctuation:no_comma: num_words: Extra inputs"),
        (["length_constraints:number_words"], [{"num_words": 3}], "number_words: relation: Field required"),
        (
            ["length_constraints:number_words"],
            [{"num_words": -1, "relation": "at least"}],
            "num_words: Input should be",
        ),
        (["length_constraints:number_words"], [{"num_words": 3, "relation": "exactly"}], "'less than' or 'at least'"),
        (["keywords:existence"], [{"keywords": ["(c"]}], "keywords.0: is read as a regular expression, and is none"),
        (["keywords:existence"], [{"keywords": []}], "keywords: List should have at least 1"),
        (["language:response_language"], [{"language": "klingon"}], "language: no language that langdetect knows"),
        (
            ["length_constraints:nth_paragraph_first_word"],
            [{"num_paragraphs": 2, "nth_paragraph": 3, "first_word": "so"}],
            "there is no paragraph 3 among 2",
        ),
    ],
)
def test_what_no_response_could_be_checked_by_is_told(ids, arguments, told):
    with pytest.raises(ValueError, match=re.escape(told)):
        read_instructions(ids, arguments)


def test_arguments_may_be_json_and_null():
    row = json.dumps([{"num_words": 2, "relation": "at least", "keyword": None}, None])
    instructions = read_instructions(["length_constraints:number_words", "punctuation:no_comma"], row)
    assert followed(instructions, "one two", loose=False) == [True, True]
    assert followed(instructions, "one, ", loose=False) == [False, False]


def test_a_number_of_0_is_a_number():
    """lm-eval would leave it out, and draw another one by chance."""
    none = read_instructions(["keywords:frequency"], [{"keyword": "so", "frequency": 0, "relation": "less than"}])
    assert followed(none, "no", loose=False) == [False]


def test_a_letter_may_be_another_sign():
    """IFEval's data ask for `#`, for which Google's code would draw a letter by chance."""
    signs = read_instructions(
        ["keywords:letter_frequency"], [{"letter": "#", "let_frequency": 2, "let_relation": "at least"}]
    )
    assert followed(signs, "#one #two", loose=False) == [True]
    assert followed(signs, "#one two", loose=False) == [False]


def test_a_language_is_told_the_same_way_every_time():
    text = "ja no si"
    assert len({language_of.__wrapped__(text) for _ in range(5)}) == 1
    assert language_of("12 34") is None
