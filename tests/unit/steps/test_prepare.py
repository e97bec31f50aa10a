"""The step on published data and on hand-made files; tables are read back by pyarrow alone."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from larpo_lib import artifacts
from larpo_lib.config import PrepareConfig
from larpo_lib.errors import ArtifactError, ConfigError, DataError
from larpo_lib.sources import locating
from larpo_lib.steps import prepare
from larpo_lib.tables import read_table

Shared = Callable[[str], Path]
UNTOUCHED = (
    "invalid_rows_dropped",
    "unrenderable_prompts_dropped",
    "columns_not_used",
    "replies_dropped",
    "conversations_cut_at_prompt",
    "dialogues_split",
    "json_cells_read",
    "empty_system_messages_dropped",
)


def table(artifact: Path, schema: str = "prompts") -> list[dict[str, Any]]:
    artifacts.verify(artifact)
    rows: list[dict[str, Any]] = pq.read_table(artifact / f"{schema}.parquet").to_pylist()
    return rows


def texts(artifact: Path) -> list[str]:
    return [row["messages"][-1]["content"] for row in table(artifact)]


def content(directory: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in directory.iterdir()}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    rows = [{"prompt": f"p{index % 20}", "answer": str(index % 20)} for index in range(25)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_heldout_prompts_and_the_rest_are_all_the_prompts(source: Path, tmp_path: Path) -> None:
    config = PrepareConfig(source=str(source), heldout=5, limit=12, seed=3)
    metrics = prepare.run(config, prompts=tmp_path / "prompts", heldout=tmp_path / "heldout")
    kept, heldout = texts(tmp_path / "prompts"), texts(tmp_path / "heldout")
    assert (len(kept), len(heldout)) == (12, 5)
    assert not {*kept} & {*heldout}
    first = [text for text in (f"p{index}" for index in range(20)) if text not in heldout][:12]
    assert sorted(kept) == sorted(first)
    ids = [row["prompt_id"] for row in read_table(tmp_path / "prompts", "prompts")]
    assert ids == sorted(ids)
    assert metrics == {
        **dict.fromkeys(UNTOUCHED, 0),
        "rows_read": 25,
        "duplicates_dropped": 5,
        "reference_conflicts": 0,
        "prompts": 12,
        "references": 12,
        "heldout": 5,
        "over_limit_dropped": 3,
        "prompts_that_ask_as_heldout": 0,
    }
    assert artifacts.read_metrics(tmp_path / "heldout") == {"prompts": 5, "references": 5}


def test_questions_that_are_held_out_and_asked_behind_another_system_prompt_are_counted(tmp_path: Path) -> None:
    asked = ("q{}", " q{}", "q{}\n")
    rows = [{"system": s, "question": q.format(i)} for i in range(4) for s, q in zip("stu", asked, strict=True)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = PrepareConfig(source=str(tmp_path / "rows.jsonl"), heldout=1)
    metrics = prepare.run(config, prompts=tmp_path / "p", heldout=tmp_path / "h")
    assert (metrics["prompts"], metrics["prompts_that_ask_as_heldout"]) == (11, 2)


@pytest.mark.parametrize("limit", [None, 4, 12])
def test_limit_does_not_change_what_is_held_out(source: Path, tmp_path: Path, limit: int | None) -> None:
    config = PrepareConfig(source=str(source), heldout=5, limit=limit)
    metrics = prepare.run(config, prompts=tmp_path / "p", heldout=tmp_path / "h")
    assert (metrics["prompts"], metrics["heldout"]) == (limit or 15, 5)
    whole = PrepareConfig(source=str(source), heldout=5)
    prepare.run(whole, prompts=tmp_path / "whole", heldout=tmp_path / "held")
    assert texts(tmp_path / "h") == texts(tmp_path / "held")


def test_heldout_prompts_depend_on_seed_and_content_alone(source: Path, tmp_path: Path) -> None:
    def chosen(path: Path, seed: int, name: str) -> set[str]:
        config = PrepareConfig(source=str(path), heldout=5, seed=seed)
        prepare.run(config, prompts=tmp_path / f"p{name}", heldout=tmp_path / f"h{name}")
        return set(texts(tmp_path / f"h{name}"))

    backwards = tmp_path / "backwards.jsonl"
    backwards.write_text("\n".join(reversed(source.read_text().splitlines())))
    first = chosen(source, 0, "a")
    assert chosen(backwards, 0, "b") == first
    assert len({frozenset(chosen(source, seed, str(seed))) for seed in range(1, 6)} | {frozenset(first)}) > 1


def test_step_killed_between_its_artifacts_goes_on(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = PrepareConfig(source=str(source), heldout=5)
    whole = {"prompts": tmp_path / "whole" / "prompts", "heldout": tmp_path / "whole" / "heldout"}
    prepare.run(config, **whole)
    killed = {"prompts": tmp_path / "killed" / "prompts", "heldout": tmp_path / "killed" / "heldout"}
    shutil.copytree(whole["heldout"], killed["heldout"])
    prepare.run(config, **killed)
    assert content(killed["prompts"]) == content(whole["prompts"])

    def unread(*_: Any) -> None:
        raise AssertionError("a finished step reads nothing")

    monkeypatch.setattr(locating, "file_rows", unread)
    assert prepare.run(config, **killed) == artifacts.read_metrics(whole["prompts"])


def test_prompts_stand_only_where_the_heldout_ones_do(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(path: Path, *_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(prepare, "write_table", full_disk)
    with pytest.raises(KeyboardInterrupt):
        prepare.run(
            PrepareConfig(source=str(source), heldout=5), prompts=tmp_path / "prompts", heldout=tmp_path / "heldout"
        )
    assert not (tmp_path / "prompts").exists()


def test_same_file_elsewhere_gives_the_same_bytes(source: Path, tmp_path: Path) -> None:
    (tmp_path / "moved").mkdir()
    moved = shutil.copy(source, tmp_path / "moved")
    prepare.run(PrepareConfig(source=str(source)), prompts=tmp_path / "a")
    prepare.run(PrepareConfig(source=str(moved)), prompts=tmp_path / "b")
    assert content(tmp_path / "a") == content(tmp_path / "b")
    source.write_text('{"prompt": "other"}\n')
    with pytest.raises(ArtifactError, match=r"made with inputs\.source"):
        prepare.run(PrepareConfig(source=str(source)), prompts=tmp_path / "a")


@pytest.mark.parametrize(("heldout", "given"), [(5, False), (0, True)])
def test_heldout_number_and_path_go_together(source: Path, tmp_path: Path, heldout: int, given: bool) -> None:
    path = tmp_path / "heldout" if given else None
    with pytest.raises(ConfigError, match=f"heldout = {heldout}, but .* Set both or neither"):
        prepare.run(PrepareConfig(source=str(source), heldout=heldout), prompts=tmp_path / "prompts", heldout=path)


def test_too_few_prompts_are_told(source: Path, tmp_path: Path) -> None:
    paths = {"prompts": tmp_path / "prompts", "heldout": tmp_path / "heldout"}
    with pytest.raises(
        DataError, match=r"rows\.jsonl: contains 20 distinct prompts, so heldout = 20 would leave none for training"
    ):
        prepare.run(PrepareConfig(source=str(source), heldout=20), **paths)
    assert not (tmp_path / "heldout").exists()
    assert prepare.run(PrepareConfig(source=str(source), heldout=19), **paths)["prompts"] == 1


def test_only_prompts_are_held_out(source: Path, tmp_path: Path) -> None:
    config = PrepareConfig(source=str(source), heldout=5)
    with pytest.raises(ConfigError, match="only prompts can be held out"):
        prepare.demonstrations(config, demonstrations=tmp_path / "d")
    with pytest.raises(ConfigError, match="only prompts can be held out"):
        prepare.ranked(config, prompts=tmp_path / "p", ranked=tmp_path / "r")


def test_missing_source_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is neither an existing file or directory nor"):
        prepare.run(PrepareConfig(source=str(tmp_path / "absent.jsonl")), prompts=tmp_path / "p")


def test_published_prompts(shared_data: Shared, tmp_path: Path) -> None:
    config = PrepareConfig(source=str(shared_data("ultrafeedback/prompts_5000.jsonl.gz")), heldout=500)
    metrics = prepare.run(config, prompts=tmp_path / "prompts", heldout=tmp_path / "heldout")
    assert (metrics["prompts"], metrics["heldout"], metrics["references"]) == (4500, 500, 0)
    assert len({row["prompt_id"] for name in ("prompts", "heldout") for row in table(tmp_path / name)}) == 5000
    assert {row["source"] for row in table(tmp_path / "heldout")} == {"prompts_5000.jsonl.gz"}


def test_published_demonstrations(shared_data: Shared, tmp_path: Path) -> None:
    config = PrepareConfig(source=str(shared_data("gsm8k/train.jsonl.gz")), limit=7000)
    assert prepare.demonstrations(config, demonstrations=tmp_path / "d") == {
        **dict.fromkeys(UNTOUCHED, 0),
        "rows_read": 7473,
        "duplicates_dropped": 0,
        "demonstrations": 7000,
        "prompts": 7000,
        "over_limit_dropped": 473,
    }
    first = table(tmp_path / "d", "demonstrations")[0]
    assert first["messages"][0]["content"].startswith("Natalia sold clips")
    assert first["response"].endswith("#### 72")


def test_published_lists(shared_data: Shared, tmp_path: Path) -> None:
    config = PrepareConfig(source=str(shared_data("alpaca_eval/candidate_lists.jsonl.xz")), limit=100)
    metrics = prepare.ranked(config, prompts=tmp_path / "p", ranked=tmp_path / "r")
    rows, prompts = table(tmp_path / "r", "ranked"), table(tmp_path / "p")
    assert (metrics["rows_read"], metrics["prompts"], metrics["over_limit_dropped"]) == (805, 100, 705)
    assert metrics["responses"] == len(rows)
    assert [row["prompt_id"] for row in prompts] == list(dict.fromkeys(row["prompt_id"] for row in rows))
    for prompt in prompts:
        of_prompt = [row for row in rows if row["prompt_id"] == prompt["prompt_id"]]
        best = max(row["reward"] for row in of_prompt)
        assert [row["rank"] == 1 for row in of_prompt] == [row["reward"] == best for row in of_prompt]
    assert artifacts.read_metrics(tmp_path / "p") == metrics


def test_remote_source_is_fetched(s3: Any, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LARPO_CACHE", str(tmp_path / "cache"))
    s3.upload_file(str(source), "larpo-bucket", "data/rows.jsonl")
    prepare.run(PrepareConfig(source="s3://larpo-bucket/data/rows.jsonl"), prompts=tmp_path / "remote")
    prepare.run(PrepareConfig(source=str(source)), prompts=tmp_path / "local")
    assert texts(tmp_path / "remote") == texts(tmp_path / "local")
    assert {row["source"] for row in table(tmp_path / "remote")} == {"s3://larpo-bucket/data/rows.jsonl"}


def test_rows_of_a_data_set_are_part_of_the_fingerprint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "org" / "name"  # `datasets` takes a local folder of that name for the data set
    folder.mkdir(parents=True)
    (folder / "train.jsonl").write_text('{"prompt": "a"}\n{"prompt": "b"}\n')
    config = PrepareConfig(source="org/name:default")
    metrics = prepare.run(config, prompts=tmp_path / "p")
    assert texts(tmp_path / "p") == ["a", "b"]
    assert prepare.run(config, prompts=tmp_path / "p") == metrics
    (folder / "train.jsonl").write_text('{"prompt": "a"}\n{"prompt": "changed"}\n')
    with pytest.raises(ArtifactError, match=r"made with arguments\.rows"):
        prepare.run(config, prompts=tmp_path / "p")


def test_what_was_taken_is_printed_and_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [{"system_prompt": "s", "question": "a", "id": "1"}, {"question": " ", "id": "2"}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = PrepareConfig(source=str(tmp_path / "rows.jsonl"), invalid="drop")
    metrics = prepare.run(config, prompts=tmp_path / "p")
    assert (metrics["prompts"], metrics["invalid_rows_dropped"], metrics["columns_not_used"]) == (1, 1, 1)
    assert caplog.messages == [
        "rows.jsonl: prompt from question; system from system_prompt; not used: id",
        "rows.jsonl: 1 of 2 rows cannot be used and are dropped. The first one: row 2, field 'question': is empty.",
    ]
    assert json.loads((tmp_path / "p" / "columns.json").read_text()) == {
        "source": "rows.jsonl",
        "taken": {"prompt": ["question"], "system": ["system_prompt"]},
        "ignored": [],
        "not_used": {"id": 1},
        "files_not_read": [],
        "prompts_dropped": {},
        "rows_dropped": [{"file": "", "row": 2, "why": "row 2, field 'question': is empty."}],
    }
    artifacts.verify(tmp_path / "p")
    with pytest.raises(DataError, match="row 2, field 'question': is empty"):
        prepare.run(config.model_copy(update={"invalid": "refuse"}), prompts=tmp_path / "refused")


def test_directory_and_pattern_are_sources_by_their_content(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("b", "a"):
        (folder / f"{name}.jsonl").write_text(json.dumps({"prompt": name}) + "\n")
    prepare.run(PrepareConfig(source=str(folder)), prompts=tmp_path / "p")
    prepare.run(PrepareConfig(source=str(folder / "*.jsonl")), prompts=tmp_path / "q")
    assert sorted(texts(tmp_path / "p")) == sorted(texts(tmp_path / "q")) == ["a", "b"]
    assert {row["source"] for row in table(tmp_path / "p")} == {"data"}
    assert {row["source"] for row in table(tmp_path / "q")} == {"*.jsonl"}
    moved = shutil.copytree(folder, tmp_path / "moved" / "data")
    assert prepare.run(PrepareConfig(source=str(moved)), prompts=tmp_path / "p")["prompts"] == 2
    assert prepare.run(PrepareConfig(source=str(moved / "*.jsonl")), prompts=tmp_path / "q")["prompts"] == 2
    (folder / "c.jsonl").write_text('{"prompt": "c"}\n')
    for source, out in ((folder, "p"), (folder / "*.jsonl", "q")):
        with pytest.raises(ArtifactError, match=r"made with inputs\.source"):
            prepare.run(PrepareConfig(source=str(source)), prompts=tmp_path / out)


def test_remote_prefix_is_a_directory(s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LARPO_CACHE", str(tmp_path / "cache"))
    for name in ("a", "b"):
        s3.put_object(Bucket="larpo-bucket", Key=f"data/part-{name}.jsonl", Body=json.dumps({"prompt": name}).encode())
    prepare.run(PrepareConfig(source="s3://larpo-bucket/data"), prompts=tmp_path / "p")
    assert sorted(texts(tmp_path / "p")) == ["a", "b"]
