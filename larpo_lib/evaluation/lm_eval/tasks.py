"""lm-eval's tasks by name, with their data from the hub or from a folder, and what of them decides the result."""

import difflib
import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import TemplateError

from larpo_lib.errors import ConfigError, DataError, LarpoError
from larpo_lib.evaluation.lm_eval.documents import FAILS, check_documents
from larpo_lib.evaluation.lm_eval.index import manager_of, refuse_shadows, unknown_metrics
from larpo_lib.evaluation.lm_eval.official import fetching_by
from larpo_lib.evaluation.lm_eval.settings import LmEvalConfig
from larpo_lib.rewards.rules.ifeval import INSTRUCTIONS
from larpo_lib.rewards.rules.sentences import DOWNLOAD, has_punkt


@dataclass(frozen=True)
class Tasks:
    """What is evaluated.

    Attributes:
        single: lm-eval's tasks by name, in the order in which they are asked for.
        groups: lm-eval's groups by name, those that have numbers of their own.
    """

    single: Mapping[str, Any]
    groups: Mapping[str, Any]


def load_tasks(config: LmEvalConfig, data: Path | None, own: Path | None, cache: Path) -> Tasks:
    """The tasks that the settings name, ready to be evaluated.

    Args:
        config: which tasks, and how they are asked.
        data: folder of data sets; None: from the hub, or its cache on this machine.
        own: folder with the user's tasks.
        cache: folder for what the data sets' library makes of files in `data`.

    Raises:
        ConfigError: there is no such task, or it cannot be evaluated here.
        DataError: its data are missing.
    """
    if own is not None:
        refuse_shadows(own)
    manager = manager_of(config.tasks, own)
    single: dict[str, Any] = {}
    groups: dict[str, Any] = {}
    for name in config.tasks:
        with fetching_by(_Fetch(name, data, cache)):
            found = _load(manager, name)
        single |= found["tasks"]
        groups |= {each: group for each, group in found["groups"].items() if group.has_aggregation}
    for task in single.values():
        _set_up(task, config)
    return Tasks(single, groups)


def check_tasks(tasks: Tasks, config: LmEvalConfig, max_length: int) -> None:
    """Refuse what would fail after hours.

    Args:
        tasks: all of them.
        config: how they are asked.
        max_length: tokens of a prompt with its response.

    Raises:
        DataError: a document cannot be used.
        ConfigError: a task's responses may be as long as the policy's whole context, it needs a package's data, runs
            code that a model has written, or shows pictures.
    """
    from lm_eval.models.utils import normalize_gen_kwargs

    for name, task in tasks.single.items():
        if getattr(task, "UNSAFE_CODE", False):
            raise ConfigError(f"{name}: runs code that the policy writes, which larpo does not", remedy=_leave(name))
        if getattr(task, "MULTIMODAL", False):
            raise ConfigError(f"{name}: asks about pictures or sounds", remedy=_leave(name))
        generation = task.get_config("generation_kwargs")
        longest = normalize_gen_kwargs(generation)["max_gen_toks"] if generation else 0
        if longest >= max_length:
            raise ConfigError(
                f"{name}: its responses may have {longest} tokens, which leaves no room for a prompt within the "
                f"{max_length} of the context",
                remedy="Set lm_eval.gen_kwargs = { max_gen_toks = ... } to fewer",
            )
        if any(_needs_punkt(doc) for doc in _documents(task, config.limit)) and not has_punkt():
            raise ConfigError(f"{name}: counts sentences by NLTK's model, which is not found", remedy=DOWNLOAD)
        check_documents(name, task, _documents(task, config.limit))


def identity(tasks: Tasks, config: LmEvalConfig) -> dict[str, Any]:
    """What decides the result beside the settings: of each task its version, and a digest of the documents it reads."""
    return {
        name: {
            "version": str(task.VERSION),
            "documents": _digest(_documents(task, config.limit)),
            **({"examples": _digest(task.fewshot_docs())} if task.get_config("num_fewshot") else {}),
        }
        for name, task in tasks.single.items()
    }


def max_length(config: LmEvalConfig, context: int | None) -> int:
    """Tokens of a prompt with its response.

    Args:
        config: may say so.
        context: of the policy, as far as its config.json says.

    Raises:
        ConfigError: nobody says.
    """
    if config.max_length is None and context is None:
        raise ConfigError(
            "the policy's config.json does not say how long its context is", remedy="Set lm_eval.max_length"
        )
    return min(each for each in (config.max_length, context) if each is not None)


