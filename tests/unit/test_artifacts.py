import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from small_artifacts import Settings, beside, content, double, never

from larpo_lib.artifacts import Metrics, WorkDir, digest, produce, read_manifest, read_metrics, verify
from larpo_lib.errors import ArtifactError, DataError, LarpoError
from larpo_lib.files import write_json


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.txt"
    path.write_text("source", "utf-8")
    return path


def test_artifact_holds_data_metrics_and_manifest(tmp_path: Path, source: Path) -> None:
    output = tmp_path / "new" / "out"
    metrics = produce("double", Settings(value=2), {"source": source}, output, double, arguments={"iteration": 3})
    assert metrics == read_metrics(output) == {"rows": 2, "share": 0.5, "undefined": None}
    assert set(content(output)) == {"artifact.json", "metrics.json", "text.txt", "deep/number.txt"}
    manifest = read_manifest(output)
    assert (manifest["step"], manifest["config"]) == ("double", {"value": 2, "inner": {}})
    assert manifest["arguments"] == {"iteration": 3}
    assert manifest["inputs"] == {"source": digest(source)}
    assert manifest["files"]["deep/number.txt"]["bytes"] == 1
    assert manifest["libraries"].keys() >= {"torch", "pyarrow"}
    assert beside(output) == {"out"}
    verify(output)


def test_same_work_elsewhere_gives_the_same_bytes(tmp_path: Path, source: Path) -> None:
    elsewhere = tmp_path / "elsewhere" / "copy.txt"
    elsewhere.parent.mkdir()
    elsewhere.write_bytes(source.read_bytes())
    produce("double", Settings(), {"source": source}, tmp_path / "a", double)
    produce("double", Settings(), {"source": elsewhere}, tmp_path / "b", double)
    assert content(tmp_path / "a") == content(tmp_path / "b")


def test_finished_work_is_not_done_again(tmp_path: Path, source: Path) -> None:
    metrics = produce("double", Settings(), {"source": source}, tmp_path / "out", double)
    before = content(tmp_path / "out")
    assert produce("double", Settings(), {"source": source}, tmp_path / "out", never) == metrics
    assert content(tmp_path / "out") == before


@pytest.mark.parametrize(
    ("step", "settings", "text", "arguments", "difference"),
    [
        ("double", Settings(value=5), "source", {}, "made with config.value 1 instead of 5"),
        ("double", Settings(inner={"a": 1}), "source", {}, "made with config.inner.a null instead of 1"),
        ("double", Settings(), "other", {}, "made with inputs.source"),
        ("triple", Settings(), "source", {}, 'made with step "double" instead of "triple"'),
        ("double", Settings(), "source", {"iteration": 1}, "made with arguments.iteration null instead of 1"),
    ],
)
def test_artifact_made_otherwise_is_refused_and_kept(
    tmp_path: Path, source: Path, step: str, settings: Settings, text: str, arguments: dict[str, int], difference: str
) -> None:
    produce("double", Settings(), {"source": source}, tmp_path / "out", double)
    before = content(tmp_path / "out")
    source.write_text(text, "utf-8")
    with pytest.raises(ArtifactError) as caught:
        produce(step, settings, {"source": source}, tmp_path / "out", never, arguments=arguments)
    assert difference in str(caught.value)
    assert "Choose another output, or delete this one" in str(caught.value)
    assert content(tmp_path / "out") == before


def test_many_differences_are_cut_short(tmp_path: Path) -> None:
    produce("double", Settings(), {}, tmp_path / "out", double)
    other = Settings(value=2, inner=dict.fromkeys("abcdef", 1))
    with pytest.raises(ArtifactError) as caught:
        produce("double", other, {}, tmp_path / "out", never)
    assert str(caught.value).count("instead of") == 3


def test_foreign_directory_or_file_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter").write_text("dear", "utf-8")
    with pytest.raises(ArtifactError, match=r"mine: is not an artifact \(it has no artifact\.json\)\. Use"):
        produce("double", Settings(), {}, tmp_path / "mine", never)
    with pytest.raises(ArtifactError, match="letter: is not an artifact"):
        produce("double", Settings(), {}, tmp_path / "mine" / "letter", never)
    assert content(tmp_path / "mine") == {"letter": b"dear", ".letter.lock": b""}


@pytest.mark.parametrize("failure", [ZeroDivisionError, KeyboardInterrupt, lambda: DataError("x", path="y")])
def test_error_leaves_no_output_and_partial_results_stay(tmp_path: Path, failure: Callable[[], BaseException]) -> None:
    def fail(work: WorkDir) -> Metrics:
        (work.data / "half").touch()
        (work.scratch / "part-0").write_text("done", "utf-8")
        raise failure()

    with pytest.raises((ZeroDivisionError, KeyboardInterrupt, DataError)):
        produce("double", Settings(), {}, tmp_path / "out", fail)
    assert beside(tmp_path / "out") == {".out.partial"}

    def go_on(work: WorkDir) -> Metrics:
        assert (work.scratch / "part-0").read_text("utf-8") == "done"
        assert list(work.data.iterdir()) == []
        return double(work)

    produce("double", Settings(), {}, tmp_path / "out", go_on)
    assert beside(tmp_path / "out") == {"out"}
    produce("double", Settings(), {}, tmp_path / "fresh", double)
    assert content(tmp_path / "out") == content(tmp_path / "fresh")


