"""What a source is: a file, several of them, a saved data set, or the name of one on the Hugging Face hub."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from larpo_lib.errors import DataError
from larpo_lib.sources.reading import Raw, RawRow, Streamed, file_rows, is_known, known, read_saved

_DATASET = re.compile(r"[\w.-]+/[\w.-]+(:[\w.-]+)?")
_PATTERN = re.compile(r"[*?\[]")
_SAVED = ("dataset_dict.json", "state.json")
_SHARD = re.compile(r"(.+?)-\d{5}-of-\d{5}")
_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
"""Words in the names of files, as the `datasets` library knows them."""


@dataclass(frozen=True)
class Located:
    """Where the rows of a source are on this machine.

    Attributes:
        origin: the source as the user gave it.
        name: the source without its place on this machine.
        folder: what the names of `files` are below, for messages.
        files: those that are read, by name, in order; empty of a data set that `save_to_disk` wrote.
        inputs: what the rows depend on: files and directories.
        split: of a saved data set.
        files_not_read: names of those of other splits.
    """

    origin: str
    name: str
    folder: str
    files: dict[str, Path]
    inputs: dict[str, Path]
    split: str
    files_not_read: list[str] = field(default_factory=list)

    def read(self) -> Raw:
        """Every row, file by file.

        Raises:
            DataError: a file cannot be read or holds no rows; also when rows are read.
        """
        if not self.files:
            return read_saved(self.inputs["source"], self.origin, self.name, self.split)
        if [*self.files.values()] == [*self.inputs.values()] and len(self.files) == 1:
            (path,) = self.files.values()
            return Raw(self.origin, self.name, Streamed(lambda: file_rows(path, self.origin)))
        return Raw(self.origin, self.name, Streamed(self._of_files), self.folder, self.files_not_read)

    def _of_files(self) -> Iterator[RawRow]:
        for name, path in self.files.items():
            for row in file_rows(path, f"{self.folder}/{name}"):
                yield replace(row, file=name)


def is_dataset(source: str) -> bool:
    """Whether `source` is to be looked up as a data set: not a local path, and of the form org/name or org/name:config.

    Raises:
        DataError: it is neither an existing file or directory, nor a pattern, nor such a name.
    """
    path = Path(source)
    if path.exists() or _PATTERN.search(source):
        return False
    if is_known(path) or not _DATASET.fullmatch(source):
        raise DataError(
            "is neither an existing file or directory nor the name of a data set (org/name or org/name:config)",
            path=source,
            remedy="Check the path; it is relative to the working directory",
        )
    return True


def source_name(source: str) -> str:
    """The source without the local directory it lies in."""
    local = Path(source).exists() or ("://" not in source and _PATTERN.search(source))
    return Path(source).name or Path(source).resolve().name if local else source


def locate(source: str, path: Path, split: str) -> Located:
    """Find the files of a source that is no data set's name.

    Of a directory these are all of a known kind below it; where their names speak of splits, those of `split`. A
    pattern names its files itself.

    Args:
        source: what the user gave.
        path: the same on this machine.
        split: of a directory, as `datasets` reads the names of files.

    Raises:
        DataError: there is no such file, or none of the split.
    """
    name = source_name(source)
    if path.is_dir():
        saved = any((path / each).is_file() for each in _SAVED)
        there = {} if saved else _below(path, source)
        files = _of_split(there, source, split)
        other = sorted(there.keys() - files.keys())
        inputs = {"source": path, **_behind_links(path, there)}
        return Located(source, name, source.rstrip("/"), files, inputs, split, other)
    if not path.exists() and _PATTERN.search(source):
        return _matching(source, name, split)
    return Located(source, name, str(Path(source).parent), {path.name: path}, {"source": path}, split)


def _below(directory: Path, origin: str) -> dict[str, Path]:
    found = {path.relative_to(directory).as_posix(): path for path in sorted(_walk(directory, frozenset()))}
    if not found:
        raise DataError("is a directory without data files", path=origin, remedy=f"Known kinds: {known()}")
    return found


def _walk(folder: Path, above: frozenset[Path]) -> Iterator[Path]:
    """The files of a known kind in a folder and below it, also behind links to folders, but for those that lead back.

    Args:
        folder: to look into.
        above: the real places of those that it was found in.
    """
    real = folder.resolve()
    if real in above:
        return
    try:
        there = [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", path=folder, remedy="Make the folder readable") from None
    for path in there:
        if path.is_dir():
            yield from _walk(path, above | {real})
        elif path.is_file() and is_known(path):
            yield path


def _behind_links(directory: Path, files: Mapping[str, Path]) -> dict[str, Path]:
    """The files that are no part of a directory's digest, which leaves out what is behind links to folders."""
    linked = {
        name
        for name in files
        if any((directory / folder).is_symlink() for folder in Path(name).parents if folder != Path())
    }
    return {f"source/{name}": files[name] for name in sorted(linked)}


def _of_split(files: dict[str, Path], origin: str, split: str) -> dict[str, Path]:
    by_name = {name: _split_of(name) for name in files}
    if not any(by_name.values()):
        return files
    unnamed = [name for name, of in by_name.items() if of is None]
    if unnamed:
        raise DataError(
            f"contains files of splits, but also {unnamed[0]}, whose name contains no split",
            path=origin,
            remedy="Select the files with a pattern such as 'data/*.jsonl'",
        )
    wanted = {split, _SPLITS.get(split, split)}
    found = {name: files[name] for name, of in by_name.items() if of in wanted}
    if not found:
        there = sorted({of for of in by_name.values() if of is not None})
        raise DataError(
            f"contains files of the split(s) {', '.join(there)}, not of '{split}'",
            path=origin,
            remedy="Set split, or select the files with a pattern such as 'data/*.jsonl'",
        )
    return found


def _split_of(name: str) -> str | None:
    """The split that a file's name speaks of: `train_prefs-00000-of-00002.parquet`, `test.jsonl`, `dev/a.csv`."""
    path = Path(name)
    stem = path.name.partition(".")[0]
    if (shard := _SHARD.match(stem)) is not None:
        return shard.group(1)
    words = [word for part in (stem, *path.parent.parts) for word in re.split(r"[^a-z]+", part.lower())]
    return next((_SPLITS[word] for word in words if word in _SPLITS), None)


def _matching(pattern: str, name: str, split: str) -> Located:
    parts = Path(pattern).parts
    fixed = next(number for number, part in enumerate(parts) if _PATTERN.search(part))
    folder = Path(*parts[:fixed])
    found = sorted(path for path in folder.glob("/".join(parts[fixed:])) if path.is_file())
    if not found:
        raise DataError("matches no file", path=pattern, remedy="Check the pattern, and quote it for the shell")
    files = {path.relative_to(folder).as_posix(): path for path in found}
    return Located(pattern, name, str(folder), files, {f"source/{each}": path for each, path in files.items()}, split)
