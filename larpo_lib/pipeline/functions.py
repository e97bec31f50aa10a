"""Files of functions and of judges' templates that are here alone: they travel in the settings of a run on Kubeflow."""

from pathlib import Path
from typing import Any

from larpo_lib.errors import ConfigError
from larpo_lib.rewards.rerankers.judge.templates import NEEDED, given_text, is_text, template_of
from larpo_lib.targets import check_syntax, parse_target, source_file

MOST_CODE = 16_000
"""Bytes of code and templates that a run may be sent. Kubeflow keeps its settings several times over; see
`workflow_size`."""

_JUDGE = "llm_judge"


def with_local_code(tree: Any) -> Any:
    """Settings, not yet checked, with the code of each function, and the text of each template, whose file is here.

    A file that is given by an absolute path and is not here is taken to be in the image.

    Raises:
        ConfigError: a file is not here, or is no Python, or a template is no text or lacks a place.
    """
    if isinstance(tree, list):
        return [with_local_code(part) for part in tree]
    if not isinstance(tree, dict):
        return tree
    found = {name: with_local_code(part) for name, part in tree.items()}
    if found.get("type") == _JUDGE:
        return {**found, **_local_template(found)}
    code = None if found.get("code") is not None else _local_code(found.get("target"))
    return found if code is None else {**found, "code": code}


def check_code_size(trees: Any) -> int:
    """Bytes of code in some settings. Raises ConfigError if they are more than a run can be sent."""
    size = _code_size(trees)
    if size > MOST_CODE:
        raise ConfigError(
            f"the run would be sent {size} bytes of functions, but the most is {MOST_CODE}",
            remedy="Upload their files to a store and give s3:// URIs as targets, or install them in the image",
        )
    return size


def _local_template(judge: dict[str, Any]) -> dict[str, str]:
    given = judge.get("template")
    if not isinstance(given, str) or is_text(given) or (Path(given).is_absolute() and not Path(given).exists()):
        return {}
    if judge.get("mode", "pointwise") in NEEDED:  # else the check of the settings refuses it
        template_of(judge.get("mode", "pointwise"), given)
    return {"template": given_text(given)}


def _local_code(target: Any) -> str | None:
    try:
        place, _ = parse_target(target if isinstance(target, str) else "")
    except ValueError:
        return None  # it is another setting, or one that the check of the settings refuses
    absent = Path(place).is_absolute() and not Path(place).exists()
    if not place.endswith(".py") or "://" in place or absent:
        return None
    try:
        check_syntax(source_file(place))
        return source_file(place).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{place}: cannot be read: {error}") from None


def _code_size(tree: Any) -> int:
    if isinstance(tree, list):
        return sum(map(_code_size, tree))
    if not isinstance(tree, dict):
        return 0
    name = "template" if tree.get("type") == _JUDGE else "code" if "target" in tree else ""
    own = len(tree[name].encode()) if isinstance(tree.get(name), str) else 0
    return own + sum(map(_code_size, tree.values()))