@pytest.mark.parametrize("name", ["deep/number.txt", "metrics.json"])
def test_flipped_bit_and_missing_file_are_found(tmp_path: Path, name: str) -> None:
    produce("double", Settings(), {}, tmp_path / "out", double)
    file = tmp_path / "out" / name
    whole = file.read_bytes()
    file.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    with pytest.raises(ArtifactError, match=rf"{name}: is missing or differs from its checksum\. Delete the artifact"):
        verify(tmp_path / "out")
    file.unlink()
    with pytest.raises(ArtifactError, match=f"{name}: is missing"):
        verify(tmp_path / "out")


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        (b"{", r"artifact\.json: cannot be read"),
        (b"\xff", r"artifact\.json: cannot be read"),
        (b"[]", r"artifact\.json: cannot be read: it does not contain a JSON object\. Delete the artifact"),
        (b'{"version": 1}', r"artifact\.json: is not a manifest"),
        (
            b'{"version": 99}',
            r"format version 99, but this version of larpo reads format version 1\. Make the artifact again",
        ),
    ],
)
def test_damaged_manifest_is_told(tmp_path: Path, manifest: bytes, message: str) -> None:
    produce("double", Settings(), {}, tmp_path / "out", double)
    (tmp_path / "out" / "artifact.json").write_bytes(manifest)
    readers: list[Callable[[], object]] = [
        lambda: verify(tmp_path / "out"),
        lambda: digest(tmp_path / "out"),
        lambda: produce("double", Settings(), {}, tmp_path / "out", never),
        lambda: produce("next", Settings(), {"source": tmp_path / "out"}, tmp_path / "next", never),
    ]
    for read in readers:
        with pytest.raises(ArtifactError, match=message):
            read()


@pytest.mark.parametrize(
    ("metrics", "problem"), [(None, "cannot be"), (b"{", "cannot be read"), (b"\xff", "cannot be")]
)
def test_damaged_metrics_are_told(tmp_path: Path, metrics: bytes | None, problem: str) -> None:
    produce("double", Settings(), {}, tmp_path / "out", double)
    (tmp_path / "out" / "metrics.json").unlink()
    if metrics is not None:
        (tmp_path / "out" / "metrics.json").write_bytes(metrics)
    with pytest.raises(ArtifactError, match=rf"metrics\.json: {problem}.*\. Delete the artifact"):
        produce("double", Settings(), {}, tmp_path / "out", never)


def test_digest_is_of_content_and_names(tmp_path: Path) -> None:
    for name, text in (("a/one", "1"), ("a/deep/two", "2"), ("same/deep/two", "2"), ("same/one", "1")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, "utf-8")
    before = digest(tmp_path / "a")
    assert digest(tmp_path / "same") == before
    assert digest(tmp_path / "a" / "one") != digest(tmp_path / "a" / "deep" / "two")
    (tmp_path / "same" / "one").rename(tmp_path / "same" / "renamed")
    assert digest(tmp_path / "same") != before
    (tmp_path / "a" / "one").write_text("changed", "utf-8")
    assert digest(tmp_path / "a") != before


def test_digest_of_an_artifact_is_of_its_data_and_not_of_how_it_was_made(tmp_path: Path) -> None:
    produce("double", Settings(value=1), {}, tmp_path / "a", double)
    produce("double", Settings(value=2), {}, tmp_path / "b", double)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")


def test_missing_input_is_told_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"nowhere: no such file or directory\. Run the step that makes it first"):
        produce("double", Settings(), {"source": tmp_path / "nowhere"}, tmp_path / "new" / "out", never)
    assert not (tmp_path / "new").exists()


def test_metrics_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        produce("double", Settings(), {}, tmp_path / "out", lambda _work: {"loss": float("nan")})
    assert not (tmp_path / "out").exists()


def test_json_file_is_the_old_or_the_new_one_whenever_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    write_json(path, {"text": "ö" * 1000})
    seen, done = set(), threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.add(len(json.loads(path.read_text("utf-8"))["text"]))

    reader = threading.Thread(target=read)
    reader.start()
    for length in range(1000, 1100):
        write_json(path, {"text": "ö" * length})
    done.set()
    reader.join()
    assert seen <= set(range(1000, 1100))
    assert seen
    assert [file.name for file in tmp_path.iterdir()] == ["value.json"]


def test_json_of_one_value_is_one_text(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1, "a": "ö"})
    write_json(tmp_path / "b.json", {"a": "ö", "b": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert (tmp_path / "a.json").read_text("utf-8") == '{\n  "a": "ö",\n  "b": 1\n}\n'


def test_errors_of_the_user_pass_as_they_are(tmp_path: Path) -> None:
    def fail(_work: WorkDir) -> Metrics:
        raise LarpoError("no list is left")

    with pytest.raises(LarpoError, match=r"^no list is left\.$"):
        produce("double", Settings(), {}, tmp_path / "out", fail)
