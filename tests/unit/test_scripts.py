"""The ranges of letters agree with the names that Unicode gives its characters."""

import re
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from larpo_lib.scripts import NO_NAMES, UNSPACED, WORD

IS_UNSPACED, NAMES_NOTHING = re.compile(f"[{UNSPACED}]"), re.compile(f"[{NO_NAMES}]")
BLOCKS = ("THAI", "LAO", "MYANMAR", "KHMER", "HIRAGANA", "KATAKANA", "HALFWIDTH KATAKANA", "BOPOMOFO")
IDEOGRAPHS = ("CJK UNIFIED IDEOGRAPH", "CJK COMPATIBILITY IDEOGRAPH")


def test_letters_are_in_the_ranges_of_their_scripts_and_digits_of_unspaced_ones_are_not() -> None:
    letters = [chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) in ("Lo", "Lm", "Ll", "Lu")]
    assert len(letters) > 130_000
    for letter in letters:
        name = unicodedata.name(letter, "")
        if name.startswith(("LATIN ", "GREEK ", "CYRILLIC ", "MATHEMATICAL ")):
            assert not NAMES_NOTHING.match(letter), name
        if name.startswith(
            ("HANGUL SYLLABLE", "ARABIC LETTER", "HEBREW LETTER", "DEVANAGARI LETTER", "BENGALI LETTER")
        ):
            assert ord(letter) > 0xFFFF or NAMES_NOTHING.match(letter), name
        is_named = name.startswith((*(f"{block} LETTER" for block in BLOCKS), "THAI CHARACTER", *IDEOGRAPHS))
        assert not is_named or IS_UNSPACED.match(letter), name
    digits = [chr(code) for code in range(0x110000) if unicodedata.decimal(chr(code), None) is not None]
    assert [digit for digit in digits if IS_UNSPACED.match(digit)] == []


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_texts_without_these_scripts_have_the_words_that_they_had(text: str) -> None:
    text = IS_UNSPACED.sub(" ", text)
    assert re.findall(WORD, text) == re.findall(r"\b\w+\b", text)


def test_vowel_signs_are_letters_here_and_signs_of_currency_are_not() -> None:
    assert all(IS_UNSPACED.match(sign) for sign in "\u0e37\u0eb7\u1030\u17bb")
    assert not any(IS_UNSPACED.match(sign) for sign in "\u0e3f\u17db\u3002\u3001\uff0c\uff1a\u300c12aA\u00e9\uc5b4")
