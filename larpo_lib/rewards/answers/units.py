"""Units of measurement that answers are given in."""

import re
from fractions import Fraction

_PREFIXES = {"k": Fraction(10**3), "c": Fraction(1, 100), "m": Fraction(1, 1000)}
_LONG = {"kilo": "k", "centi": "c", "milli": "m"}


def _metric(dimension: str, names: str, short: str) -> dict[str, tuple[str, Fraction]]:
    found = {name: (dimension, Fraction(1)) for name in (*names.split(), short)}
    for prefix, factor in _PREFIXES.items():
        found[prefix + short] = (dimension, factor)
    for long, prefix in _LONG.items():
        found |= {long + name: (dimension, _PREFIXES[prefix]) for name in names.split()}
    return found


UNITS: dict[str, tuple[str, Fraction]] = {
    **_metric("length", "meter meters metre metres", "m"),
    **_metric("mass", "gram grams", "g"),
    **_metric("volume", "liter liters litre litres", "l"),
    **dict.fromkeys(("inch", "inches", "in"), ("length", Fraction(254, 10000))),
    **dict.fromkeys(("foot", "feet", "ft"), ("length", Fraction(3048, 10000))),
    **dict.fromkeys(("yard", "yards", "yd"), ("length", Fraction(9144, 10000))),
    **dict.fromkeys(("mile", "miles", "mi"), ("length", Fraction(1609344, 1000))),
    **dict.fromkeys(("ounce", "ounces", "oz"), ("mass", Fraction(28349523125, 10**9))),
    **dict.fromkeys(("pound", "pounds", "lb", "lbs"), ("mass", Fraction(45359237, 10**5))),
    **dict.fromkeys(("second", "seconds", "sec", "secs", "s"), ("time", Fraction(1))),
    **dict.fromkeys(("minute", "minutes", "min", "mins"), ("time", Fraction(60))),
    **dict.fromkeys(("hour", "hours", "hr", "hrs", "h"), ("time", Fraction(3600))),
    **dict.fromkeys(("day", "days"), ("time", Fraction(86400))),
    **dict.fromkeys(("week", "weeks"), ("time", Fraction(604800))),
    **dict.fromkeys(("am", "a.m"), ("before noon", Fraction(1))),
    **dict.fromkeys(("pm", "p.m"), ("after noon", Fraction(1))),
    **dict.fromkeys(("degree", "degrees"), ("angle", Fraction(1))),
    **dict.fromkeys(("dollar", "dollars"), ("money", Fraction(100))),
    **dict.fromkeys(("cent", "cents"), ("money", Fraction(1))),
}
"""Dimension, and how many of the dimension's own unit it is: metres, grams, litres, seconds, degrees, cents."""

_RATE = re.compile(r"([a-z. ]+?)(?: ?/ ?| per )([a-z]+)")
_RATES = {"mph": "miles per hour", "kph": "km per hour", "kmh": "km per hour"}
_POWERS = (("square ", 2), ("sq ", 2), ("sq. ", 2), ("cubic ", 3), ("cu ", 3), ("cu. ", 3))
_POWER = re.compile(r"([a-z]+) ?\^ ?\{? ?([23]) ?\}?")


def unit(words: str) -> tuple[str, Fraction] | None:
    """Dimension and size of a unit such as `cm`, `cm^2`, `square feet` or `km/h`; None where the words are another."""
    words = words.strip(" .").lower()
    rate = _RATE.fullmatch(_RATES.get(words, words))
    if rate:
        counted, each = unit(rate[1]), unit(rate[2])
        return (f"{counted[0]}/{each[0]}", counted[1] / each[1]) if counted and each else None
    power = 1
    for prefix, of in _POWERS:
        if words.startswith(prefix):
            words, power = words.removeprefix(prefix), of
    raised = _POWER.fullmatch(words)
    if raised:
        words, power = raised[1], int(raised[2])
    known = UNITS.get(words)
    if known is None:
        return None
    return (known[0] if power == 1 else f"{known[0]}^{power}"), known[1] ** power
