"""TOML and `--set` to a checked configuration, with errors that name the setting and the remedy."""

import logging
import tomllib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from larpo_lib.config.changes import ChangeConfig, stated_changes
from larpo_lib.config.inheritance import implied_type, resolve, section_of, sections_of
from larpo_lib.config.problems import UNKNOWN, config_error, known_to_another_type, place_of
from larpo_lib.config.tree import LarpoConfig
from larpo_lib.errors import ConfigError
from larpo_lib.parsing import parse_toml, unusable
from larpo_lib.redaction import secret_places

_LOG = logging.getLogger(__name__)
_TRACKING = "tracking.uri"
_LEFT_OPEN = ("missing", "union_tag_not_found", "value_error", "assertion_error")

SectionT = TypeVar("SectionT", bound=BaseModel)


NOT_GIVEN = "(not given)"
"""In place of a policy or a source of prompts."""


def load_config(path: Path | None, settings: Iterable[str] = ()) -> LarpoConfig:
    """Read the whole configuration.

    Args:
        path: a TOML file, or None for defaults only.
        settings: `a.b=value` texts, the later ones winning.

    Raises:
        ConfigError: the file or a setting is unreadable, unknown or of the wrong type.
    """
    return check(LarpoConfig, load_tree(path, settings), path)


def load_given(path: Path | None, settings: Iterable[str] = ()) -> LarpoConfig:
    """As `load_config`, of a file that may lack what only a whole run needs, as that of a benchmark does.

    Its policy and its prompts are then `NOT_GIVEN`.
    """
    whole = {"policy": NOT_GIVEN, "prepare": {"source": NOT_GIVEN}}
    return check(LarpoConfig, {**whole, **load_tree(path, settings)}, path)


def section_class(name: str) -> type[BaseModel]:
    """The class of a section's settings."""
    return next(sections_of(LarpoConfig.model_fields[name].annotation))


def load_section(name: str, path: Path | None, settings: Iterable[str] = ()) -> Any:
    """Read one section, with what it inherits from others, which may be absent, incomplete or have wrong values.

    Returns:
        An instance of `section_class(name)`.

    Raises:
        ConfigError: the section cannot be read, or a setting of any section is unknown.
    """
    tree = load_tree(path, settings)
    _check_partly(tree, path, lambda problem, _: problem["type"] == UNKNOWN)
    if any(name in change for change in stated_changes(tree)):
        _LOG.warning(
            "loop.changes has other settings of %s for later iterations, which single steps do not read: use --set",
            name,
        )
    section = resolve(LarpoConfig, tree).get(name, {})
    return check(section_class(name), section, path, prefix=(name,))


def check_given(tree: dict[str, Any], path: Path | None = None) -> None:
    """Refuse what is wrong with single settings of a configuration that something else will complete.

    Raises:
        ConfigError: a setting is unknown or of the wrong type, or holds a secret. What is missing or contradicts is not
            looked at; the `type` of a table that states none may be missing, too.
    """

    def told(problem: ErrorDetails, part: dict[str, Any]) -> bool:
        return problem["type"] not in _LEFT_OPEN and not known_to_another_type(problem, LarpoConfig, part)

    _check_partly(tree, path, told)
    _require_no_secret(tree, path, ())


def _check_partly(
    tree: dict[str, Any], path: Path | None, told: Callable[[ErrorDetails, dict[str, Any]], bool]
) -> None:
    """Refuse what is wrong with single settings, those of changes included, if it is to be told."""
    parts: dict[tuple[str, ...], dict[str, Any]] = {
        ("loop", "changes", str(number)): {name: change[name] for name in ChangeConfig.sections if name in change}
        for number, change in enumerate(stated_changes(tree))
    }
    for prefix, part in (parts | {(): tree}).items():
        try:
            LarpoConfig.model_validate(part)
        except ValidationError as error:
            problems = [problem for problem in error.errors(include_url=False) if told(problem, part)]
            if problems:
                raise config_error(problems, LarpoConfig, path, prefix) from None


def parse_settings(settings: Iterable[str]) -> dict[str, Any]:
    """`["a.b=1", "c=x"]` to `{"a": {"b": 1}, "c": "x"}`; values are TOML, and plain text where they are not."""
    tree: dict[str, Any] = {}
    for text in settings:
        key, equals, value = text.partition("=")
        names = [part.strip() for part in key.split(".")]
        if not equals or not all(names):
            raise ConfigError(f"--set {text!r} is not in the form section.name=value")
        node = tree
        for part in names[:-1]:
            node = node.setdefault(part, {})
            if not isinstance(node, dict):
                raise ConfigError(f"--set {text!r}: '{part}' is already set to a value")
        node[names[-1]] = _value(key, value.strip())
    return tree


