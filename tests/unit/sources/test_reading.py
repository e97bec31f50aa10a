"""Files are written by other libraries (pandas, gzip, lzma) than the ones that read them, where there is one."""

import csv
import gzip
import json
import lzma
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from larpo_lib.errors import DataError
from larpo_lib.sources.locating import is_dataset
from larpo_lib.sources.reading import Raw, read_dataset, read_file

ROWS = [{"prompt": "Zürich\u2028or\nBern?", "answer": "42"}, {"prompt": 'say "hi", please', "answer": None}]


def read(path: Path) -> Raw:
    return read_file(path, str(path))


def values(raw: Raw) -> list[dict[str, Any]]:
    return [row.values for row in raw.rows]


def write(path: Path) -> None:
    frame = pd.DataFrame(ROWS)
    match path.suffix:
        case ".jsonl":
            frame.to_json(path, orient="records", lines=True, force_ascii=False)
        case ".json":
            frame.to_json(path, orient="records")
        case ".csv":
            frame.to_csv(path, index=False)
        case ".parquet":
            frame.to_parquet(path)


def compress(path: Path, suffix: str) -> Path:
    compressed = path.with_name(path.name + suffix)
    match suffix:
        case ".gz":
            compressed.write_bytes(gzip.compress(path.read_bytes()))
        case ".xz":
            compressed.write_bytes(lzma.compress(path.read_bytes()))
        case ".zst":
            with pa.CompressedOutputStream(str(compressed), "zstd") as stream:
                stream.write(path.read_bytes())
    return compressed if suffix else path


@pytest.mark.parametrize("compression", ["", ".gz", ".xz", ".zst"])
@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".parquet"])
def test_every_kind_of_file_gives_the_same_rows(tmp_path: Path, suffix: str, compression: str) -> None:
    write(tmp_path / f"rows{suffix}")
    raw = read(compress(tmp_path / f"rows{suffix}", compression))
    assert values(raw) == ROWS
    assert raw.name == f"rows{suffix}{compression}"
    assert raw.columns == ["prompt", "answer"]


def test_rows_are_numbered_by_line(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n\r\n{"b": 2}\n')
    assert [(row.number, row.values) for row in read(tmp_path / "a.jsonl").rows] == [(1, {"a": 1}), (3, {"b": 2})]
    (tmp_path / "a.csv").write_bytes(b'\xef\xbb\xbfa,b\r\n"two\nlines",1\r\n\r\n,2\r\n')
    found = [(row.number, row.values) for row in read(tmp_path / "a.csv").rows]
    assert found == [(2, {"a": "two\nlines", "b": "1"}), (5, {"a": None, "b": "2"})]


def test_long_csv_fields_are_read_and_the_limit_of_others_is_kept(tmp_path: Path) -> None:
    limit = csv.field_size_limit()
    pd.DataFrame({"a": ["x" * 500_000]}).to_csv(tmp_path / "a.csv", index=False)
    assert values(read(tmp_path / "a.csv")) == [{"a": "x" * 500_000}]
    assert csv.field_size_limit() == limit


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"a": 1}\n{"a": \n', r"a\.jsonl, row 2: broken JSON at column 6"),
        ("a.jsonl", b'{"a": 1}\n[1]\n', r"row 2: is not a JSON object"),
        ("a.jsonl", b'{"a": 1}\n{"a": "\xfc"}\n', r"row 2: is not valid UTF-8 \(byte 8\)\. Convert it"),
        ("a.jsonl", "{}".encode("utf-16"), r"row 1: is not valid UTF-8"),
        ("a.jsonl", b"", "contains no rows"),
        ("a.jsonl", b"\n \n", "contains no rows"),
        ("a.jsonl", b'{"a": ' + b"9" * 5000 + b"}", "row 1: JSON cannot be read"),
        ("a.jsonl", b"[" * 100_000, "row 1: JSON cannot be read"),
        ("a.json", b"", "contains no rows"),
        ("a.json", b"[]", "contains no rows"),
        ("a.json", b'{"a": 1}', r"not an array of rows. Write .* or rename the file to \.jsonl"),
        ("a.json", b'{"a": 1}\n{"a": 2}', r"broken JSON at line 2, column 1.*rename it to \.jsonl"),
        ("a.json", b'[{"a": 1}, 2]', "row 2: is not a JSON object"),
        ("a.json", b'["\xfc"]', "is not valid UTF-8"),
        ("a.csv", b"", "contains no rows"),
        ("a.csv", b"a,b\n", "contains no rows"),
        ("a.csv", b"a,b\n1,2\n1,2,3\n", "row 3: has 3 fields, but the header has 2"),
        ("a.csv", b"a,b\n1,2\n1\n", "row 3: has 1 fields, but the header has 2"),
        ("a.csv", b"a,a\n1,2\n", r"row 1: two columns have the same name"),
        ("a.csv", b'a,b\n1,"2\n', "row 2: broken CSV"),
        ("a.csv", b"a,b\n1,\xfc\n", "row 2: is not valid UTF-8"),
        ("a.parquet", b"no parquet", "cannot be read"),
        (
            "a.jsonl.gz",
            gzip.compress(b'{"a": 1}\n' * 9, mtime=0)[:-9],
            "cannot be read.*Check that the file is complete",
        ),
        ("a.jsonl.gz", b"plain", "cannot be read"),
        ("a.jsonl.xz", lzma.compress(b'{"a": 1}\n' * 9)[:-9], "cannot be read"),
        ("a.jsonl.xz", b"plain", "cannot be read"),
        ("a.jsonl.zst", b"plain", "cannot be read"),
        ("a.txt", b"text", r"unknown file type\. Known types: \.jsonl, \.json, \.csv, \.parquet, each also with \.gz"),
        ("a.gz", b"text", "unknown file type"),
    ],
)
def test_broken_file_is_told_in_one_line(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as raised:
        read(tmp_path / name)
    assert str(raised.value).startswith(str(tmp_path / name))
    assert "\n" not in str(raised.value)


def test_truncated_zstandard_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n' * 1000)
    whole = compress(tmp_path / "a.jsonl", ".zst").read_bytes()
    (tmp_path / "a.jsonl.zst").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="cannot be read"):
        read(tmp_path / "a.jsonl.zst")


