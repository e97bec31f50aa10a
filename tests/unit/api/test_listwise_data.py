"""Data sets of ranked lists: which forms are read, what is dropped and counted, and what is refused by its place."""

import logging
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, IterableDataset
from preference_data import Rows, as_pairs, conversations, make_trainer, text_lists
from transformers import AutoTokenizer

from larpo_lib.api.listwise_data import read_lists
from larpo_lib.errors import DataError, LarpoError, ModelError

USER = [{"role": "user", "content": "How many?"}]


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": USER, "completions": [said("two"), said("one"), said("none")], "rewards": [0, 1, 0]},
        {"prompt": USER, "completions": ["two", "one", "none"], "rewards": [0, 1, 0]},
        {"prompt": USER, "chosen": said("one"), "rejected": [said("two"), said("none")]},
        {"chosen": [*USER, *said("one")], "rejected": [[*USER, *said("two")], [*USER, *said("none")]]},
    ],
    ids=["messages", "texts", "several rejected", "whole conversations"],
)
def test_every_form_of_a_list_of_conversations_is_read(row: dict[str, Any]) -> None:
    found = read_lists(Dataset.from_list([row]), "data")
    assert found.conversational
    assert found.rows[0]["messages"] == USER
    assert found.rows[0]["responses"] == ["one", "two", "none"]  # best first, the others as they came
    assert found.rows[0]["rewards"] == [1.0, 0.0, 0.0]


def test_every_form_of_a_list_of_texts_is_read() -> None:
    listed = {"prompt": "How many?", "completions": [" two", " one"], "rewards": [-0.5, 0.25], "id": 7}
    paired = {"prompt": "How many?", "chosen": " one", "rejected": " two"}
    for row, rewards in ((listed, [0.25, -0.5]), (paired, [1.0, 0.0])):
        data = Dataset.from_list([row]).with_format("numpy")
        found = read_lists(data, "data").rows[0]
        assert (found["prompt"], found["responses"], found["rewards"]) == ("How many?", [" one", " two"], rewards)


