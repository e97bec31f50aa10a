"""Model cards, as huggingface_hub reads them, and the licences of their bases."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard

from larpo_lib.config import LarpoConfig, load_config
from larpo_lib.config.load import check
from larpo_lib.config.tree import BENCHMARKS
from larpo_lib.presets import preset_file, preset_names
from larpo_lib.reporting.card import CardFacts, description, model_card
from larpo_lib.reporting.licence import Licence, licence_of

METRICS = {
    "mean_reward": 0.852, "mean_reward_low": 0.843, "mean_reward_high": 0.86, "accuracy": None, "accuracy_low": None,
    "pass_at_8": 1.0, "greedy_reward": 0.9, "prompts": 500, "responses": 4000,
}  # fmt: skip

START = {"mean_reward": 0.5, "mean_reward_low": 0.4, "mean_reward_high": 0.6}


def facts(**changes: Any) -> CardFacts:
    training = {"objective": {"type": "dpo", "beta": 0.1}, "lora": {"r": 4}, "learning_rate": 1e-6}
    return CardFacts(**{"name": "mine", "version": "1.0", "training": training, "metrics": METRICS, **changes})


@pytest.fixture
def run() -> LarpoConfig:
    return LarpoConfig.model_validate(
        {
            "policy": "org/base@v1.0",
            "prepare": {"source": "org/prompts:main"},
            "evaluation_prompts": {"source": "s3://bucket/heldout.jsonl"},
            "demonstrations": {"source": "org/shown"},
        }
    )


def test_the_front_matter_says_where_a_policy_comes_from(run: LarpoConfig) -> None:
    licence = Licence("other", "llama3", "https://example.com/licence")
    text = model_card(facts(run=run, iteration=3, licence=licence, start=START))
    card = ModelCard(text)
    told = yaml.safe_load(text.split("---\n")[1])
    assert told.items() >= {
        "license": "other", "license_name": "llama3", "license_link": "https://example.com/licence",
        "base_model": "org/base", "datasets": ["org/prompts", "org/shown"], "library_name": "transformers",
        "pipeline_tag": "text-generation", "tags": ["larpo", "preference-optimization", "dpo"],
    }.items()  # fmt: skip
    numbers = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert numbers == {"mean_reward": 0.852, "pass_at_8": 1.0, "greedy_reward": 0.9}
    for part in (
        "trained in iteration 3 of list-wise preference optimisation, beginning with `org/base@v1.0`",
        "| licence of the base | other ([llama3](https://example.com/licence)) |",
        "| objective | `dpo` (beta = 0.1) |",
        "| adapters | `LoRA` (r = 4) |",
        "| held-out prompts | `s3://bucket/heldout.jsonl` |",
        "| mean reward | 0.852 [0.843, 0.860] | 0.500 [0.400, 0.600] |",
        "| pass at 8 | 1.000 | \N{EN DASH} |",
        "Measured on 500 held-out prompts.",
    ):
        assert part in card.text, part
    toml = card.text.partition("```toml\n")[2].partition("```")[0]
    assert 'policy = "org/base@v1.0"' in toml


def settings_of(card: str) -> dict[str, Any]:
    return tomllib.loads(card.partition("```toml\n")[2].partition("```")[0])


SECRETS = {
    "api_key": "of-mine", "apiKey": "of-mine", "HF_TOKEN": "of-mine", "judge": {"password": "of-mine"},
    "way": "hf_ofmine", "url": "https://me:of-mine@host/v1",
}  # fmt: skip


def test_a_card_shows_no_secrets_no_folders_and_no_code() -> None:
    objective = {"type": "function", "target": "my_losses.py:hinge", "settings": {**SECRETS, "max_tokens": 7}}
    reward = {**objective, "target": "/home/me/my_rewards.py:brevity", "code": "def brevity(): of_mine"}
    run = LarpoConfig.model_validate(
        {
            "policy": "/home/me/base",
            "prepare": {"source": "/home/me/prompts.jsonl"},
            "demonstrations": {"source": "/home/me/shown.jsonl"},
            "rerank": {
                "reranker": {
                    "type": "ensemble",
                    "members": [{"reranker": reward, "weight": 0.5}, {"reranker": {"type": "length", "longest": 9}}],
                }
            },
            "train": {"objective": objective},
            "tracking": {"uri": "https://me:of-mine@mlflow.example.com"},
        }
    )
    text = model_card(facts(run=run, training={"objective": objective}))
    for hidden in ("of-mine", "of_mine", "ofmine", "/home/me", "mlflow.example.com"):
        assert hidden not in text, hidden
    shown = settings_of(text)
    kept = dict.fromkeys(SECRETS, "***") | {"judge": {"password": "***"}, "max_tokens": 7, "url": "https://***@host/v1"}
    assert shown["train"]["objective"]["settings"] == kept
    member, _ = shown["rerank"]["reranker"]["members"]
    assert member["reranker"]["target"] == "my_rewards.py:brevity"
    assert member["reranker"]["settings"] == kept
    assert (shown["policy"], shown["prepare"]["source"]) == ("base", "prompts.jsonl")


@pytest.mark.parametrize("preset", preset_names())
def test_a_card_shows_the_settings_that_make_the_run(preset: str) -> None:
    """Those that are left out are the defaults, or taken over: the rest gives the same run."""
    run = load_config(preset_file(preset), ["policy=org/base", "prepare.source=org/prompts", "seed=3"])
    shown = settings_of(model_card(facts(run=run)))
    assert not shown.keys() & {"mixeval", "alpaca_eval", "search_temperature", "reward_model", "tracking"}
    left_out = {
        *BENCHMARKS,
        "search_temperature",
        "reward_model",
        "tracking",
        *(() if run.demonstrations else ("sft",)),
    }
    assert check(LarpoConfig, shown).model_dump(exclude=left_out) == run.model_dump(exclude=left_out)


def test_a_card_shows_nothing_that_is_a_default(run: LarpoConfig) -> None:
    changed = {**run.model_dump(exclude_unset=True), "seed": 3, "train": {"learning_rate": 1e-7}}
    assert settings_of(model_card(facts(run=LarpoConfig.model_validate(changed)))) == {
        "policy": "org/base@v1.0", "seed": 3, "prepare": {"source": "org/prompts:main"},
        "demonstrations": {"source": "org/shown"}, "evaluation_prompts": {"source": "s3://bucket/heldout.jsonl"},
        "train": {"learning_rate": 1e-7},
    }  # fmt: skip


def test_what_is_not_known_is_said() -> None:
    text = model_card(facts())
    assert "| base model | not recorded |" in text
    assert "| licence of the base | unknown: see base model |" in text
    assert yaml.safe_load(text.split("---\n")[1])["license"] == "unknown"
    assert "## Settings" not in text
    assert "It was not trained by LarPO." in model_card(facts(training={}))
    assert model_card(facts(metrics={})).count("model-index") == 0


def test_a_description_is_as_long_as_mlflow_takes() -> None:
    many = {name: value for i in range(400) for name, value in
            ((f"metric_{i}", 0.5), (f"metric_{i}_low", 0.4), (f"metric_{i}_high", 0.6))}  # fmt: skip
    assert len(description(facts(metrics=many))) <= 5000


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"README.md": "---\nlicense: apache-2.0\n---\n# A"}, Licence("apache-2.0")),
        ({"README.md": "---\nlicense: other\nlicense_name: x\nlicense_link: y\n---\n"}, Licence("other", "x", "y")),
        ({"README.md": "# No front matter", "config.json": '{"license": "mit"}'}, Licence("mit")),
        ({"README.md": "---\nlicense: [\n---\n"}, Licence()),
        ({"README.md": "---\ntags: [a]\n---\n", "config.json": "[]"}, Licence()),
        ({"README.md": "---"}, Licence()),
        ({}, Licence()),
    ],
)
def test_a_licence_is_what_a_model_says_of_itself(files: dict[str, str], expected: Licence, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text, "utf-8")
    assert licence_of(str(tmp_path)) == expected
