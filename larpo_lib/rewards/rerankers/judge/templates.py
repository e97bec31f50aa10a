"""What a judge is asked: a text with places for a prompt and its responses, which cannot pass for anything else.

Each inserted text stands between two lines with a mark that none of the texts holds, and that none can foresee, since
it is a hash of them all. The names of control tokens, which the judge's server would read as the tokens, are kept as
text: a character that is not seen stands within them.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

from larpo_lib.errors import ConfigError
from larpo_lib.targets import kept_file

NEEDED: dict[str, tuple[str, ...]] = {
    "pointwise": ("prompt", "response"),
    "pairwise": ("prompt", "first", "second"),
    "listwise": ("prompt", "responses"),
}
"""Places that a template of each mode must have."""
_OPTIONAL: dict[str, tuple[str, ...]] = {
    "pointwise": ("reference", "rubric", "mark", "lowest", "highest"),
    "pairwise": ("reference", "rubric", "mark"),
    "listwise": ("reference", "rubric", "mark", "count"),
}
_PLACE = re.compile(r"\{([a-z_]+)\}")
_MARK_LENGTH = 12
_UNSEEN = "\N{ZERO WIDTH SPACE}"
_CONTROL = re.compile(
    r"<[|\uff5c][^<>|\uff5c\n]{1,60}[|\uff5c]>"  # ChatML, Llama 3, Phi; DeepSeek has bars of full width
    r"|</?(?:s|bos|eos|pad|unk|think|start_of_turn|end_of_turn|tool_call|tool_response)>"
    r"|\[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\]"
    r"|<</?SYS>>"
)


class Template:
    """A text with places such as {prompt}.

    Args:
        mode: whose places it may have.
        text: the template; None: larpo's own.
        source: for messages, where the text stands.

    Raises:
        ConfigError: a place is missing or unknown.
    """

    def __init__(self, mode: str, text: str | None, source: str) -> None:
        self.text = packaged(mode) if text is None else text.strip()
        places = set(_PLACE.findall(self.text))
        known = (*NEEDED[mode], *_OPTIONAL[mode])
        listed = ", ".join(f"{{{name}}}" for name in known)
        missing = [name for name in NEEDED[mode] if name not in places]
        if missing:
            raise ConfigError(
                f"{source}: a {mode} template needs the place {{{missing[0]}}}", remedy=f"It can have {listed}"
            )
        unknown = sorted(places - {*known})
        if unknown:
            raise ConfigError(
                f"{source}: a {mode} template has no place {{{unknown[0]}}}", remedy=f"It can have {listed}"
            )
        self.needs_reference = "reference" in places

    def fill(self, texts: Mapping[str, str | Sequence[str]], others: Mapping[str, str]) -> str:
        """The question.

        Args:
            texts: by place: prompts and responses, which are put between marked lines; several are numbered.
            others: by place: what is inserted as it is.
        """
        flat = [part for given in texts.values() for part in ([given] if isinstance(given, str) else given)]
        mark = _mark(flat)
        filled = {**others, "mark": mark}
        for place, given in texts.items():
            if isinstance(given, str):
                filled[place] = _between(_TITLES[place], given, mark)
            else:
                filled[place] = "\n\n".join(
                    _between(f"RESPONSE [{number}]", part, mark) for number, part in enumerate(given, start=1)
                )
        return _PLACE.sub(lambda match: filled[match[1]], self.text)


_TITLES = {
    "prompt": "PROMPT",
    "reference": "REFERENCE ANSWER",
    "response": "RESPONSE",
    "first": "RESPONSE A",
    "second": "RESPONSE B",
}


def packaged(mode: str) -> str:
    """larpo's own template."""
    return resources.files(__package__).joinpath(f"templates/{mode}.txt").read_text("utf-8").strip()


def is_text(given: str) -> bool:
    """Whether a setting holds a template itself, and not the path of a file with one."""
    return "{" in given


def template_file(given: str) -> Path:
    """A file with the template that a setting gives; one that it holds itself is kept in the cache."""
    return kept_file("template.txt", given) if is_text(given) else Path(given)


def given_text(given: str) -> str:
    """The template that a setting gives, as it stands in its file.

    Raises:
        ConfigError: there is no such file, or it is not text.
    """
    if is_text(given):
        return given
    path = Path(given)
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path}: the template cannot be read: {getattr(error, 'strerror', None) or error}",
            remedy="Give the path of a text file, or the text of the template itself",
        ) from None


def template_of(mode: str, given: str | None) -> Template:
    """The template that a setting gives; None: larpo's own.

    Raises:
        ConfigError: as `given_text`; or a place is missing or unknown.
    """
    text = None if given is None else given_text(given)
    return Template(mode, text, given if given is not None and not is_text(given) else "llm_judge's template")


def has_control(text: str) -> bool:
    """Whether a text holds a name of a control token."""
    return _CONTROL.search(text) is not None


def _between(title: str, text: str, mark: str) -> str:
    kept = _CONTROL.sub(lambda match: match[0][0] + _UNSEEN + match[0][1:], text)
    return f"----- {title} {mark} -----\n{kept}\n----- END OF {title} {mark} -----"


def _mark(texts: Sequence[str]) -> str:
    number = 0
    while True:
        content = json.dumps([number, *texts], ensure_ascii=False)
        mark = hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:_MARK_LENGTH]
        if not any(mark in text for text in texts):
            return mark
        number += 1
