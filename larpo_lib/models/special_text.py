"""Text that looks like a special token, kept from becoming one.

A chat template puts special tokens and the text of messages into one string, where `<|im_end|>` of the template and
`<|im_end|>` of a question about templates are the same. Here the names in messages are hidden before the template is
rendered. What then still looks like a special token was written by the template. A copy of the tokenizer knows these
tokens by other names, so that it reads the hidden ones, put back, as ordinary text, in their context.
"""

import json
import re
from collections.abc import Callable, Iterable
from typing import Any

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from larpo_lib.errors import ModelError
from larpo_lib.schemas import Messages

_MARKS = range(0x10FFFD, 0x10F000, -1)
"""Private-use characters. One that no text holds stands around what is hidden."""
_Rename = Callable[[str], str]


class SpecialText:
    """Finds, hides and tokenizes the names of a tokenizer's special tokens in text."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        special = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
        self._names = sorted((name for name in special if name.strip()), key=lambda name: (-len(name), name))
        self._numbers = {name: number for number, name in enumerate(self._names)}
        self._pattern = re.compile("|".join(map(re.escape, self._names)) or r"(?!)")  # the longest first
        self._renamed: dict[str, tuple[Tokenizer, dict[int, int]]] = {}

    def find(self, texts: Iterable[str]) -> str | None:
        """The first name of a special token in `texts`, if there is one."""
        found = (self._pattern.search(text) for text in texts)
        return next((match.group() for match in found if match is not None), None)

    def hide(self, messages: Messages) -> tuple[Messages, str]:
        """The messages without names of special tokens, and the mark around what stands in their place."""
        contents = [message["content"] for message in messages]
        mark = next(mark for mark in map(chr, _MARKS) if not any(mark in text for text in contents))
        hidden = [self._pattern.sub(lambda match: self._place(match.group(), mark), text) for text in contents]
        return [{**message, "content": text} for message, text in zip(messages, hidden, strict=True)], mark

    def ids(self, text: str, mark: str) -> list[int]:
        """Token ids of a text with hidden names: these as ordinary text, other names as the tokens.

        Raises:
            ModelError: the tokenizer is one of Python code, of which no copy with other names can be made.
        """
        tokenizer, own_ids = self._with_other_names(mark)
        parts = re.compile(f"{mark}([0-9]+){mark}|{self._pattern.pattern}")

        def swap(match: re.Match[str]) -> str:
            return self._names[int(match[1])] if match[1] else self._place(match.group(), mark)

        found = tokenizer.encode(parts.sub(swap, text), add_special_tokens=False).ids
        return [own_ids.get(token, token) for token in found]

    def _place(self, name: str, mark: str) -> str:
        return f"{mark}{self._numbers[name]}{mark}"

    def _with_other_names(self, mark: str) -> tuple[Tokenizer, dict[int, int]]:
        """A copy whose special tokens are called as they are hidden, and its ids of added tokens to the own ones."""
        if mark not in self._renamed:
            if not self._tokenizer.is_fast:
                raise ModelError(
                    f"{self._tokenizer.name_or_path}: this tokenizer is written in Python and cannot "
                    "distinguish the name of a special token in a message from the token",
                    remedy="Set model.special_text to control, or use a model with a tokenizer.json",
                )
            backend: Any = self._tokenizer.backend_tokenizer
            tree = json.loads(backend.to_str())
            tree.update(truncation=None, padding=None)

            def rename(name: str) -> str:
                return self._place(name, mark) if name in self._numbers else name

            for token in tree["added_tokens"]:
                if token["content"] in self._numbers:
                    token.update(content=rename(token["content"]), normalized=False)
            _rename_in_model(tree["model"], rename, set(self._names))
            copy = Tokenizer.from_str(json.dumps(tree))
            found = [(copy.token_to_id(token["content"]), token["id"]) for token in tree["added_tokens"]]
            own_ids = {here: own for here, own in found if here is not None}
            self._renamed[mark] = copy, own_ids
        return self._renamed[mark]


def _rename_in_model(model: dict[str, Any], rename: _Rename, names: set[str]) -> None:
    """Give special tokens other names in the vocabulary too, since the model itself could find them there."""
    vocabulary = model["vocab"]
    if isinstance(vocabulary, dict):
        model["vocab"] = {rename(name): token for name, token in vocabulary.items()}
    else:
        model["vocab"] = [[rename(name), score] for name, score in vocabulary]
    if model.get("unk_token") is not None:
        model["unk_token"] = rename(model["unk_token"])
    if "merges" in model:
        pairs = [pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"]]
        model["merges"] = [pair for pair in pairs if not names & {*pair, "".join(pair)}]
