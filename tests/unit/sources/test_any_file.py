"""Files that nobody would send: whatever their bytes, they are read, or refused by a DataError of one line."""

import gzip
import io
import lzma
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fuzzing import few, is_one_line
from hypothesis import given
from hypothesis import strategies as st

from larpo_lib.errors import DataError
from larpo_lib.sources.reading import read_file


def _parquet() -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({"prompt": ["a", "b"], "rewards": [[1.0], [0.5, 2.0]]}), out)
    return out.getvalue()


LINES = b'{"prompt": "a", "n": 1}\n{"prompt": "b", "n": [1.5, null]}\n'
WHOLE = {
    "x.jsonl": LINES,
    "x.json": b'[{"prompt": "a"}, {"prompt": "b"}]',
    "x.csv": b'prompt,answer\n"a, b",1\nc,"d\ne"\n',
    "x.parquet": _parquet(),
    "x.jsonl.gz": gzip.compress(LINES),
    "x.csv.xz": lzma.compress(b"prompt,answer\na,1\n"),
}
ODD = st.binary(max_size=6) | st.sampled_from(
    [b"[" * 3000, b'{"a":' * 3000, b"9" * 5000, b"\x00", b"\xff\xfe", b'"', b"\r", b"NaN"]
)


@few
@given(st.sampled_from([*WHOLE]), st.floats(0, 1), st.floats(0, 1), ODD)
def test_any_file_is_rows_or_refused(
    tmp_path_factory: pytest.TempPathFactory, name: str, begin: float, end: float, odd: bytes
) -> None:
    """A piece of a whole file is another."""
    content = WHOLE[name]
    places = sorted(int(share * len(content)) for share in (begin, end))
    path = Path(tmp_path_factory.getbasetemp()) / name
    path.write_bytes(content[: places[0]] + odd + content[places[1] :])
    told, rows = "", []
    try:
        rows = read_file(path, "given").rows
    except DataError as error:
        told = str(error)
    assert bool(rows) != bool(told)
    assert is_one_line(told)
    assert not told or (told.startswith("given") and len(told) < 2000)
