"""Sentences and words as NLTK finds them in English, which needs its Punkt model."""

from functools import cache
from typing import Any

DOWNLOAD = "Run python -m nltk.downloader punkt_tab, or set NLTK_DATA to a folder that has it"
"""What to do where the model is missing."""


def has_punkt() -> bool:
    """Whether NLTK finds its model of English sentences, which is no part of its package."""
    import nltk

    try:
        nltk.data.find("tokenizers/punkt_tab/english")
    except LookupError:
        return False
    return True


def look_in(folders: list[str]) -> None:
    """Look for the model in these folders from now on."""
    import nltk

    if nltk.data.path != folders:
        nltk.data.path[:] = folders
        _punkt.cache_clear()


def count_sentences(text: str) -> int:
    """How many sentences a text has."""
    return len(_punkt().tokenize(text))


def words(text: str) -> list[str]:
    """The words and signs of a text, sentence by sentence, as Penn Treebank has them."""
    found: list[str] = []
    for sentence in _punkt().tokenize(text):
        found += _treebank().tokenize(sentence)
    return found


@cache
def _punkt() -> Any:
    from nltk.tokenize.punkt import PunktTokenizer

    return PunktTokenizer("english")


@cache
def _treebank() -> Any:
    from nltk.tokenize.destructive import NLTKWordTokenizer

    return NLTKWordTokenizer()