WRONG: dict[str, tuple[Rows, str]] = {
    "no list": ([{"prompt": "a", "text": "b"}], r"data: has the columns prompt, text. Give it columns prompt, comp"),
    "both forms": (
        [{"prompt": "a", "completions": ["b", "c"], "rewards": [1.0, 0.0], "chosen": "c", "rejected": "b"}],
        r"data: has columns of lists \(completions, rewards\) and of pairs \(chosen, rejected\)\. Remove those .* "
        r"remove_columns\(\['chosen', 'rejected'\]\)",
    ),
    "half of another form": (
        [{"prompt": "a", "chosen": "c", "rejected": "b", "rewards": [1.0, 0.0]}],
        r"has columns of lists \(rewards\) and of pairs \(chosen, rejected\)",
    ),
    "tools": ([{"prompt": "a", "chosen": "b", "rejected": "c", "tools": "[]"}], "field 'tools': is not supported"),
    "rewards": (
        [
            {"prompt": "a", "completions": ["b", "c"], "rewards": [1.0, 0.0]},
            {"prompt": "a", "completions": ["b", "c"], "rewards": [1.0]},
        ],
        "data, row 1, field 'rewards': contains 1 rewards for 2 completions",
    ),
    "nan": (
        [{"prompt": "a", "completions": ["b", "c"], "rewards": [1.0, float("nan")]}],
        "row 0, field 'rewards': contains nan, which is not a finite number",
    ),
    "no reward": (
        [{"prompt": "a", "completions": ["b", "c"], "rewards": [1.0, None]}],
        "row 0, field 'rewards': contains None, which is not a finite number",
    ),
    "no prompt": (
        [{"prompt": "a", "chosen": "b", "rejected": "c"}, {"prompt": "", "chosen": "b", "rejected": "c"}],
        "row 1, field 'prompt': is missing or empty",
    ),
    "implicit text": (
        [{"chosen": "a b", "rejected": "a c"}],
        r"field 'chosen': has no prompt beside it. Add a column prompt",
    ),
    "two prompts": (
        [{"chosen": [*USER, *said("b")], "rejected": [{"role": "user", "content": "x"}, *said("c")]}],
        "field 'rejected': answers a different prompt than 'chosen'",
    ),
    "last turn": (
        [{"prompt": [*USER, *said("b")], "completions": ["c", "d"], "rewards": [1.0, 0.0]}],
        "field 'prompt': does not end with a message from 'user'",
    ),
    "two turns": (
        [{"prompt": USER, "completions": [[*said("c"), *USER], said("d")], "rewards": [1.0, 0.0]}],
        "a response has the messages assistant, user, not one from 'assistant'",
    ),
    "mixed": ([{"prompt": "a", "chosen": said("b"), "rejected": said("c")}], "is plain text, but a response is not"),
    "empty": ([], r"has the columns \(none\)"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_row_that_does_not_fit_is_refused_by_its_place(name: str) -> None:
    rows, message = WRONG[name]
    with pytest.raises(DataError, match=message):
        read_lists(Dataset.from_list(rows), "data")


def test_a_stream_is_refused(tiny_policy: Path, tmp_path: Path) -> None:
    rows = as_pairs(text_lists(1, sizes=(2,)))
    with pytest.raises(DataError, match=r"is a IterableDataset. Use a datasets.Dataset"):
        read_lists(Dataset.from_list(rows).to_iterable_dataset(), "train_dataset")
    without_columns = IterableDataset.from_generator(lambda: iter(rows))
    with pytest.raises(DataError, match=r"eval_dataset: is a IterableDataset. Use a datasets.Dataset"):
        make_trainer(tiny_policy, tmp_path, rows, eval_dataset=without_columns)


def test_what_is_too_long_is_dropped_and_counted_and_nothing_is_cut(
    tiny_policy: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    long = "pens " * 40
    rows = [
        {"prompt": "Tom has 5 pens. ", "completions": ["5", "4", long], "rewards": [1.0, 0.0, 2.0]},
        {"prompt": long, "completions": ["5", "4"], "rewards": [1.0, 0.0]},
        {"prompt": "Tom has 4 pens. ", "completions": ["4", "4 "], "rewards": [1.0, 1.0]},
        {"prompt": "Tom has 3 pens. ", "completions": ["3", long], "rewards": [1.0, 0.0]},
    ]
    caplog.set_level(logging.WARNING)
    ours = make_trainer(tiny_policy, tmp_path, rows, max_length=40, max_prompt_length=20, max_steps=1)
    tokenizer = AutoTokenizer.from_pretrained(tiny_policy)
    (row,) = ours.train_dataset
    assert row["completion_ids"] == [[*tokenizer(text)["input_ids"], tokenizer.eos_token_id] for text in ("5", "4")]
    assert row["prompt_ids"] == tokenizer("Tom has 5 pens. ")["input_ids"]
    counted = ours.train().metrics
    assert counted["prompts_too_long_dropped"] == 1
    assert counted["responses_too_long_dropped"] == 2
    assert counted["lists_without_preference_dropped"] == 2
    assert "train_dataset: 1 prompts too long dropped, 2 responses too long dropped, 2 lists without" in caplog.text
    with pytest.raises(DataError, match=r"train_dataset: no list is left to train on.*or increase max_length"):
        make_trainer(tiny_policy, tmp_path, rows[1:2], max_length=40)


def test_a_pair_of_equal_texts_is_a_tie(tiny_policy: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    several = {"prompt": USER, "chosen": said("5"), "rejected": [said("4"), said("5")]}
    row = read_lists(Dataset.from_list([several]), "data").rows[0]
    assert (row["responses"], row["rewards"]) == (["5", "5", "4"], [1.0, 1.0, 0.0])
    rows = [{"prompt": f"Tom has {i} pens. ", "chosen": "5", "rejected": other} for i, other in enumerate("454")]
    caplog.set_level(logging.WARNING)
    ours = make_trainer(tiny_policy, tmp_path, rows, max_steps=1)
    assert [kept["prompt_id"] for kept in ours.train_dataset] == ["in row 0", "in row 2"]
    assert ours.counts["train_dataset"].lists_without_preference_dropped == 1
    assert "train_dataset: 1 lists without preference dropped" in caplog.text


def test_models_and_tokenizers_that_do_not_fit_are_refused(tiny_policy: Path, tmp_path: Path) -> None:
    rows = text_lists(2)
    with pytest.raises(ModelError, match="Set max_length to 32: longer responses are then dropped and counted"):
        make_trainer(tiny_policy, tmp_path, rows, model=_model(tiny_policy, max_position_embeddings=32))
    dynamic = {"rope_type": "dynamic", "factor": 8.0, "rope_theta": 1e4}
    scaled = _model(tiny_policy, max_position_embeddings=32, rope_parameters=dynamic)
    with pytest.raises(
        ModelError, match=r"change those of all other sequences in a forward pass. Set max_length to 32"
    ):
        make_trainer(tiny_policy, tmp_path, rows, model=scaled)
    with pytest.raises(ModelError, match="the model has embeddings for ids below 8"):
        make_trainer(tiny_policy, tmp_path, rows, model=_model(tiny_policy, vocab_size=8))
    unit = [{**row, "rewards": [float(reward) for reward in row["rewards"]]} for row in rows]
    with pytest.raises(LarpoError, match="but lipo_lambda uses 2\\^reward and needs rewards from 0 to 1"):
        make_trainer(tiny_policy, tmp_path, unit, objective="lipo_lambda")
    tokenizer = AutoTokenizer.from_pretrained(tiny_policy)
    tokenizer.chat_template = None
    with pytest.raises(ModelError, match="Set its chat_template, or use prompts and responses of plain text"):
        make_trainer(tiny_policy, tmp_path, conversations(rows), tokenizer=tokenizer)


def _model(policy: Path, **changes: Any) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(policy)
    for name, value in changes.items():
        setattr(config, name, value)
    config.eos_token_id = config.pad_token_id = config.bos_token_id = 1
    return AutoModelForCausalLM.from_config(config)
