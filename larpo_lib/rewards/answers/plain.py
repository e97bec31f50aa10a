"""Text and LaTeX in one plain notation, so that what reads answers knows one minus, one space and one fraction.

Every pass is linear in the length of the text: patterns that could begin at each of many equal characters have a
lookbehind or follow the pass that makes runs short.
"""

import re
import unicodedata

from larpo_lib.rewards.answers.compounds import BEHIND, NUMERALS, as_digits
from larpo_lib.scripts import NO_NAMES, UNSPACED

FRACTION = "\u2044"
"""Stands between the two whole numbers of a written fraction, which binds more tightly than a division."""

_MINUS = "\u2010\u2011\u2012\u2013\u2212\ufe63\uff0d\u02d7"
_NAMED = {
    **dict.fromkeys(_MINUS, "-"),
    **dict.fromkeys("\u00d7\u2715\u2a2f\u22c5\u2219\u00b7\u2217", "*"),
    **dict.fromkeys("\u00f7\u2215", "/"),
    **dict.fromkeys("\u2018\u2019\u02bc\u2032", "'"),
    **dict.fromkeys("\u00b0\u00ba", " degrees "),
    **dict.fromkeys("\u2014\u2022\u2192\u21d2\u2234\u27f9", " ; "),
    "\u066b": ".",
    "\u066c": ",",
    "\u3002": ". ",
    "\u3001": ", ",
    "\u221a": "\\sqrt ",
    "\u03c0": "\\pi ",
    "\u03b8": "\\theta ",
    "\u221e": "\\infty ",
    "\u2264": "\\le ",
    "\u2265": "\\ge ",
    "\u2260": "\\ne ",
    "\u222a": "\\cup ",
    "\u2229": "\\cap ",
    "\u2208": "\\in ",
    "\u2205": "\\emptyset ",
    "\u00b1": "\\pm ",
    "\u2248": "\\approx ",
    FRACTION: FRACTION,
}
_SUPERSCRIPTS = re.compile("[\u207b\u2070\u00b9\u00b2\u00b3\u2074-\u2079]+")
_FROM_SUPERSCRIPT = str.maketrans("\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079", "-0123456789")


class _Characters(dict[int, str]):
    """What stands for a character; made when it is first met."""

    def __missing__(self, code: int) -> str:
        self[code] = found = _plain_character(chr(code))
        return found


def _plain_character(character: str) -> str:
    digit = unicodedata.decimal(character, None)
    if character.isascii() or character in _NAMED:
        return _NAMED.get(character, character)
    if digit is not None:
        return str(digit)
    if character.isspace():
        return " "
    compatible = unicodedata.normalize("NFKC", character)
    if unicodedata.decomposition(character).startswith("<fraction>"):
        return f" {compatible}"
    zero_width = unicodedata.category(character) == "Cf"
    return "" if zero_width else compatible if compatible.isascii() else character


_CHARACTERS = _Characters()

