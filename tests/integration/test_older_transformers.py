"""Published policies as the newest transformers of version 4 reads them, in an environment of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import reader4
from families4 import FAMILIES
from table_rows import preferences
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

from larpo_lib.config import ModelConfig, RewardModelConfig, SftConfig, TrainConfig
from larpo_lib.models.model_dir import ModelDir
from larpo_lib.models.published import save_policy
from larpo_lib.playground.policy import make_policy
from larpo_lib.steps import reward_model, sft, train
from larpo_lib.tables import write_table

ROOT = Path(__file__).parents[2]
PLAIN = ModelConfig(device="cpu")
SPECIAL = ["<pad>", "<bos>", "<unk>", "<|im_end|>", "<|im_start|>"]
WORDS = ("hello", "world", "1", "2", "3")
SETTINGS: dict[str, Any] = {"model": PLAIN, "max_steps": 1, "max_prompt_tokens": 40, "max_tokens": 60}
TEMPLATE = "{% for message in messages %}{{ message['content'] }} {% endfor %}"
SHOWN = {"response": "1 2 !", "source": "test"}

Reader = Callable[[str, Path], Any]


@pytest.fixture(scope="module")
def version4() -> Reader:
    """Runs `tests/reader4.py` with transformers 4; skips the test where that is absent."""
    packages = Path(os.environ.get("LARPO_TRANSFORMERS4", ROOT / ".transformers4"))
    if not (packages / "transformers").is_dir():
        pytest.skip("transformers 4 is absent; `make .transformers4/installed` installs it")

    def run(task: str, root: Path) -> Any:
        script = [sys.executable, str(ROOT / "tests" / "reader4.py"), task, str(root)]
        environment = {**os.environ, "PYTHONPATH": str(packages), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(script, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads((root / "read.json").read_text("utf-8")) if task == "read" else None

    return run


@pytest.fixture(scope="module")
def sources(version4: Reader, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Policies of all families as version 4 wrote them, and as version 5 did."""
    found = {}
    for version, write in (("4", lambda root: version4("write", root)), ("5", _write)):
        root = tmp_path_factory.mktemp(f"written-by-{version}")
        _tokenizer().save(str(root / "tokenizer.json"))
        write(root)
        found[version] = root
    return found


def _tokenizer() -> Tokenizer:
    """Byte-level as Qwen 2's: whatever stands in tokenizer_config.json, transformers 5 reads a qwen2's in that way."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    words = pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated")
    bytewise = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, bytewise])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=280, initial_alphabet=alphabet, special_tokens=SPECIAL)
    tokenizer.train_from_iterator([reader4.CHAT[0]["content"]] * 9, trainer)
    return tokenizer


def _write(root: Path) -> None:
    reader4.write(root, list(FAMILIES))


def _publish(source: Path, directory: Path, config: ModelConfig = PLAIN) -> None:
    made_from = ModelDir(source, config)
    model = made_from.load_policy()
    save_policy(model, model.state_dict(), made_from.tokenizer, made_from, directory)


def _assert_same(one: dict[str, Any], other: dict[str, Any], tolerance: float = 0.0) -> None:
    assert {k: v for k, v in one.items() if k != "logits"} == {k: v for k, v in other.items() if k != "logits"}
    assert one["logits"] == pytest.approx(other["logits"], abs=tolerance)


@pytest.fixture(scope="module")
def published(sources: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is published of them: every family, one with another chat template, and what the steps make of one.

    Beside it the sources of version 4: every process of its own costs seconds.
    """
    root, data = tmp_path_factory.mktemp("published"), _lists(tmp_path_factory.mktemp("data"))
    for version, written in sources.items():
        for family in FAMILIES:
            _publish(written / family, root / f"{family}-{version}")
        _publish(written / "llama", root / f"template-{version}", ModelConfig(device="cpu", chat_template=TEMPLATE))
        policy = written / "llama-3.1"
        sft.run(SftConfig(**SETTINGS), policy=policy, demonstrations=data, trained=root / f"sft-{version}")
        train.run(TrainConfig(**SETTINGS), policy=policy, lists=data, trained=root / f"train-{version}")
        reward = RewardModelConfig(**SETTINGS)
        reward_model.run(reward, policy=policy, lists=data, trained=root / f"reward-model-{version}")
    for family in FAMILIES:
        (root / f"source-{family}").symlink_to(sources["4"] / family)
    make_policy(root / "playground", WORDS, 0, hidden=32, layers=2, heads=2)
    return root


@pytest.fixture(scope="module")
def by_version4(version4: Reader, published: Path) -> Any:
    """What version 4 reads in each of them."""
    return version4("read", published)


def test_every_family_is_read_as_its_source_and_as_we_read_it(
    sources: dict[str, Path], published: Path, by_version4: Any
) -> None:
    """By version 4 the very same logits as from the source it wrote, and those of version 5 but for rounding."""
    for family in FAMILIES:
        expected = by_version4[f"source-{family}"]
        assert len(set(expected["logits"])) > 10
        _assert_same(by_version4[f"{family}-4"], expected)
        for version in sources:
            _assert_same(by_version4[f"{family}-{version}"], reader4.read(published / f"{family}-{version}"), 1e-5)


def test_a_chat_template_of_the_settings_is_read(by_version4: Any) -> None:
    found = {by_version4[f"template-{version}"]["text"] for version in ("4", "5")}
    assert found == {"".join(f"{message['content']} " for message in reader4.CHAT)}


def test_what_the_steps_publish_is_read(published: Path, by_version4: Any) -> None:
    """Policies that `sft` and `train` made, a reward model, and a policy of the embedded world."""
    made = [f"{step}-{version}" for step in ("sft", "train", "reward-model") for version in ("4", "5")]
    for name in (*made, "playground"):
        _assert_same(by_version4[name], reader4.read(published / name), 1e-5)
        assert by_version4[name]["use_cache"] is True


def _lists(directory: Path) -> Path:
    chat = [[{"role": "user", "content": f"hello {number}"}] for number in range(4)]
    rows = [preferences(messages, ["1 2 !", "world 3"], [1.0, 0.0]) for messages in chat]
    write_table(directory / "lists.parquet", "lists", rows)
    shown = [{name: row[name] for name in ("prompt_id", "messages")} | SHOWN for row in rows]
    write_table(directory / "demonstrations.parquet", "demonstrations", shown)
    return directory
