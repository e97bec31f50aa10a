"""Model directories that cannot be used, and what shows only when a model is at work."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from spoiling import (
    CLASSIFIER,
    CONFIG,
    PREPARE,
    RUN,
    SAMPLE,
    Spoil,
    case,
    changed,
    forbid_weights,
    refused,
    removed,
    rows,
    sets,
    tells,
    text,
    together,
)
from tiny_world import Larpo

TOKENIZER = "policy/tokenizer_config.json"


def sharded(here: Path) -> None:
    (here / "policy" / "model.safetensors").rename(here / "policy" / "model-00001-of-00002.safetensors")
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (here / "policy" / "model.safetensors.index.json").write_text(json.dumps(index), "utf-8")


def no_template(here: Path) -> None:
    changed(TOKENIZER, chat_template=None)(here)
    (here / "policy" / "chat_template.jinja").unlink(missing_ok=True)


def template(content: str) -> Spoil:
    return together(no_template, text("policy/chat_template.jinja", content))


CASES = [
    case(
        "a shard of the weights is missing",
        sharded,
        RUN,
        "policy: the weights cannot be read ... model-00002-of-00002.safetensors",
    ),
    case("broken chat template", template("{% for %}"), RUN, "policy: the chat template refuses ... fix the template"),
    case(
        "chat template without assistants",
        template("{{ raise_exception('users only') }}"),
        RUN,
        "policy: the chat template refuses a conversation with the roles user, assistant ... users only",
    ),
    case(
        "reward model without a chat template",
        together(changed("reward/tokenizer_config.json", chat_template=None), removed("reward/chat_template.jinja")),
        [*RUN, *CLASSIFIER],
        "reward: the tokenizer has no chat template ... model.chat_template",
    ),
    case(
        "embedding model that is no sentence-transformers model",
        None,
        [*RUN, *sets("lists.negatives={ kind = 'related', retriever = { type = 'embedding', path = 'reward' } }")],
        "reward: is not a sentence-transformers model (it has no modules.json) ... weights in safetensors",
    ),
]


@pytest.mark.parametrize(("spoil", "arguments", "told"), CASES)
def test_bad_model_is_told_before_its_weights_are_loaded(
    larpo: Larpo, here: Path, monkeypatch: pytest.MonkeyPatch, spoil: Spoil, arguments: Sequence[str], told: str
) -> None:
    forbid_weights(monkeypatch)
    refused(larpo, here, spoil, arguments, told)


def test_what_shows_at_work_is_told_in_the_last_line(larpo: Larpo, here: Path) -> None:
    outcome = larpo(*SAMPLE, *sets("model.attention=flash_attention_2"))
    assert outcome.code == 2
    assert "Traceback" not in outcome.err
    assert tells(outcome.err.splitlines()[-1], "policy: FlashAttention2 ... set model.attention to sdpa"), outcome.err
    assert not (here / "out").exists()


def test_prompts_that_are_too_long_are_dropped_and_counted(larpo: Larpo, here: Path) -> None:
    short, long = ("Ann has 3 apples.", "Ann has 3 apples. " * 9)
    rows("prompts.jsonl", *({"question": question, "answer": "3"} for question in (short, long)))(here)
    assert larpo(*PREPARE).code == 0
    outcome = larpo(
        *SAMPLE[:-4], "--candidates", "sampled", "--prompts", "out", *CONFIG, *sets("sample.max_prompt_tokens=20")
    )
    metrics = json.loads(outcome.out)
    assert (metrics["prompts"], metrics["prompts_too_long_dropped"], metrics["candidates"]) == (1, 1, 4)
