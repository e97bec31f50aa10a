"""IFEval's instructions on form: marks, lists, sections, JSON.

Source: Zhou et al. 2023, arXiv:2311.07911, table 1, as Google's code reads them.
"""

import json
import re
from typing import ClassVar

from larpo_lib.rewards.rules.instruction import Count, Instruction, Pattern, Text

_OPTIONS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
_FENCES = ("```json", "```Json", "```JSON", "```")
_POSTSCRIPTS = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}


class Placeholders(Instruction):
    """Has so many placeholders in square brackets, or more."""

    id: ClassVar[str] = "detectable_content:number_placeholders"
    num_placeholders: Count

    def follows(self, response: str) -> bool:
        """Such as [address]."""
        ends = response.split("]")[:-1]  # as `\[.*?\]` finds them, but in one go through many "[" without an end
        return sum("[" in end.rpartition("\n")[2] for end in ends) >= self.num_placeholders


class Postscript(Instruction):
    """Has a postscript."""

    id: ClassVar[str] = "detectable_content:postscript"
    postscript_marker: Pattern

    def follows(self, response: str) -> bool:
        """Its mark stands somewhere; P.S. and P.P.S may be spaced."""
        mark = _POSTSCRIPTS.get(self.postscript_marker, self.postscript_marker.lower())
        return re.search(mark, response.lower(), re.MULTILINE) is not None


class BulletList(Instruction):
    """Has exactly so many bullet points."""

    id: ClassVar[str] = "detectable_format:number_bullet_lists"
    num_bullets: Count

    def follows(self, response: str) -> bool:
        """Lines that begin with `*` and something else, or with `-`."""
        stars = re.findall(r"^[^\S\n]*\*[^\*].*$", response, re.MULTILINE)
        dashes = re.findall(r"^[^\S\n]*-.*$", response, re.MULTILINE)
        return len(stars) + len(dashes) == self.num_bullets


class ConstrainedResponse(Instruction):
    """Contains one of three answers."""

    id: ClassVar[str] = "detectable_format:constrained_response"

    def follows(self, response: str) -> bool:
        """My answer is yes, no or maybe, with the full stop."""
        return any(option in response for option in _OPTIONS)


class Highlights(Instruction):
    """Has so many highlighted parts, or more."""

    id: ClassVar[str] = "detectable_format:number_highlighted_sections"
    num_highlights: Count

    def follows(self, response: str) -> bool:
        """`*so*` and `**so**`, the latter counted a second time where it is found as the former, as in IFEval."""
        single = re.findall(r"\*[^\n\*]*\*", response)
        double = re.findall(r"\*\*[^\n\*]*\*\*", response)
        found = sum(bool(part.strip("*").strip()) for part in single)
        found += sum(bool(part.removeprefix("**").removesuffix("**").strip()) for part in double)
        return found >= self.num_highlights


class Sections(Instruction):
    """Has so many sections, or more, that begin with a word and a number."""

    id: ClassVar[str] = "detectable_format:multiple_sections"
    section_spliter: Pattern
    num_sections: Count

    def follows(self, response: str) -> bool:
        """Such as SECTION 1."""
        return len(re.split(rf"\s?{self.section_spliter}\s?\d+\s?", response)) - 1 >= self.num_sections


class JsonFormat(Instruction):
    """Is JSON and nothing else."""

    id: ClassVar[str] = "detectable_format:json_format"

    def follows(self, response: str) -> bool:
        """Perhaps between code fences."""
        text = response.strip()
        for fence in _FENCES:
            text = text.removeprefix(fence)
        try:
            json.loads(text.removesuffix("```").strip())
        except (ValueError, RecursionError):
            return False
        return True


class Title(Instruction):
    """Has a title in double angular brackets."""

    id: ClassVar[str] = "detectable_format:title"

    def follows(self, response: str) -> bool:
        """Such as <<poem of joy>>."""
        lines = ((line, line.find("<<"), line.rfind(">>")) for line in response.split("\n"))
        return any(line[first:last].lstrip("<").rstrip(">").strip() for line, first, last in lines if 0 <= first < last)


class TwoResponses(Instruction):
    """Is two different responses, divided by six stars."""

    id: ClassVar[str] = "combination:two_responses"

    def follows(self, response: str) -> bool:
        """Dividers before the first and behind the last do not count."""
        parts = [part.strip() for part in response.split("******")]
        filled = [part for part in parts if part]
        return all(parts[1:-1]) and len(filled) == 2 and filled[0] != filled[1]


class RepeatPrompt(Instruction):
    """Repeats the request before the answer."""

    id: ClassVar[str] = "combination:repeat_prompt"
    prompt_to_repeat: Text

    def follows(self, response: str) -> bool:
        """Word for word; case does not matter."""
        return response.strip().lower().startswith(self.prompt_to_repeat.lower())


class NoComma(Instruction):
    """Has no comma."""

    id: ClassVar[str] = "punctuation:no_comma"

    def follows(self, response: str) -> bool:
        """The ASCII comma."""
        return "," not in response


class Quotation(Instruction):
    """Stands in double quotation marks."""

    id: ClassVar[str] = "startend:quotation"

    def follows(self, response: str) -> bool:
        """The whole of it."""
        text = response.strip()
        return len(text) > 1 and text[0] == text[-1] == '"'
