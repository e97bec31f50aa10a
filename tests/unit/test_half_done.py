"""What becomes of half-done work when the same output is asked for again."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from small_artifacts import OneSetting, Settings, beside, content, double, never

from larpo_lib import half_done as folders
from larpo_lib import results
from larpo_lib.artifacts import Metrics, WorkDir, produce
from larpo_lib.cli.app import root
from larpo_lib.config.mixins import InParts
from larpo_lib.errors import ArtifactError, HeldError
from larpo_lib.files import write_json
from larpo_lib.half_done import VARIABLE
from larpo_lib.pool import use_pool


def stop_at(name: str) -> Callable[[WorkDir], Metrics]:
    def stop(work: WorkDir) -> Metrics:
        (work.scratch / name).parent.mkdir(exist_ok=True)
        (work.scratch / name).write_text("hours of work", "utf-8")
        raise InterruptedError

    return stop


def half_done(output: Path, name: str = "part-0", **given: object) -> dict[str, bytes]:
    options = {"step": "double", "config": Settings(), "inputs": {}, **given}
    with pytest.raises(InterruptedError):
        produce(output=output, make=stop_at(name), **options)  # type: ignore[arg-type]
    return content(output.parent)


def goes_on(work: WorkDir) -> Metrics:
    assert (work.scratch / "part-0").read_text("utf-8") == "hours of work"
    return double(work)


def begins_anew(work: WorkDir) -> Metrics:
    assert list(work.scratch.iterdir()) == []
    assert len(list(work.data.parent.parent.iterdir())) == 1
    return double(work)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"config": Settings(value=2)}, "config.value 1 instead of 2"),
        ({"config": Settings(inner={"a": 1})}, "config.inner.a null instead of 1"),
        ({"arguments": {"iteration": 1}}, "arguments.iteration null instead of 1"),
        ({"step": "triple"}, 'step "double" instead of "triple"'),
    ],
)
def test_a_change_is_named_and_nothing_is_lost(tmp_path: Path, changed: dict[str, object], named: str) -> None:
    before = half_done(tmp_path / "out")
    with pytest.raises(ArtifactError) as caught:
        produce(**{"step": "double", "config": Settings(), "inputs": {}, "output": tmp_path / "out", "make": never,
                   **changed})  # type: ignore[arg-type]  # fmt: skip
    assert str(caught.value) == (
        f"{tmp_path / 'out'}: is half done with {named}. Undo the change to continue, choose another output, or run "
        "`larpo --discard-partial ...` to discard the half-done work."
    )
    assert content(tmp_path) == before
    produce("double", Settings(), {}, tmp_path / "out", goes_on)
    assert beside(tmp_path / "out") == {"out"}


def test_a_changed_input_and_other_code_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "source.txt"
    source.write_text("one", "utf-8")
    half_done(tmp_path / "out", inputs={"source": source})
    source.write_text("two", "utf-8")
    with pytest.raises(ArtifactError, match=r"is half done with inputs\.source "):
        produce("double", Settings(), {"source": source}, tmp_path / "out", never)
    source.write_text("one", "utf-8")
    monkeypatch.setattr(results, "CHANGES", {"double": (results.FIRST, results.Change("9.9", "twice is four times"))})
    since = r"results of larpo 0\.2\.0, and the step double gives others: since 9\.9, twice is four times\. Undo"
    with pytest.raises(ArtifactError, match=f"is half done with {since}"):
        produce("double", Settings(), {"source": source}, tmp_path / "out", never)


def test_settings_of_how_the_work_is_done_go_on(tmp_path: Path) -> None:
    half_done(tmp_path / "out", config=InParts(processes=1))
    produce("double", InParts(processes=2), {}, tmp_path / "out", goes_on)


def test_a_switch_discards_it_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    half_done(tmp_path / "out")
    monkeypatch.setenv(VARIABLE, "0")
    with pytest.raises(ArtifactError, match="is half done with"):
        produce("double", Settings(value=2), {}, tmp_path / "out", never)
    root(discard_partial=True)  # as the command line does, before its command
    produce("double", Settings(value=2), {}, tmp_path / "out", begins_anew)
    told = f"warning: {tmp_path / 'out'}: half-done work with config.value 1 instead of 2 is discarded\n"
    assert capsys.readouterr().err == told
    assert beside(tmp_path / "out") == {"out"}


@pytest.mark.parametrize("name", [".part-0", ".step-000000004/part-00000.safetensors"])
def test_what_was_only_begun_is_no_work(tmp_path: Path, name: str) -> None:
    """An input that is wrong is told before the work; with another one the step begins."""
    half_done(tmp_path / "out", name)
    produce("double", Settings(value=2), {}, tmp_path / "out", begins_anew)


def test_work_whose_settings_are_lost_is_kept_too(tmp_path: Path) -> None:
    half_done(tmp_path / "out")
    (identity,) = tmp_path.glob(".out.partial/*/identity.json")
    for damage in (lambda: identity.write_bytes(b"\xff{"), lambda: identity.write_text("[]", "utf-8"), identity.unlink):
        damage()
        with pytest.raises(ArtifactError, match=r"is half done with settings that were not recorded\. Undo"):
            produce("double", Settings(value=2), {}, tmp_path / "out", never)
    produce("double", Settings(), {}, tmp_path / "out", goes_on)


def test_an_artifact_of_the_pool_does_not_push_it_away(tmp_path: Path) -> None:
    pool = tmp_path / "pool"
    with use_pool(pool):
        produce("double", OneSetting(value=2), {}, tmp_path / "other", double)
        half_done(tmp_path / "out", config=OneSetting())
        with pytest.raises(ArtifactError, match=r"is half done with config\.value 1 instead of 2"):
            produce("double", OneSetting(value=2), {}, tmp_path / "out", never)
    produce("double", OneSetting(), {}, tmp_path / "out", goes_on)


def test_it_outlives_an_artifact_that_somebody_put_there(tmp_path: Path) -> None:
    half_done(tmp_path / "out")
    produce("double", Settings(value=2), {}, tmp_path / "other", double)
    shutil.copytree(tmp_path / "other", tmp_path / "out")
    produce("double", Settings(value=2), {}, tmp_path / "out", never)
    shutil.rmtree(tmp_path / "out")
    produce("double", Settings(), {}, tmp_path / "out", goes_on)


def test_stray_files_are_left_alone(tmp_path: Path) -> None:
    half_done(tmp_path / "out")
    (tmp_path / ".out.partial" / "notes.txt").write_text("mine", "utf-8")
    produce("double", Settings(), {}, tmp_path / "out", goes_on)
    assert [path.name for path in (tmp_path / ".out.partial").iterdir()] == ["notes.txt"]


def test_a_folder_that_another_process_takes_as_it_is_made_is_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where one process has locks and the other has none."""

    def taken(path: Path, value: object) -> None:
        path.parent.rename(tmp_path / "theirs")
        write_json(path, value)

    monkeypatch.setattr(folders, "write_json", taken)
    with pytest.raises(HeldError, match=r"out: another process has taken it over as it was begun\. Wait until it ends"):
        produce(output=tmp_path / "out", step="double", config=Settings(), inputs={}, make=never)