_RULES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"(?<!\\)\\!", ""),
        (r"(?<!\\)\\[,;:> ]|~|\\(?:q?quad|thinspace|enspace|medspace|thickspace)(?![A-Za-z])", " "),
        (r"\\[hv]space\*? ?\{[^{}]{0,40}\}", " "),
        (r"\\([%#&_*])", r"\1"),
        (r"(?<=\d)\{,\}(?=\d)", ""),
        (r"\{([,.])\}", r"\1"),
        (r"\\(?:left|right|[bB]igg?[lrm]?)(?![A-Za-z])\.?", ""),
        (r"\\(?:displaystyle|textstyle|limits|rm|bf|it|tt|sf)(?![A-Za-z])", " "),
        (r"\\[dtc]frac(?![A-Za-z])", r"\\frac"),
        (r"\\(?:text)?color ?\{[^{}]{0,40}\}", ""),
        (r"\\(?:cdot|times|ast)(?![A-Za-z])", "*"),
        (r"\\div(?![A-Za-z])", "/"),
        (r"\^ ?(?:\{ ?\\circ ?\}|\\circ(?![A-Za-z]))|\\(?:degree|textdegree)(?![A-Za-z])", " degrees "),
        (r"\\(?:euro|pounds|yen|textdollar)(?![A-Za-z])", "$"),
        (r"\\(?:leq|leqslant)(?![A-Za-z])", r"\\le "),
        (r"\\(?:geq|geqslant)(?![A-Za-z])", r"\\ge "),
        (r"\\neq(?![A-Za-z])", r"\\ne "),
        (r"\\sim(?:eq)?(?![A-Za-z])", r"\\approx "),
        (r"\\[()\[\]]", " "),
    )
)
_ESCAPED_TWICE = re.compile(r"(?<!\\)\\{2,}+(?=[A-Za-z,!;:$%{}])")
_WRAPPER = (
    r"\\(?:text(?:bf|it|rm|normal|sf|tt|sc|up)?|math(?:rm|bf|it|sf|tt|normal)|[mhf]box|operatorname\*?|boxed|fbox|"
    r"underline|boldsymbol|bm|emph|ensuremath) ?"
)
_WRAPPED = re.compile(_WRAPPER + r"\{([^{}]*+)\}")
_WRAPS_BRACES = re.compile(_WRAPPER + r"(?=\{)")
_ANY_LATEX = re.compile(r"[\\{~]")
_WHOLE = r"(?:\{ ?(\d++) ?\}|(\d))"
_SIMPLE_FRACTION = re.compile(rf"\\frac ?{_WHOLE} ?{_WHOLE}")
_NESTED = 4
_BLANKS = re.compile(r"[^\S\n]+")
_LINES = re.compile(r" ?\n[ \n]*+")
_BOLD = re.compile(r"(?<!\d)\*\*|\*\*(?!\d)")
_TIGHT_CURRENCY = re.compile(r"(?<=[-+])[$\u20ac\u00a3\u00a5\u20b9] ?(?=[\d.])")
_CURRENCY = re.compile(r"[$\u20ac\u00a3\u00a5\uffe5\u20b9\u20a9\u20bd\u20ba\u20aa\u20ab\u0e3f`]|\bRs\.? ?(?=\d)")
_ABBREVIATION = re.compile(r"(?<=[A-Za-z])\.(?=\d)")
_TOUCHING = re.compile(
    rf"(?<=[{UNSPACED}])(?=[-+][\d.])|(?<=[{NO_NAMES}])(?<![{NUMERALS}])(?<!分[之の])(?=\.?\d)"
    rf"|(?<=\d)(?!{BEHIND})(?=[{NO_NAMES}])"
)


def plain(text: str) -> str:
    """The text with ASCII digits, signs and spaces, without formatting, mathematics' delimiters and signs of currency.

    A space stands between a number and a letter that is no part of it, as in Chinese, which is written without spaces.
    `3万5千` becomes `35000`; a numeral that cannot be read keeps touching its letters.
    LaTeX that has no plain form stays, such as `\\sqrt`. Lines stay lines; other white space becomes one space.
    `\\frac{3}{4}` and a fraction that is one character become two whole numbers around FRACTION.
    """
    text = with_plain_signs(text)
    if "**" in text:
        text = _BOLD.sub("", text).replace("**", "^")
    text = _CURRENCY.sub(" ", _TIGHT_CURRENCY.sub("", text))
    text = _ABBREVIATION.sub(". ", text)
    if not text.isascii():
        text = _TOUCHING.sub(" ", as_digits(text))
    return _LINES.sub("\n", _BLANKS.sub(" ", text)).strip()


def with_plain_signs(text: str) -> str:
    """The text with ASCII digits, signs and spaces, and without LaTeX that has a plain form; a part of `plain`."""
    if not text.isascii():
        text = _SUPERSCRIPTS.sub(lambda found: "^{" + found[0].translate(_FROM_SUPERSCRIPT) + "}", text)
        text = text.translate(_CHARACTERS)
    text = _LINES.sub("\n", _BLANKS.sub(" ", text))
    return _without_latex(text) if _ANY_LATEX.search(text) else text


def _without_latex(text: str) -> str:
    if "\\begin" not in text:  # whose rows end in two of them
        text = _ESCAPED_TWICE.sub(r"\\", text)
    text = text.replace("\\$", "$")
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    for _ in range(_NESTED):
        text = _SIMPLE_FRACTION.sub(lambda m: f" {m[1] or m[2]}{FRACTION}{m[3] or m[4]}", text)
        text, count = _WRAPPED.subn(r" \1 ", text)
        if not count:
            break
    text = _WRAPS_BRACES.sub("", text)
    return _BLANKS.sub(" ", text)
