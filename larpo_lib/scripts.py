"""Letters of scripts, as what stands between the brackets of a regular expression, and words as one."""

UNSPACED = (
    r"\u0e01-\u0e3a\u0e40-\u0e4e"  # Thai
    r"\u0e80-\u0ecf\u0edc-\u0edf"  # Lao
    r"\u1000-\u103f\u1050-\u108f\u109a-\u109d\ua9e0-\ua9ef\ua9fa-\ua9fe\uaa60-\uaa7f"  # Myanmar
    r"\u1780-\u17d3\u17d7\u17dc\u17dd"  # Khmer
    r"\u3005-\u3007\u3021-\u3029\u3031-\u3035\u303b\u303c"  # marks that repeat an ideograph, and zero
    r"\u3041-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f\U0001aff0-\U0001b16f"  # kana
    r"\u3105-\u312f\u31a0-\u31bf"  # Bopomofo
    r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003fffd"  # ideographs
)
"""Of scripts that write no spaces between words, with their vowel signs and without their digits."""

WORD = rf"[{UNSPACED}]|[^\W{UNSPACED}]+"
"""A word; of scripts without spaces, where a run of letters may be a whole clause, each character is one."""

NO_NAMES = (
    r"\u0531-\u065f\u066e-\u06ef\u06fa-\u1c7f\ua8e0-\uab2f\uabc0-\ud7ff\u3131-\u318e\ufb1d-\ufdff\ufe70-\ufefc"
    + UNSPACED
)
"""Of scripts whose letters name no unknowns, so that one beside a number is no part of it: those of `UNSPACED`, Hangul,
Arabic, Hebrew, those of India and others, and not Latin, Greek and Cyrillic. Many of their digits are among them."""
