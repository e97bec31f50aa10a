"""The style of an answer, as Arena-Hard controls for it: tokens, headers, list items and bold texts."""

import functools
import re
from collections.abc import Mapping
from typing import Any

_MARKDOWN: Mapping[str, Mapping[str, re.Pattern[str]]] = {
    "header_count": {f"h{level}": re.compile(rf"^#{{{level}}}\s", re.MULTILINE) for level in range(1, 7)},
    "list_count": {
        "ordered": re.compile(r"^\s*\d+\.\s", re.MULTILINE),
        "unordered": re.compile(r"^\s*[-*+]\s", re.MULTILINE),
    },
    "bold_count": {"**": re.compile(r"\*\*[^*\n]+\*\*"), "__": re.compile(r"__[^_\n]+__")},
}
_CODE = re.compile("```([^`]*)```")
TOKENS = "token_len"
FEATURES = (TOKENS, *_MARKDOWN)

Style = tuple[int, int, int, int]
"""Numbers of tokens, headers, list items and bold texts."""


def metadata(answer: str) -> dict[str, Any]:
    """What Arena-Hard's files say of an answer's style.

    Tokens are those of gpt-4o (o200k_base), with names of special tokens as plain text. Markdown is counted outside of
    code blocks; as officially, what a block holds is removed wherever else it stands, too.
    """
    prose = answer
    for code in _CODE.findall(answer):
        prose = prose.replace(code, "")
    marks = {
        name: {kind: len(pattern.findall(prose)) for kind, pattern in kinds.items()}
        for name, kinds in _MARKDOWN.items()
    }
    return {TOKENS: len(_encoding().encode_ordinary(answer)), **marks}


def style(found: Mapping[str, Any]) -> Style:
    """The numbers of `metadata`, those of a kind together."""
    tokens, *marks = (found[name] for name in FEATURES)
    headers, lists, bold = (sum(kinds.values()) for kinds in marks)
    return tokens, headers, lists, bold


def difference(model: Style, baseline: Style) -> tuple[float, float, float, float]:
    """How a model's style differs from a baseline's, as officially.

    Returns:
        Of the tokens the difference over the sum, in [-1, 1]; of headers, list items and bold texts the difference of
        their densities (number / (tokens + 1)) over their sum + 1.
    """
    tokens = _ratio(model[0] - baseline[0], model[0] + baseline[0])
    densities = [(a / (model[0] + 1), b / (baseline[0] + 1)) for a, b in zip(model[1:], baseline[1:], strict=True)]
    headers, lists, bold = ((a - b) / (a + b + 1) for a, b in densities)
    return tokens, headers, lists, bold


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0  # two empty answers, of which the official quotient is not defined


@functools.cache
def _encoding() -> Any:
    import bpe_openai

    return bpe_openai.get_encoding("o200k_base")