def apply_settings(
    tree: dict[str, Any], settings: dict[str, Any], kind: type[BaseModel] | None = LarpoConfig
) -> dict[str, Any]:
    """Lay `settings` over `tree`. A table that names another `type` replaces the one below it whole.

    The `code` of a function goes with its `target`: what names another is left without that of the one before.

    Args:
        tree: of the settings of a `kind`.
        settings: that win.
        kind: says of which type a table is that names none; None: nothing does.
    """
    stale = "target" in settings and tree.get("code") is not None
    merged = {**tree, "code": None} if stale else dict(tree)
    for key, value in settings.items():
        field = None if kind is None else kind.model_fields.get(key)
        merged[key] = _laid_over(merged.get(key), value, None if field is None else field.annotation)
    return merged


def _laid_over(below: Any, value: Any, annotation: Any) -> Any:
    if not (isinstance(below, dict) and isinstance(value, dict)):
        return value
    old = below.get("type", implied_type(annotation))
    if old is not None and value.get("type", old) != old:
        return value
    return apply_settings(below, value, section_of(annotation, {**below, **value}))


def check(kind: type[SectionT], tree: dict[str, Any], path: Path | None = None, prefix: Sequence[str] = ()) -> SectionT:
    """Validate `tree` as `kind`; the first problem becomes a ConfigError, and so does what looks like a secret."""
    try:
        checked = kind.model_validate(tree)
    except ValidationError as error:
        raise config_error(error.errors(include_url=False), kind, path, prefix) from None
    _require_no_secret(tree, path, prefix)
    if isinstance(checked, LarpoConfig):
        by_iteration(checked, path)
    return checked


def by_iteration(config: LarpoConfig, path: Path | None = None) -> dict[int, LarpoConfig]:
    """The settings of the first iteration, and those of each iteration that `loop.changes` gives others, in turn.

    Raises:
        ConfigError: a change has a setting that is unknown or cannot be.
    """
    found = {1: config}
    for number, change in enumerate(config.loop.changes):
        config = _changed(config, change, path, ("loop", "changes", str(number)))
        found[change.iteration] = config
    return found


def at_iteration(config: LarpoConfig, iteration: int) -> LarpoConfig:
    """The settings of one iteration."""
    found = by_iteration(config)
    return found[max(first for first in found if first <= max(iteration, 1))]


def _changed(config: LarpoConfig, change: ChangeConfig, path: Path | None, prefix: Sequence[str]) -> LarpoConfig:
    """The settings with a change; what others take over from those that change, such as `evaluate`, stays."""
    tree = resolve(LarpoConfig, apply_settings(config.model_dump(mode="json"), change.settings))
    sections = {name: check(section_class(name), tree[name], path, (*prefix, name)) for name in change.settings}
    changed = config.model_copy(update=sections)
    scheduled = any(isinstance(each.sample.temperature, tuple) for each in (config, changed))
    if scheduled and "temperature" in (change.sample or {}):
        raise ConfigError(
            f"{place_of(path)}setting '{'.'.join(prefix)}.sample.temperature': a list of temperatures has one for each "
            "iteration already",
            remedy="Use either a list in sample.temperature, or single values and changes",
        )
    return changed


def load_tree(path: Path | None, settings: Iterable[str] = ()) -> dict[str, Any]:
    """The settings of a TOML file with others over them, unchecked.

    Raises:
        ConfigError: the file cannot be read, or a setting has another form than `a.b=value`.
    """
    tree: dict[str, Any] = {}
    if path is not None:
        try:
            tree = parse_toml(path.read_text("utf-8"))
        except FileNotFoundError:
            raise ConfigError(f"{path}: no such file", remedy="Pass an existing TOML file to --config") from None
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path}: cannot be read as TOML: {error}") from None
    tree = apply_settings(tree, parse_settings(settings))
    check_values(tree, path)
    return tree


def check_values(tree: dict[str, Any], path: Path | None = None) -> None:
    """Raise ConfigError if a setting is nested too deeply for any table, or a whole number too large for TOML."""
    for name, value in tree.items():
        problem = unusable(value)
        if problem:
            raise ConfigError(f"{place_of(path)}setting '{name:.80}': {problem}", remedy="Change or remove it")


def _require_no_secret(tree: dict[str, Any], path: Path | None, prefix: Sequence[str]) -> None:
    """Settings stand in manifests, in MLflow and in Kubeflow; a run leaves out of them only the address of MLflow."""
    for place in secret_places(tree, ".".join(prefix)):
        if place.endswith("_env"):
            problem = "is not the name of an environment variable, such as OPENAI_API_KEY"
            raise ConfigError(f"{place_of(path)}setting '{place}' {problem}", remedy="Put the key into a variable")
        if place != _TRACKING and not place.endswith(".code"):
            raise ConfigError(
                f"{place_of(path)}setting '{place}' looks like a password or a key, which would be stored with the run",
                remedy="Put it into an environment variable, and give the variable's name where a setting takes one",
            )


def _value(key: str, text: str) -> Any:
    try:
        parsed = parse_toml(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    except ValueError as error:
        raise ConfigError(f"--set {key:.200}=...: {error}", remedy="Give another value") from None
    return parsed["value"] if len(parsed) == 1 else text  # text of several lines may be more than a value