def test_sources_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "rows.jsonl").touch()
    (tmp_path / "data" / "rows").touch()
    assert not is_dataset("data/rows.jsonl")
    assert not is_dataset("data/rows")
    assert is_dataset("openai/gsm8k")
    assert is_dataset("openai/gsm8k:main")
    assert is_dataset("org/name-v0.1")
    for source in ("data/absent.jsonl", "data/absent.jsonl.gz", "rows", "a/b/c", "org/name:a:b", "/absent"):
        with pytest.raises(
            DataError, match=r"is neither an existing file or directory nor the name of a data set \(org/name"
        ):
            is_dataset(source)
    assert not is_dataset("data")
    assert not is_dataset("data/*.jsonl")


def test_data_set_is_read_by_split_and_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "org" / "name"  # `datasets` takes a local folder of that name for the data set
    folder.mkdir(parents=True)
    (folder / "train.jsonl").write_text('{"prompt": "a"}\n')
    (folder / "test.jsonl").write_text('{"prompt": "b"}\n{"prompt": "c"}\n')
    raw = read_dataset("org/name:default", "test")
    assert [(row.number, row.values["prompt"]) for row in raw.rows] == [(1, "b"), (2, "c")]
    assert raw.origin == raw.name == "org/name:default"
    with pytest.raises(DataError, match=r"org/name: split 'dev' cannot be loaded.*\['test', 'train'\]|Unknown split"):
        read_dataset("org/name", "dev")
    with pytest.raises(DataError, match="org/name:other: split 'train' cannot be loaded"):
        read_dataset("org/name:other", "train")


def test_unreachable_hub_ends_in_one_line() -> None:
    code = (
        "from larpo_lib.sources.reading import read_dataset; from larpo_lib.errors import DataError\n"
        "try: read_dataset('some-org/some-name', 'train')\n"
        "except DataError as error: print(error)\n"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("some-org/some-name: split 'train' cannot be loaded: Couldn't reach")
    assert done.stdout.count("\n") == 1


def test_published_files_are_read_whole(shared_data: Any) -> None:
    for name, number in [
        ("ultrafeedback/prompts_5000.jsonl.gz", 5000),
        ("alpaca_eval/candidate_lists.jsonl.xz", 805),
        ("alpaca_eval/gpt4_1106_preview.outputs.json.gz", 805),
    ]:
        assert len(read(shared_data(name)).rows) == number
    table = pd.read_csv(shared_data("alpaca_eval/preferences_6_models.csv.gz"))
    raw = read(shared_data("alpaca_eval/preferences_6_models.csv.gz"))
    assert [float(row["preference"] or "nan") for row in values(raw)] == pytest.approx(
        list(table["preference"]), nan_ok=True
    )
    assert json.dumps(raw.columns) == json.dumps(list(table.columns))
