"""The shipped presets on real prompts, with tiny models in place of large ones."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_pairrm import make_pairrm
from tiny_world import write_jsonl

from larpo_lib.artifacts import read_metrics
from larpo_lib.config import ListsConfig, PrepareConfig, TrainConfig, load_config
from larpo_lib.errors import ConfigError
from larpo_lib.loop import run_loop
from larpo_lib.presets import preset_file
from larpo_lib.steps import build_lists, prepare, train
from larpo_lib.tables import read_table

TINY = (  # one process, and sampling without vLLM
    "launch.launcher=none",
    "launch.nproc=1",
    "sample.sampler.type=hf",
    "prepare.limit=12",
    "sample.k=3",
    "sample.max_new_tokens=24",
    "evaluate.n=2",
    "evaluate.max_new_tokens=24",
    "train.batch_size=4",
    "train.micro_batch_tokens=1024",
    "train.learning_rate=1e-3",
    "loop.iterations=2",
)

pytestmark = pytest.mark.usefixtures("_no_tracking_server")


@pytest.fixture
def _no_tracking_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def test_gsm8k_with_the_verifier(
    tmp_path: Path, shared_data: Callable[[str], Path], real_text_models: tuple[Path, Path]
) -> None:
    policy, _ = real_text_models
    config = load_config(
        preset_file("mathstral-7b-gsm8k"),
        [
            *TINY,
            f'policy="{policy}"',
            'model.pad_token="<pad>"',
            f'prepare.source="{shared_data("gsm8k/train.jsonl.gz")}"',
            f'evaluation_prompts.source="{shared_data("gsm8k/test.jsonl.gz")}"',
            "evaluation_prompts.limit=6",
            f'demonstrations.source="{_bare_answers(shared_data("gsm8k/train.jsonl.gz"), tmp_path / "answers.jsonl")}"',
            "sft.max_steps=40",
            "sft.batch_size=16",
            "sft.learning_rate=1e-2",
            "rerank.reranker.mode=graded",  # so tiny a policy learns to state an answer, hardly ever the right one
        ],
    )
    summary = run_loop(config, tmp_path / "run")
    assert [row["iteration"] for row in summary["iterations"]] == [0, 1, 2]
    assert all(row["accuracy"] is not None for row in summary["iterations"])
    prompts = read_table(tmp_path / "run" / "prompts", "prompts")
    assert len(prompts) == 12
    assert all("####" in str(row["reference"]) for row in prompts)


def _bare_answers(source: Path, path: Path) -> Path:
    """Demonstrations that state the answer alone, the most that two layers can learn."""
    with gzip.open(source, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for _, line in zip(range(200), lines, strict=False)]
    shown = [{"prompt": row["question"], "response": "#### " + row["answer"].split("#### ")[1]} for row in rows]
    return write_jsonl(path, shown)


def test_ultrafeedback_with_a_classifier(
    tmp_path: Path, shared_data: Callable[[str], Path], real_text_models: tuple[Path, Path]
) -> None:
    policy, reward_model = real_text_models
    config = load_config(
        preset_file("mistral-7b-instruct-fsfairx"),
        [
            *TINY,
            f'policy="{policy}"',
            'model.pad_token="<pad>"',
            f'prepare.source="{shared_data("ultrafeedback/prompts_5000.jsonl.gz")}"',
            "prepare.heldout=6",
            f'rerank.reranker.path="{reward_model}"',
        ],
    )
    summary = run_loop(config, tmp_path / "run")
    rewards = [row["mean_reward"] for row in summary["iterations"]]
    assert len(set(rewards)) == 3  # each iteration's policy is another one
    assert all(row["accuracy"] is None for row in summary["iterations"])
    report = (tmp_path / "run" / "report" / "report.html").read_text("utf-8")
    assert "LarPO: Mistral-7B-Instruct-v0.2 on UltraFeedback" in report


def test_ultrafeedback_with_pairrm(
    tmp_path: Path, shared_data: Callable[[str], Path], real_text_models: tuple[Path, Path]
) -> None:
    """The lists of the second iteration hold the responses of both, compared with each other."""
    policy, reward_model = real_text_models
    preset = preset_file("mistral-7b-instruct-pairrm")
    settings = [
        *TINY,
        "train.max_steps=2",
        f'policy="{policy}"',
        'model.pad_token="<pad>"',
        f'prepare.source="{shared_data("ultrafeedback/prompts_5000.jsonl.gz")}"',
        "prepare.limit=8",
        "prepare.heldout=4",
        f'rerank.reranker.path="{make_pairrm(tmp_path / "pairrm")}"',
    ]
    itself = f'evaluate.reranker={{ type = "pairrm", path = "{tmp_path / "pairrm"}" }}'
    unfit = load_config(preset, [*settings, itself])
    with pytest.raises(
        ConfigError, match=r"evaluate.reranker: the scores of 'pairrm' are only comparable within one list"
    ):
        run_loop(unfit, tmp_path / "refused")
    assert not (tmp_path / "refused").exists()

    run_loop(load_config(preset, [*settings, f'evaluate.reranker.path="{reward_model}"']), tmp_path / "run")
    for iteration in (1, 2):
        ranked = read_table(tmp_path / "run" / f"iteration-{iteration}" / "ranked", "ranked")
        assert {row["iteration"] for row in ranked} == set(range(1, iteration + 1))
        assert {row["reranker"] for row in ranked} == {"pairrm-pairrm"}
        by_text: dict[str, dict[str, float]] = {}
        for row in ranked:
            by_text.setdefault(row["prompt_id"], {})[row["response"]] = row["reward"]
        for rewards in by_text.values():
            assert sum(rewards.values()) == pytest.approx(0.0, abs=1e-4)  # one list, whatever the iteration
    lists = read_table(tmp_path / "run" / "iteration-2" / "lists", "lists")
    first = read_table(tmp_path / "run" / "iteration-1" / "candidates", "candidates", ["candidate_id"])
    remembered = {row["candidate_id"] for row in first}
    assert any(remembered & set(row["candidate_ids"]) for row in lists)


def test_published_lists_are_trained_on(
    tmp_path: Path, shared_data: Callable[[str], Path], real_text_models: tuple[Path, Path]
) -> None:
    policy, _ = real_text_models
    source = PrepareConfig(source=str(shared_data("alpaca_eval/candidate_lists.jsonl.xz")))
    prompts, ranked, lists, trained = (tmp_path / name for name in ("prompts", "ranked", "lists", "trained"))
    prepare.ranked(source, prompts=prompts, ranked=ranked)
    counts = build_lists.run(ListsConfig(memory="current"), prompts=prompts, ranked=[ranked], lists=lists)
    assert counts["lists"] == 805
    settings = TrainConfig(
        learning_rate=1e-2,
        epochs=1,
        max_steps=3,
        batch_size=8,
        micro_batch_tokens=1024,
        max_prompt_tokens=256,
        max_tokens=600,
    )
    metrics = train.run(settings, policy=policy, lists=lists, trained=trained)
    dropped = metrics["prompts_too_long_dropped"] + metrics["lists_without_preference_dropped"]
    assert metrics["lists"] + dropped == 805
    assert metrics["steps"] == 3
    history = [json.loads(line) for line in (trained / "history.jsonl").read_text("utf-8").splitlines()]
    assert history[0]["kl"] == pytest.approx(0.0, abs=1e-4)  # the policy is its own reference
    assert history[-1]["kl"] != history[0]["kl"]
    assert read_metrics(trained) == metrics
