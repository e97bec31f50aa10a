"""lm-eval's index of tasks, groups and tags: what is in it, without any data."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from larpo_lib.errors import ConfigError


def manager_of(names: Sequence[str], own: Path | None) -> Any:
    """lm-eval's index of tasks. All its 14,000 files take seconds to read, so it looks in a few folders first."""
    import lm_eval.tasks as package
    from lm_eval.tasks import TaskManager

    own_folders = [] if own is None else [str(own)]
    likely = _likely_folders(Path(package.__file__).parent, names)
    few = TaskManager(include_path=[*map(str, likely), *own_folders], include_defaults=False)
    if all(_is_whole(name, few.task_index) for name in names):
        return few
    return TaskManager(include_path=own_folders or None)


def names_of(names: Sequence[str]) -> set[str] | None:
    """Tasks, groups and tags of lm-eval's, with all that is in them; None where one is not lm-eval's own."""
    index = manager_of(names, None).task_index
    found: set[str] = set()
    left = [*names]
    while left:
        if (name := left.pop()) in found:
            continue
        if (entry := index.get(name)) is None:
            return None
        found.add(name)
        if entry.kind.name in ("GROUP", "TAG"):
            members = entry.tags if entry.kind.name == "TAG" else entry.cfg["task"]
            left += [each if isinstance(each, str) else str(each.get("task", each.get("group"))) for each in members]
    return found


def refuse_shadows(own: Path) -> None:
    """Refuse tasks of one's own that are called as some of lm-eval's, whose numbers they would seem to be.

    Looked for in lm-eval's folders of such names.
    """
    import lm_eval.tasks as package
    from lm_eval.tasks import TaskManager

    mine = TaskManager(include_path=[str(own)], include_defaults=False).task_index
    names = [name for name, entry in mine.items() if entry.kind.name != "TAG"]
    likely = [str(each) for each in _likely_folders(Path(package.__file__).parent, names)]
    theirs = TaskManager(include_path=likely, include_defaults=False).task_index
    for name in names:
        if name in theirs:
            raise ConfigError(
                f"{mine[name].yaml_path}: the task is called {name} as one of lm-eval's", remedy="Give it another name"
            )


def unknown_metrics(definition: Mapping[str, Any]) -> list[str]:
    """Names in a task's `metric_list` for which lm-eval knows no aggregation, nor the task says one."""
    from lm_eval.api.registry import get_metric_aggregation

    named = [each for each in definition.get("metric_list") or () if "aggregation" not in each]
    return [str(each["metric"]) for each in named if get_metric_aggregation(str(each["metric"])) is None]


def _likely_folders(root: Path, names: Iterable[str]) -> list[Path]:
    """Folders of lm-eval's that are called as a task, or as its beginning."""
    parts = [name.split("_") for name in names]
    called = {"_".join(part[:end]) for part in parts for end in range(1, len(part) + 1)}
    return sorted(root / name for name in called if (root / name).is_dir())


def _is_whole(name: str, index: Mapping[str, Any]) -> bool:
    """Whether an index of some folders holds a task, or a group with all that is in it; a tag may stand anywhere."""
    entry = index.get(name)
    if entry is None or entry.kind.name == "TAG":
        return False
    members = entry.cfg["task"] if entry.kind.name == "GROUP" else ()
    return all(isinstance(member, str) and _is_whole(member, index) for member in members)
