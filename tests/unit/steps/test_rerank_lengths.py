"""The characters that `rerank` counts: those of what the reward is of."""

from pathlib import Path

import pytest
from scipy import stats
from small_models import user, write_prompts
from table_rows import candidate, with_table

from larpo_lib.artifacts import Metrics
from larpo_lib.config import RerankConfig
from larpo_lib.schemas import prompt_id
from larpo_lib.shards import UNSHARDED, Shard
from larpo_lib.steps import merge_shards, rerank
from larpo_lib.tables import read_table

QUESTIONS = [("Ann has 3", "#### 3"), ("Ben has 4", "#### 4")]
ANN, BEN = (prompt_id(user(text)) for text, _ in QUESTIONS)
THOUGHT = f"<think>{'t' * 100}</think>"
REPLIES = ("#### 3", "so it is 3. #### 3", "no", "perhaps it is 5. #### 5")
RESPONSES = (f"{THOUGHT}{REPLIES[0]}", REPLIES[1], f"{THOUGHT}{REPLIES[2]}", REPLIES[3])


@pytest.fixture
def world(tmp_path: Path) -> Path:
    write_prompts(tmp_path / "prompts", QUESTIONS)
    rows = [candidate(prompt, text, i) for prompt in sorted((ANN, BEN)) for i, text in enumerate(RESPONSES)]
    with_table(tmp_path / "candidates", "candidates", rows)
    return tmp_path


def ranked(world: Path, config: RerankConfig, shard: Shard = UNSHARDED) -> tuple[Path, Metrics]:
    output, given = world / f"ranked-{shard.index}-{shard.count}", [world / "candidates"]
    return output, rerank.run(config, prompts=world / "prompts", candidates=given, ranked=output, shard=shard)


@pytest.mark.parametrize(("thinking", "counted"), [("strip", REPLIES), ("keep", RESPONSES)])
def test_only_what_the_reranker_reads_has_a_price(world: Path, thinking: str, counted: tuple[str, ...]) -> None:
    """The pattern is found in three of the four responses, with and without thoughts."""
    rule = {"type": "regex", "pattern": "####", "thinking": thinking}
    output, metrics = ranked(world, RerankConfig.model_validate({"reranker": rule, "length_penalty": 0.125}))
    rewards = [float("####" in text) - 0.125 * len(text) for text in counted]
    assert [row["reward"] for row in read_table(output, "ranked")] == pytest.approx(rewards * 2)
    expected = stats.spearmanr(rewards * 2, [len(text) for text in counted] * 2).statistic
    assert metrics["reward_length_correlation"] == pytest.approx(expected)


def test_reward_and_length_correlate_alike_in_shards_and_without(world: Path) -> None:
    output, metrics = ranked(world, RerankConfig())
    rewards = [row["reward"] for row in read_table(output, "ranked")]
    expected = stats.spearmanr(rewards, [len(text) for text in REPLIES] * 2).statistic
    assert metrics["reward_length_correlation"] == pytest.approx(expected)
    shards = [ranked(world, RerankConfig(), Shard(i, 2))[0] for i in (0, 1)]
    assert merge_shards.run(shards=shards, merged=world / "merged") == metrics
