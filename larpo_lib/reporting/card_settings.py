"""The settings that a model card shows: no more than a reader needs, since it is published with its policy."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from larpo_lib.config import LarpoConfig
from larpo_lib.config.load import check
from larpo_lib.config.toml import document
from larpo_lib.config.tree import BENCHMARKS
from larpo_lib.errors import ConfigError
from larpo_lib.redaction import redact

_HIDDEN = "***"
_NO_PART = frozenset({*BENCHMARKS, "search_temperature", "reward_model", "tracking"})
"""Sections that say nothing of how a run's policy was made."""

_SECRET_WORD = re.compile(
    "(api|access)?keys?|token|secrets?|pass(word|wd|phrase)s?|pwd|credentials?|auth|authorization|bearer", re.IGNORECASE
)
_SECRET_VALUE = re.compile(r"(hf_|sk-|gh[opsu]_|github_pat_|AKIA|xox[abp]-)\w")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


def shown_settings(run: LarpoConfig) -> str:
    """The settings of a run as TOML that differ from the defaults, of the sections that it used; see `shown`."""
    unused = _NO_PART if run.demonstrations else _NO_PART | {"sft"}
    used = {name: getattr(run, name) for name in type(run).model_fields if name not in unused}
    stated = run.model_dump(mode="json", include=set(used), exclude_none=True)

    def decided() -> bool:
        try:
            made = check(LarpoConfig, stated)
        except ConfigError:
            return False
        return all(getattr(made, name) == value for name, value in used.items())

    _remove_others(stated, decided)
    return document(shown(stated))


def _remove_others(table: dict[str, Any], decided: Callable[[], bool]) -> None:
    """Take out what `decided` does without, the last first: a setting may be taken over from one before it."""
    for name in reversed([*table]):
        whole, kept = dict(table), table.pop(name)
        if decided():
            continue
        table.clear()
        table.update(whole)
        if isinstance(kept, dict):
            _remove_others(kept, decided)


def shown(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Some settings as a card shows them.

    Of a path on the machine that trained the policy, the last part; of a function neither its code nor the values of
    settings that look like secrets, by their name or by how they begin.
    """
    found: dict[str, Any] = {}
    for name, value in settings.items():
        if "target" in settings and name == "settings":
            found[name] = _without_secrets(value)
        elif "target" not in settings or name != "code":
            found[name] = _shown(value)
    return found


def shown_place(place: str) -> str:
    """Where something is, as a card shows it: of a path on the machine that trained the policy, the last part."""
    return Path(place).name if place.startswith(("/", "~")) else place


def _shown(value: Any) -> Any:
    if isinstance(value, Mapping):
        return shown(value)
    if isinstance(value, list | tuple):
        return [_shown(part) for part in value]
    return shown_place(value) if isinstance(value, str) else value


def _without_secrets(value: Any, name: str = "") -> Any:
    if any(map(_SECRET_WORD.fullmatch, _WORD.findall(name))):
        return _HIDDEN
    if isinstance(value, Mapping):
        return {each: _without_secrets(part, each) for each, part in value.items()}
    if isinstance(value, list | tuple):
        return [_without_secrets(part) for part in value]
    if isinstance(value, str):
        return _HIDDEN if _SECRET_VALUE.match(value) else shown_place(redact(value))
    return value
