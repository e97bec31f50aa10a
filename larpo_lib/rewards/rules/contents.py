"""IFEval's instructions on words, letters, lengths and languages.

Source: Zhou et al. 2023, arXiv:2311.07911, table 1, as Google's code reads them.
"""

import re
from typing import Annotated, ClassVar, Self

from pydantic import AfterValidator, Field, PositiveInt, StringConstraints, model_validator

from larpo_lib.rewards.rules.instruction import Count, Instruction, Pattern, Patterns, Relation, Text, compare
from larpo_lib.rewards.rules.languages import known_languages, language_of
from larpo_lib.rewards.rules.sentences import count_sentences, words

_ENDS_OF_WORDS = re.compile(r"[.,?!'\"]")


def _known(code: str) -> str:
    if code not in known_languages():
        raise ValueError(f"no language that langdetect knows; those are {', '.join(sorted(known_languages()))}")
    return code


class Keywords(Instruction):
    """Contains each of some words."""

    id: ClassVar[str] = "keywords:existence"
    keywords: Patterns

    def follows(self, response: str) -> bool:
        """By search, in any case of letters."""
        return all(re.search(keyword, response, re.IGNORECASE) for keyword in self.keywords)


class KeywordFrequency(Instruction):
    """Contains a word so many times."""

    id: ClassVar[str] = "keywords:frequency"
    keyword: Pattern
    frequency: Count
    relation: Relation

    def follows(self, response: str) -> bool:
        """Counts it within other words, too."""
        found = len(re.findall(self.keyword, response, re.IGNORECASE))
        return compare(found, self.relation, self.frequency)


class ForbiddenWords(Instruction):
    """Contains none of some words."""

    id: ClassVar[str] = "keywords:forbidden_words"
    forbidden_words: Patterns

    def follows(self, response: str) -> bool:
        """Looks for them as whole words."""
        return not any(re.search(rf"\b{word}\b", response, re.IGNORECASE) for word in self.forbidden_words)


class LetterFrequency(Instruction):
    """Contains a letter, or another sign, so many times."""

    id: ClassVar[str] = "keywords:letter_frequency"
    letter: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1)]
    let_frequency: Count
    let_relation: Relation

    def follows(self, response: str) -> bool:
        """Counts it in any case."""
        return compare(response.lower().count(self.letter.lower()), self.let_relation, self.let_frequency)


class ResponseLanguage(Instruction):
    """Is in a language."""

    id: ClassVar[str] = "language:response_language"
    needs_language: ClassVar[bool] = True
    language: Annotated[str, AfterValidator(_known)]

    def follows(self, response: str) -> bool:
        """Also where the language cannot be told."""
        return language_of(response) in (self.language, None)


class Sentences(Instruction):
    """Has so many sentences."""

    id: ClassVar[str] = "length_constraints:number_sentences"
    needs_punkt: ClassVar[bool] = True
    num_sentences: Count
    relation: Relation

    def follows(self, response: str) -> bool:
        """As NLTK counts."""
        return compare(count_sentences(response), self.relation, self.num_sentences)


class Paragraphs(Instruction):
    """Has exactly so many paragraphs, divided by `***`."""

    id: ClassVar[str] = "length_constraints:number_paragraphs"
    num_paragraphs: Count

    def follows(self, response: str) -> bool:
        """Dividers before the first and behind the last do not count; an empty one between others breaks it."""
        parts = [part.strip() for part in re.split(r"\s?\*\*\*\s?", response)]
        if not all(parts[1:-1]):
            return False
        empty = sum(not part for part in (parts[0], parts[-1])) if len(parts) > 1 else not parts[0]
        return len(parts) - empty == self.num_paragraphs


class Words(Instruction):
    """Has so many words."""

    id: ClassVar[str] = "length_constraints:number_words"
    num_words: Count
    relation: Relation

    def follows(self, response: str) -> bool:
        """A word is a run of letters, digits and underscores."""
        return compare(len(re.findall(r"\w+", response)), self.relation, self.num_words)


class ParagraphFirstWord(Instruction):
    """Has exactly so many paragraphs, divided by empty lines, of which one begins with a word."""

    id: ClassVar[str] = "length_constraints:nth_paragraph_first_word"
    num_paragraphs: PositiveInt
    nth_paragraph: PositiveInt
    first_word: Annotated[str, Field(min_length=1)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.nth_paragraph > self.num_paragraphs:
            raise ValueError(f"there is no paragraph {self.nth_paragraph} among {self.num_paragraphs}")
        return self

    def follows(self, response: str) -> bool:
        """The word ends before a sign, and its case does not matter."""
        parts = [part.strip() for part in response.split("\n\n")]
        filled = sum(bool(part) for part in parts)
        if self.nth_paragraph > filled or not parts[self.nth_paragraph - 1]:
            return False
        word = parts[self.nth_paragraph - 1].split()[0].lstrip("'").lstrip('"')
        first = _ENDS_OF_WORDS.split(word, maxsplit=1)[0].lower()
        return filled == self.num_paragraphs and first == self.first_word.lower()


class CapitalWords(Instruction):
    """Has so many words in capital letters."""

    id: ClassVar[str] = "change_case:capital_word_frequency"
    needs_punkt: ClassVar[bool] = True
    capital_frequency: Count
    capital_relation: Relation

    def follows(self, response: str) -> bool:
        """Words are NLTK's; one with a hyphen is one."""
        found = sum(word.isupper() for word in words(response))
        return compare(found, self.capital_relation, self.capital_frequency)


class EnglishCapitals(Instruction):
    """Is in English and in capital letters."""

    id: ClassVar[str] = "change_case:english_capital"
    needs_language: ClassVar[bool] = True

    def follows(self, response: str) -> bool:
        """As langdetect finds English in capitals."""
        return response.isupper() and language_of(response) in ("en", None)


class EnglishLowercase(Instruction):
    """Is in English and has no capital letters."""

    id: ClassVar[str] = "change_case:english_lowercase"
    needs_language: ClassVar[bool] = True

    def follows(self, response: str) -> bool:
        """As langdetect finds English."""
        return response.islower() and language_of(response) in ("en", None)


class EndsWith(Instruction):
    """Ends with a phrase."""

    id: ClassVar[str] = "startend:end_checker"
    end_phrase: Text

    def follows(self, response: str) -> bool:
        """Case does not matter, nor do quotation marks around the whole."""
        return response.strip().strip('"').lower().endswith(self.end_phrase.lower())
