"""Numbers of Chinese and Japanese that join digits and words, such as `3万5千` and `4分の3`, as digits alone.

What has no one meaning, such as `3万5` (35,000 or 30,005), and what has Korean's scales, stays as it is: no number.
"""

import re
from decimal import Decimal
from fractions import Fraction

from larpo_lib.scripts import NO_NAMES

_KOREAN = "백천만억조"
NUMERALS = f"〇零一二三四五六七八九十两兩百千万萬亿億兆拾佰仟{_KOREAN}"
"""Letters that are part of a number beside them."""

_POWERS = {"百": 2, "千": 3, "万": 4, "萬": 4, "亿": 8, "億": 8, "兆": 12}
_NO_SCALE = (
    r"千(?:[米克瓦卡帕赫焦伏牛]|欧(?!元)|字节|比特)|兆(?:[瓦赫帕焦伏]|欧(?!元)|字节|比特)|百帕"
    rf"|조[각건합항]|만큼|两(?![{NUMERALS}])"
)
"""The `kilo`, `mega` and `hecto` before metre, gram, watt, calorie, pascal, hertz, joule, volt, ohm, newton, byte and
bit; Korean words for slice, condition, combination, clause and `as many as`; and the liang, a weight."""
_UNKNOWN = rf"(?:(?<! )(?![جغلم])[\u0621-\u064a]| ?[سصع])(?!\.? ?[{NO_NAMES}])"
"""An Arabic letter by itself, which is an unknown of school algebra. Gram, pound, litre and metre are units, and with
a dot and another letter it is an abbreviation, such as that of the riyal."""
BEHIND = (
    rf"(?:(?!{_NO_SCALE})[{NUMERALS}]|(?! ?(?:{_NO_SCALE}))[ 多余餘几幾来]?[百千万萬亿億兆]|个[亿億]|{_UNKNOWN}"
    rf"| ?分[之の] ?[\d{NUMERALS}]|又[{NUMERALS}])"
)
"""What makes of a number before it another one."""

_SCALE = rf"(?!{_NO_SCALE}|[百千万萬]分[之点點比])[百千万萬亿億兆]"
_NUMBER = r"(?:\d{1,3}+(?:,\d{3})++(?!\d)|\d{1,3}+(?: \d{3})++(?!\d)|\d++)(?:\.\d++)?"
_SCALED = rf" ?(?:{_SCALE})++"
_CHAIN = re.compile(
    rf"(?<![A-Za-z_/\u2044^.\d{NUMERALS}])(?<!\d[. ])(?!(?<=\d,)\d{{3}}(?!\d))(?<![/\u2044^] )"
    rf"({_NUMBER}{_SCALED}(?: ?[零〇]? ?{_NUMBER}{_SCALED})*+(?P<last> ?[零〇]? ?{_NUMBER})?+)(?P<comma>,(?=\d))?"
)
_PIECE = re.compile(rf"(?P<zero>[零〇])?(?P<number>{_NUMBER})|(?P<scale>[百千万萬亿億兆])")
_DECIMALS_INSIDE = re.compile(r"\.\d+\D+\d")
_LONE_DIGIT = re.compile(r"\d(?:\.|$)")
_GOES_ON = re.compile(r" ?[/\u2044^:%!]")
_BEHIND = re.compile(BEHIND)
_KOREAN_GOES_ON = re.compile(rf"(?<=\d[{_KOREAN}]) (?=\d)")
_FRACTION = re.compile(
    rf"(?<![\d{NUMERALS}.,/])(?<!時間)(?<!小时)(\d++) ?分[之の] ?(\d++)(?![\d{NUMERALS}.,/]?[\d{NUMERALS}]|倍)"
)
_MIXED = re.compile(rf"(?<![\d{NUMERALS}.,/])(\d++) ?又 ?(?=\d++ ?/ ?\d)")
_POWER = re.compile(r"(?<![\d.,/])(\d++) ?[的の] ?(\d++) ?(?:次方|次幂|乗)")
_LONGEST = 60
"""Characters."""


def as_digits(text: str) -> str:
    """The text with `1500` for `1千5百`, `3/4` for `4分の3` and `2^10` for `2的10次方`, in plain notation."""
    text = _POWER.sub(r"\1^\2", _MIXED.sub(r"\1 ", _FRACTION.sub(r"\2/\1", text)))
    return _KOREAN_GOES_ON.sub("", _CHAIN.sub(_digits, text))


def _digits(found: re.Match[str]) -> str:
    chain = found[1].replace(" ", "")
    ends = _BEHIND.match(found.string, found.end(1)) or (found["last"] and _GOES_ON.match(found.string, found.end(1)))
    read = None if ends or len(chain) > _LONGEST or _DECIMALS_INSIDE.search(chain) else _value(chain)
    if read is None:
        return found[0].replace(" ", "")
    places = len(chain)
    digits = f"{Decimal(f'{int(read * 10**places)}e-{places}'):f}".rstrip("0").removesuffix(".")
    listed = found.string[max(found.start() - 1, 0)] == ","
    return " " * listed + digits + (", " if found["comma"] else "")


def _value(chain: str) -> Fraction | None:
    """The sum, where scales fall and each number is less than the scale before it."""
    parts: list[tuple[Fraction, int]] = []  # with the power of ten of their scales, which fall
    number = lone = False
    for piece in _PIECE.finditer(chain):
        if piece["number"]:
            digits = piece["number"].replace(",", "")
            number, lone = True, bool(parts) and not piece["zero"] and _LONE_DIGIT.match(digits) is not None
            parts.append((Fraction(digits), 0))
        else:
            power = _POWERS[piece["scale"]]
            taken = [value for value, below in parts if below < power]
            if not taken or (lone and len(taken) > 1) or (power < 4 and not (number and len(taken) == 1)):
                return None
            parts[len(parts) - len(taken) :] = [(sum(taken, Fraction()) * 10**power, power)]
            number = lone = False
        if len(parts) > 1 and parts[-1][0] >= 10 ** parts[-2][1]:
            return None
    return None if lone else sum((value for value, _ in parts), Fraction())
