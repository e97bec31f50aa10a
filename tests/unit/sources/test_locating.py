"""Sources of several files, and data sets that the `datasets` library saved."""

import json
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, DatasetDict

from larpo_lib.config import PrepareConfig
from larpo_lib.errors import DataError
from larpo_lib.sources.conversion import prompts
from larpo_lib.sources.locating import locate
from larpo_lib.sources.reading import Raw


def write(path: Path, *texts: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts))


def read(source: Path | str, split: str = "train") -> Raw:
    return locate(str(source), Path(source), split).read()


def texts(raw: Raw) -> list[Any]:
    return [row.values["prompt"] for row in raw.rows]


def test_files_of_a_directory_are_read_by_name_at_any_depth(tmp_path: Path) -> None:
    write(tmp_path / "d" / "b.jsonl", "3")
    write(tmp_path / "d" / "a" / "x.jsonl", "1", "2")
    write(tmp_path / "d" / ".cache" / "y.jsonl", "hidden")
    (tmp_path / "d" / "README.md").write_text("no rows")
    raw = read(tmp_path / "d")
    assert texts(raw) == ["1", "2", "3"]
    assert (raw.name, [row.file for row in raw.rows]) == ("d", ["a/x.jsonl", "a/x.jsonl", "b.jsonl"])


def test_files_behind_links_to_folders_are_read_and_are_inputs_of_their_own(tmp_path: Path) -> None:
    """A directory's digest would not change with them."""
    write(tmp_path / "disk" / "b" / "z.jsonl", "3")
    write(tmp_path / "d" / "a.jsonl", "1")
    write(tmp_path / "d" / "c" / "plain.jsonl", "2")
    (tmp_path / "d" / "linked").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "back").symlink_to(tmp_path / "d")  # around in a circle
    (tmp_path / "d" / "c" / "self").symlink_to(tmp_path / "d" / "c")
    (tmp_path / "d" / "dangling").symlink_to(tmp_path / "nowhere")
    assert texts(read(tmp_path / "d")) == ["1", "2", "3"]
    located = locate(f"{tmp_path}/d", tmp_path / "d", "train")
    behind = "linked/b/z.jsonl"
    assert located.inputs == {"source": tmp_path / "d", f"source/{behind}": tmp_path / "d" / behind}


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "d" / "a.jsonl", "1")
    (tmp_path / "d" / "b").mkdir()
    listed = Path.iterdir

    def refused(folder: Path) -> Any:
        if folder.name == "b":
            raise PermissionError(13, "Permission denied")
        return listed(folder)

    monkeypatch.setattr(Path, "iterdir", refused)
    with pytest.raises(DataError, match=r"d/b: cannot be read: Permission denied\. Make the folder readable"):
        read(tmp_path / "d")


def test_bad_row_of_several_files_is_told_with_its_file(tmp_path: Path) -> None:
    write(tmp_path / "d" / "a.jsonl", "1")
    write(tmp_path / "d" / "b.jsonl", "2", "")
    for source in (f"{tmp_path}/d", f"{tmp_path}/d/*.jsonl"):
        with pytest.raises(DataError, match=r"/d/b\.jsonl, row 2, field 'prompt': is empty"):
            prompts(read(source), PrepareConfig(source=source))
    dropped = prompts(read(tmp_path / "d"), PrepareConfig(source="d", invalid="drop")).record["rows_dropped"]
    assert dropped == [{"file": "b.jsonl", "row": 2, "why": "row 2, field 'prompt': is empty."}]


def test_pattern_names_its_files(tmp_path: Path) -> None:
    for name in ("test-1.jsonl", "test-2.jsonl", "train.jsonl", "deep/test-3.jsonl"):
        write(tmp_path / name, name)
    assert texts(read(f"{tmp_path}/test-*.jsonl")) == ["test-1.jsonl", "test-2.jsonl"]
    assert texts(read(f"{tmp_path}/**/test-[13].jsonl")) == ["deep/test-3.jsonl", "test-1.jsonl"]
    with pytest.raises(DataError, match="matches no file"):
        read(f"{tmp_path}/none-*.jsonl")


@pytest.mark.parametrize(
    ("names", "split", "expected"),
    [
        (("train-00000-of-00002.jsonl", "train-00001-of-00002.jsonl", "test-00000-of-00001.jsonl"), "train", (0, 1)),
        (("train_prefs-00000-of-00001.jsonl", "train_sft-00000-of-00001.jsonl"), "train_prefs", (0,)),
        (("dev.jsonl", "train.jsonl"), "validation", (0,)),
        (("test/a.jsonl", "train/a.jsonl"), "test", (0,)),
        (("a.jsonl", "b.jsonl"), "train", (0, 1)),
        (("latest.jsonl", "retrain.jsonl"), "train", (0, 1)),
    ],
)
def test_split_of_a_directory_is_read_by_the_names_of_files(
    tmp_path: Path, names: tuple[str, ...], split: str, expected: tuple[int, ...]
) -> None:
    for name in names:
        write(tmp_path / name, name)
    raw = read(tmp_path, split)
    assert texts(raw) == [names[index] for index in expected]
    assert raw.files_not_read == sorted({*names} - {*texts(raw)})
    assert prompts(raw, PrepareConfig(source="d")).record["files_not_read"] == raw.files_not_read


def test_split_that_no_file_has_is_told(tmp_path: Path) -> None:
    write(tmp_path / "train_prefs-00000-of-00001.jsonl", "a")
    write(tmp_path / "test.jsonl", "b")
    with pytest.raises(
        DataError, match=r"contains files of the split\(s\) test, train_prefs, not of 'train'\. Set split"
    ):
        read(tmp_path)
    write(tmp_path / "more.jsonl", "c")
    with pytest.raises(DataError, match=r"more\.jsonl, whose name contains no split.*with a pattern"):
        read(tmp_path, "test")


def test_saved_data_sets_are_read(tmp_path: Path) -> None:
    rows = [{"messages": [{"role": "user", "content": "a"}]}, {"messages": [{"role": "user", "content": "b"}]}]
    Dataset.from_list(rows).save_to_disk(tmp_path / "one")
    DatasetDict(train=Dataset.from_list(rows[:1]), test=Dataset.from_list(rows[1:])).save_to_disk(tmp_path / "two")
    assert [row.values for row in read(tmp_path / "one").rows] == rows
    assert [row.values for row in read(tmp_path / "two", "test").rows] == rows[1:]
    assert read(tmp_path / "two").name == "two"
    with pytest.raises(DataError, match=r"two: has the splits train, test, not 'dev'\. Set split"):
        read(tmp_path / "two", "dev")
    (tmp_path / "one" / "data-00000-of-00001.arrow").write_bytes(b"torn")
    with pytest.raises(DataError, match=r"one: cannot be read.*Save the data set again"):
        read(tmp_path / "one")


def test_directory_without_rows_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is a directory without data files\. Known kinds: \.jsonl"):
        read(tmp_path)