@dataclass(frozen=True)
class _Fetch:
    """Takes the place of `datasets.load_dataset`.

    Attributes:
        task: that asks, as the user calls it.
        data: folder of data sets; None: they are fetched.
        cache: for what is made of files in `data`.
    """

    task: str
    data: Path | None
    cache: Path

    def __call__(self, path: str, name: str | None = None, **settings: Any) -> Any:
        """The data set at `path`, which is its name on the hub or of a kind of files, in the edition `name`."""
        settings = {key: value for key, value in settings.items() if value is not None}
        if "data_files" in settings:
            return _load_dataset(path, name, settings, partial(self._unreadable, settings["data_files"]))
        if self.data is None:
            return _load_dataset(path, name, settings, lambda _: self._missing(path))
        folder = self.data / path
        if not folder.is_dir():
            raise self._missing(path)
        settings["cache_dir"] = str(self.cache)
        if (folder / "README.md").is_file():  # as on the hub: it says which files belong to which edition
            return _load_dataset(str(folder), name, settings, partial(self._unreadable, folder))
        edition = folder / name if name and (folder / name).is_dir() else folder
        return _load_dataset(str(edition), None, settings, partial(self._unreadable, edition))

    def _missing(self, path: str) -> DataError:
        place = path if self.data is None else self.data / path
        return DataError(
            f"the data set of the task {self.task} cannot be read",
            path=place,
            remedy=f"Put its files into DATA/{path} and pass --data DATA, or fetch it where the hub can be reached",
        )

    def _unreadable(self, files: Any, said: str) -> DataError:
        """Of files that the user has brought; `files`: as the task names them, or their folder."""
        named = files.values() if isinstance(files, Mapping) else [files]
        return DataError(
            f"the data of the task {self.task} cannot be read: {said}",
            path=", ".join(map(str, named)),
            remedy="Check that each file is there, whole, and has rows",
        )


def _load_dataset(path: str, name: str | None, settings: Mapping[str, Any], refusal: Callable[[str], DataError]) -> Any:
    try:
        return _original(path, name, **settings)
    except LarpoError:
        raise
    except Exception as error:  # the library raises whatever files and servers lead it to
        cause = error.__cause__ or error
        raise refusal(f"{type(cause).__name__}: {cause}".strip(": ").split("\n", 1)[0][:300]) from error


def _original(path: str, name: str | None, **settings: Any) -> Any:
    from datasets.load import load_dataset

    return load_dataset(path, name, **settings)


def _load(manager: Any, name: str) -> Any:
    if name not in manager.task_index:
        near = difflib.get_close_matches(name, manager.all_tasks)
        remedy = f"Did you mean {', '.join(near)}?" if near else "`lm-eval ls tasks` lists them"
        raise ConfigError(f"lm_eval.tasks: lm-eval has no task '{name}'", remedy=remedy)
    try:
        return manager.load([name])
    except LarpoError:
        raise
    except FAILS as error:
        entry = manager.task_index[name]
        unknown = unknown_metrics(entry.cfg or {}) if isinstance(error, KeyError) else []
        said = ValueError(f"lm-eval has no metric {', '.join(unknown)}") if unknown else error
        what = "cannot be loaded with its first document" if isinstance(said, TemplateError | LookupError) else ""
        what += ", as where a choice is empty" if str(said) == "string index out of range" else ""
        raise failed(name, what or "cannot be loaded", said) from error


def failed(name: str, what: str, error: Exception) -> ConfigError:
    """What a task says that cannot be used."""
    said = str(error).strip().split("\n", 1)[0][:300]
    return ConfigError(
        f"{name}: {what}: {type(error).__name__}: {said}", remedy="See the task's definition and its data"
    )


def _set_up(task: Any, config: LmEvalConfig) -> None:
    """As lm-eval's `simple_evaluate` does it."""
    if config.gen_kwargs and task.get_config("output_type") == "generate_until":
        task.set_config(key="generation_kwargs", value=dict(config.gen_kwargs), update=True)
    own = task.get_config("num_fewshot")
    if own is None or (config.examples is not None and own != 0):
        task.set_config(key="num_fewshot", value=config.examples or 0)
    task.set_fewshot_seed(seed=config.examples_seed)


def _documents(task: Any, limit: int | None) -> Iterator[Any]:
    return itertools.islice(iter(task.eval_docs), limit)


def _needs_punkt(doc: Any) -> bool:
    named = doc.get("instruction_id_list") if isinstance(doc, Mapping) else None
    return any(INSTRUCTIONS[each].needs_punkt for each in named or () if each in INSTRUCTIONS)


def _digest(docs: Iterable[Any]) -> str:
    found = hashlib.sha256()
    for doc in docs:
        found.update(json.dumps(doc, sort_keys=True, default=str).encode() + b"\n")
    return found.hexdigest()


def _leave(name: str) -> str:
    return f"Leave {name} out of lm_eval.tasks"
