"""Lists in the layouts of other trainers: rows written by hand, TRL's own preparation of them, and the way back."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from datasets import load_dataset
from table_rows import preferences
from tiny_world import Larpo

from larpo_lib.artifacts import produce
from larpo_lib.candidates.layouts import LAYOUTS
from larpo_lib.config import PrepareConfig, Section, load_section
from larpo_lib.errors import ConfigError
from larpo_lib.schemas import prompt_id
from larpo_lib.steps import build_lists, export, prepare
from larpo_lib.tables import read_table, write_table

ASKED = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "How many coins does Ben have?"}]
OTHER = [{"role": "user", "content": 'Say "é\n你好".'}]
LISTS = [
    preferences(ASKED, ["42", "forty-two", "41", "40"], [1.0, 1.0, 0.5, 0.25],
                finish_reasons=["stop", "stop", "length", "stop"], token_ids=[[5, 6], None, [7], None]),
    preferences(OTHER, ["é\n你好", "no"], [0.75, -2.0]),
]  # fmt: skip


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    def make(work: Any) -> dict[str, Any]:
        write_table(work.data / "lists.parquet", "lists", LISTS)
        return {}

    produce("build_lists", Section(), {}, tmp_path / "lists", make)
    return tmp_path / "lists"


def reply(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def rows_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def essence(rows: list[dict[str, Any]], *names: str) -> list[tuple[Any, ...]]:
    """The texts and numbers of rows."""

    def plain(value: Any) -> Any:
        if isinstance(value, list) and value and isinstance(value[0], dict):
            return value[0]["content"]
        return [plain(item) for item in value] if isinstance(value, list) else value

    return [tuple(plain(row[name]) for name in names) for row in rows]


def test_pairs_are_the_best_response_with_each_worse_one(lists: Path, tmp_path: Path) -> None:
    counts = export.run(lists, str(tmp_path / "pairs.jsonl"), "pairs")
    rows = rows_of(tmp_path / "pairs.jsonl")
    assert rows[0] == {
        "prompt": ASKED, "chosen": reply("42"), "rejected": reply("41"), "score_chosen": 1.0, "score_rejected": 0.5,
        "chosen_finish_reason": "stop", "rejected_finish_reason": "length", "prompt_id": prompt_id(ASKED),
    }  # fmt: skip
    assert essence(rows, "chosen", "rejected") == [("42", "41"), ("42", "40"), ("é\n你好", "no")]
    assert counts == {
        "lists": 2, "responses": 6, "rows": 3, "tied_pairs_dropped": 1, "tied_responses_dropped": 0, "responses_cut": 1,
    }  # fmt: skip


def test_other_layouts(lists: Path, tmp_path: Path) -> None:
    """Of four responses, two of them tied: 5 of 6 pairs; of KTO both best ones are desirable."""
    found = {}
    for layout in LAYOUTS:
        counts = export.run(lists, str(tmp_path / f"{layout}.jsonl"), layout)
        found[layout] = rows_of(tmp_path / f"{layout}.jsonl"), counts
    rows, counts = found["all_pairs"]
    pairs = [("42", "41"), ("42", "40"), ("forty-two", "41"), ("forty-two", "40"), ("41", "40"), ("é\n你好", "no")]
    assert essence(rows, "chosen", "rejected") == pairs
    assert counts["rows"] + counts["tied_pairs_dropped"] == 6 + 1

    rows, counts = found["several_rejected"]
    assert essence(rows, "chosen", "rejected", "score_rejected") == [
        ("42", ["41", "40"], [0.5, 0.25]),
        ("é\n你好", ["no"], [-2.0]),
    ]
    assert counts["tied_responses_dropped"] == 1

    rows, _ = found["kto"]
    assert essence(rows, "completion", "label") == [
        ("42", True), ("forty-two", True), ("41", False), ("40", False), ("é\n你好", True), ("no", False),
    ]  # fmt: skip

    rows, _ = found["lists"]
    assert essence(rows, "completions", "rewards")[0] == (["42", "forty-two", "41", "40"], [1.0, 1.0, 0.5, 0.25])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_both_kinds_of_file_hold_the_same_rows(lists: Path, tmp_path: Path, layout: str) -> None:
    """As the library `datasets` reads them."""
    read = []
    for kind, ending in (("json", "jsonl"), ("parquet", "parquet")):
        file = tmp_path / f"rows.{ending}"
        export.run(lists, str(file), layout)
        read.append(
            load_dataset(kind, data_files=str(file), split="train", cache_dir=str(tmp_path / "cache")).to_list()
        )
    assert read[0] == read[1]


def test_trl_prepares_pairs_and_unpaired_rows(lists: Path, tmp_path: Path) -> None:
    """DPOTrainer's and KTOTrainer's own preparation, with a chat template whose turns are easily told by hand."""
    from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer

    tokenizer = _bytes_tokenizer()
    prepared = {}
    for layout, trainer, kind in (("pairs", DPOTrainer, DPOConfig), ("kto", KTOTrainer, KTOConfig)):
        file = tmp_path / f"{layout}.jsonl"
        export.run(lists, str(file), layout)
        rows = load_dataset("json", data_files=str(file), split="train", cache_dir=str(tmp_path / "cache"))
        knows = SimpleNamespace(_tokenizer=tokenizer, calculate_KL=True, desirable_weight=1.0, undesirable_weight=1.0)
        settings = kind(max_length=None, report_to=[], use_cpu=True, bf16=False)
        prepared[layout] = list(trainer._prepare_dataset(knows, rows, tokenizer, settings, "train"))
    asked = "<system>Be brief.<user>How many coins does Ben have?<assistant>"
    decoded = [[tokenizer.decode(row[name]) for name in ("prompt_ids", "chosen_ids", "rejected_ids")]
               for row in prepared["pairs"]]  # fmt: skip
    assert decoded[:2] == [[asked, "42<end>", "41<end>"], [asked, "42<end>", "40<end>"]]
    decoded = [(tokenizer.decode(row["prompt_ids"]), tokenizer.decode(row["completion_ids"]), row["label"])
               for row in prepared["kto"]]  # fmt: skip
    assert decoded[0] == (asked, "42<end>", True)
    assert decoded[2] == (asked, "41<end>", False)
    assert len(decoded) == 6


def _bytes_tokenizer() -> Any:
    """A tokenizer of bytes with a chat template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    whole = Tokenizer(models.BPE({sign: place for place, sign in enumerate(alphabet)}, []))
    whole.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    whole.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=whole, eos_token="<end>", pad_token="<end>")
    tokenizer.chat_template = (
        "{% for message in messages %}<{{ message['role'] }}>{{ message['content'] }}"
        "{% if message['role'] == 'assistant' %}<end>{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    return tokenizer


def back(source: Path, folder: Path) -> list[dict[str, Any]]:
    """The lists that `prepare` and `build-lists` make of a file."""
    config = PrepareConfig(source=str(source), templates=(), reward_models=())
    prepare.ranked(config, prompts=folder / "prompts", ranked=folder / "ranked")
    settings = load_section("lists", None, ["lists.selection.type=whole_list"])
    build_lists.run(settings, prompts=folder / "prompts", ranked=[folder / "ranked"], lists=folder / "lists")
    return read_table(folder / "lists", "lists")


def test_whole_lists_come_back_as_they_were(lists: Path, tmp_path: Path) -> None:
    for ending in ("jsonl", "parquet"):
        file = tmp_path / f"lists.{ending}"
        export.run(lists, str(file), "lists")
        found = back(file, tmp_path / ending)
        expected = sorted(({**row, "negative_kinds": [""] * len(row["responses"])} for row in LISTS),
                          key=lambda row: row["prompt_id"])  # fmt: skip
        assert found == expected


@pytest.mark.parametrize("layout", ["pairs", "several_rejected", "kto"])
def test_what_is_better_comes_back_from_the_other_layouts(lists: Path, tmp_path: Path, layout: str) -> None:
    """Of pairs rewards are 1 and 0; they know nothing of a second response that is as good as the best one."""
    file = tmp_path / "rows.jsonl"
    export.run(lists, str(file), layout)
    found = {row["prompt_id"]: row for row in back(file, tmp_path / "back")}
    first = found[prompt_id(ASKED)]
    expected = (
        {"42": 1.0, "forty-two": 1.0, "41": 0.5, "40": 0.25} if layout == "kto" else {"42": 1.0, "41": 0.0, "40": 0.0}
    )
    ends = {"42": "stop", "forty-two": "stop", "41": "length", "40": "stop"}
    assert dict(zip(first["responses"], first["rewards"], strict=True)) == expected
    assert dict(zip(first["responses"], first["finish_reasons"], strict=True)) == {k: ends[k] for k in expected}
    assert found[prompt_id(OTHER)]["responses"] == ["é\n你好", "no"]


def test_the_command_prints_what_was_dropped_and_writes_over_nothing(larpo: Larpo, lists: Path, tmp_path: Path) -> None:
    arguments = ["export", "--lists", lists, "--out", tmp_path / "new" / "rows.parquet", "--layout", "several_rejected"]
    outcome = larpo(*arguments)
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["tied_responses_dropped"] == 1
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["rows.parquet"]
    again = larpo(*arguments)
    assert (again.code, "exists already. Name another file" in again.err) == (2, True)


@pytest.mark.parametrize(
    ("out", "layout", "problem"),
    [
        ("rows.csv", "pairs", "Name a local file that ends with"),
        ("s3://bucket/rows.jsonl", "pairs", "Name a local file"),
        ("rows.jsonl", "triples", "no layout 'triples'. Use pairs, all_pairs"),
    ],
)
def test_what_cannot_be_written_is_refused(lists: Path, out: str, layout: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        export.run(lists, out, layout)
