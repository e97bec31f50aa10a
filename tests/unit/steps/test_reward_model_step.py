import random
import re

import pytest
import torch
import trainings
from forked import run_as_torchrun
from safetensors.torch import load_file
from small_models import user, write_prompts
from step_doubles import Killed, kill_at_four, published
from table_rows import candidate, preferences, with_table
from transformers import AutoModelForSequenceClassification

from larpo_lib.config import LaunchConfig, LoraConfig, ModelConfig, RerankConfig, RewardModelConfig
from larpo_lib.errors import LarpoError, ModelError
from larpo_lib.models.layout import packed_layout
from larpo_lib.models.model_dir import ModelDir
from larpo_lib.rewards.rerankers import Scorable, make_reranker
from larpo_lib.rewards.rerankers.classifier import ClassifierConfig
from larpo_lib.schemas import prompt_id
from larpo_lib.steps import rerank, reward_model
from larpo_lib.steps.declarations import STEPS
from larpo_lib.tables import read_table
from larpo_lib.training.history import read_history
from larpo_lib.training.reward_model import encode_conversations, load_trainable_reward_model, with_last_tokens

PLAIN = ModelConfig(device="cpu")
SETTINGS = trainings.SETTINGS | {"learning_rate": 5e-3, "max_prompt_tokens": 64, "epochs": 2}
BAD = "+"
"""The less often a response says it, the better it is; where, and what else it says, counts for nothing.

Of the two directions this is the one that an untrained model of seed 0 gets wrong.
"""


def _responses(rng, size):
    """Of six words each, best first."""
    counts = sorted(rng.sample(range(6), size))
    return [" ".join(rng.sample([BAD] * n + rng.choices("1234567", k=6 - n), 6)) for n in counts], counts


def _rows(count, seed):
    rng = random.Random(seed)
    rows = []
    for number in range(count):
        messages = user("Ann " * rng.randint(1, 9) + f"has {number}")
        responses, counts = _responses(rng, rng.randint(2, 4))
        rows.append(preferences(messages, responses, [float(-n) for n in counts]))
    return rows


ROWS = _rows(11, seed=0)
"""With four a step, the last step of an epoch has three."""


@pytest.fixture
def run(tiny_policy, tmp_path):
    def run(name="trained", rows=ROWS, policy=tiny_policy, log=lambda _row, _step: None, **changes):
        lists = with_table(tmp_path / "lists", "lists", rows)
        config = RewardModelConfig(**SETTINGS | changes)
        return reward_model.run(config, policy=policy, lists=lists, trained=tmp_path / name, log=log)

    return run


def _reranked(path, rows):
    """Rewards of each list's responses by the reranker that reads the published directory."""
    reranker = make_reranker(ClassifierConfig(path=str(path), model=PLAIN, batch_tokens=64))
    items = [Scorable(row["prompt_id"], row["messages"], text) for row in rows for text in row["responses"]]
    scores = iter(reranker.score(items))
    return [[next(scores) for _ in row["responses"]] for row in rows]


def _accuracy(path, rows):
    """Share of pairs that the reranker orders right."""
    right = [
        better > worse
        for scores in _reranked(path, rows)
        for i, better in enumerate(scores)
        for worse in scores[i + 1 :]
    ]
    return sum(right) / len(right)


def _scored_in_training(path, rows):
    """What the trainer sees of a published model, in rows that share prompts."""
    config, source = RewardModelConfig(**SETTINGS), ModelDir(path, PLAIN)
    lists, _ = encode_conversations(rows, source.tokenizer, config)
    model = load_trainable_reward_model(source, config)
    with torch.no_grad():
        return model(**with_last_tokens(packed_layout(0))([item.tokens for item in lists])).tolist()


@pytest.mark.parametrize("changes", [{}, {"loss": "pairwise"}, {"lora": LoraConfig(r=2)}], ids=["all", "pairs", "lora"])
def test_the_reranker_scores_as_the_trainer_does(run, tmp_path, changes):
    metrics = run(**changes)
    assert (metrics["lists"], metrics["steps"]) == (11, 6)
    history = read_history(tmp_path / "trained")
    assert metrics["final_ranking_accuracy"] == history[-1]["ranking_accuracy"]
    rewards = [reward for rewards in _reranked(tmp_path / "trained", ROWS) for reward in rewards]
    assert torch.tensor(rewards).std() > 0.01
    assert _scored_in_training(tmp_path / "trained", ROWS) == pytest.approx(rewards, abs=1e-5)


def test_the_published_scores_are_those_that_the_trainer_went_on_from(run, tmp_path):
    """A further training's first loss, by the trainer, is the loss of what the reranker says of the same lists."""
    run()
    run("again", policy=tmp_path / "trained", batch_size=11, max_steps=1, loss="pairwise")
    losses = [
        sum(torch.nn.functional.softplus(torch.tensor(scores[j] - scores[i])).item() for i, j in pairs) / len(pairs)
        for scores in _reranked(tmp_path / "trained", ROWS)
        for pairs in [[(i, j) for j in range(len(scores)) for i in range(j)]]
    ]
    assert read_history(tmp_path / "again")[0]["loss"] == pytest.approx(sum(losses) / len(losses), abs=1e-5)


@pytest.mark.parametrize("loss", ["pairwise", "listwise"])
def test_it_learns_a_preference_that_holds_for_other_prompts(run, tmp_path, loss):
    others = _rows(40, seed=1)
    run("untrained", learning_rate=1e-9, max_steps=1)
    run(rows=_rows(120, seed=2), loss=loss, batch_size=12, epochs=4, micro_batch_tokens=1000)
    assert _accuracy(tmp_path / "untrained", others) < 0.5
    assert _accuracy(tmp_path / "trained", others) > 0.95


def test_rerank_takes_what_is_published(run, tmp_path):
    run(max_steps=1)
    prompts = write_prompts(tmp_path / "prompts", [("How many ?", None)])
    key, texts = prompt_id(user("How many ?")), ["1 2", "+ +", "7"]
    rows = [candidate(key, text, i) for i, text in enumerate(texts)]
    with_table(tmp_path / "candidates", "candidates", rows)
    config = RerankConfig(reranker=ClassifierConfig(path=str(tmp_path / "trained"), model=PLAIN))
    ranked = tmp_path / "ranked"
    metrics = rerank.run(config, prompts=prompts, candidates=[tmp_path / "candidates"], ranked=ranked)
    found = read_table(ranked, "ranked")
    assert metrics["ranked"] == 3
    assert {row["reranker"] for row in found} == {"classifier-trained"}
    assert sorted(row["rank"] for row in found) == [1, 2, 3]


@pytest.mark.parametrize("changes", [{}, {"lora": LoraConfig(r=2)}], ids=["all", "lora"])
def test_a_killed_run_ends_with_the_same_bytes(run, tmp_path, changes):
    run("whole", **changes)

    with pytest.raises(Killed):
        run("killed", log=kill_at_four, **changes)
    assert not (tmp_path / "killed").exists()
    seen = []
    run("killed", log=lambda _row, step: seen.append(step), **changes)
    assert seen == [3, 4, 5, 6]
    assert published(tmp_path / "killed") == published(tmp_path / "whole")


def test_a_reward_model_keeps_its_head_when_it_goes_on(run, tiny_classifier, tmp_path):
    run(policy=tiny_classifier, learning_rate=1e-9, max_steps=1)
    before, after = (load_file(path / "model.safetensors") for path in (tiny_classifier, tmp_path / "trained"))
    torch.testing.assert_close(after, before)


def test_thoughts_are_counted_and_change_nothing_unless_they_are_kept(run, tmp_path):
    """Other thoughts give the same model; kept, they do not. A list whose replies are all empty teaches nothing."""

    def thinking(words):
        rows = [row | {"responses": [f"<think>{words}</think>{text}" for text in row["responses"]]} for row in ROWS]
        return [*rows, ROWS[0] | {"responses": ["<think>1"] * len(ROWS[0]["responses"])}]

    lists = {name: thinking(words) for name, words in (("one", "1 2"), ("other", "3"))}
    metrics = run("one", rows=lists["one"], epochs=1)
    run("other", rows=lists["other"], epochs=1)
    run("kept", rows=lists["other"], epochs=1, thinking="keep", max_tokens=96)
    responses = sum(len(row["responses"]) for row in lists["one"])
    assert metrics["responses_with_thoughts"] == metrics["responses"] == responses
    assert metrics["thoughts_unfinished"] == len(ROWS[0]["responses"])
    one, other, kept = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "other", "kept"))
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert not torch.equal(one["score.weight"], kept["score.weight"])


def test_adapters_in_bfloat16_are_merged_into_the_stored_weights_and_the_head_is_the_trained_one(
    run, tiny_policy, tmp_path
):
    half = {"model": ModelConfig(device="cpu", dtype="bfloat16"), "lora": LoraConfig(r=2)}
    assert run("first", **half)["lora_update_kept"] == pytest.approx(1, abs=0.2)
    run("second", policy=tmp_path / "first", **half)
    before, first, second = (load_file(tmp_path / p / "model.safetensors") for p in (tiny_policy, "first", "second"))
    assert {value.dtype for value in (*first.values(), *second.values())} == {torch.float32}
    assert not torch.equal(first["score.weight"], second["score.weight"])
    frozen = {name for name in first if "embed" in name or "norm" in name}
    assert {name for name in first if name in before and torch.equal(first[name], before[name])} == frozen
    assert {name for name in first if torch.equal(first[name], second[name])} == frozen


def test_two_processes_train_what_one_does(run, tiny_policy, tmp_path):
    """And share out the model, score head included."""
    run("alone", epochs=1)
    launch = LaunchConfig(launcher="deepspeed", nproc=2, zero_stage=3)
    config = RewardModelConfig(**SETTINGS | {"epochs": 1, "launch": launch}).model_dump(mode="json")
    assert STEPS["reward_model"].section == "reward_model"  # by which a launcher's processes read their settings
    run_as_torchrun(_train, config, tiny_policy, tmp_path / "lists", tmp_path / "together", folder=tmp_path)
    alone, together = (load_file(tmp_path / name / "model.safetensors") for name in ("alone", "together"))
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-3)
    one, other = (read_history(tmp_path / name) for name in ("alone", "together"))
    assert [row["loss"] for row in other] == pytest.approx([row["loss"] for row in one], abs=1e-5)


def _train(config, policy, lists, trained):
    reward_model.run(RewardModelConfig.model_validate(config), policy=policy, lists=lists, trained=trained)


def _with_eos_for_padding(policy, directory):
    tokenizer = ModelDir(policy, PLAIN).tokenizer
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(directory)
    ModelDir(policy, PLAIN).load_policy().save_pretrained(directory)
    return directory


def test_eos_for_padding_is_refused_until_another_token_is_named(run, tiny_policy, tmp_path):
    policy = _with_eos_for_padding(tiny_policy, tmp_path / "policy")
    told = r"'<end>' is also the eos token.* --set reward_model\.model\.pad_token='(.*)'"
    with pytest.raises(ModelError, match=told) as refused:
        run(policy=policy)
    named = re.findall(told, str(refused.value))[0]  # what is named is there
    assert named == "<pad>"
    run(policy=policy, max_steps=1, model=ModelConfig(device="cpu", pad_token=named))
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "trained")
    assert model.config.pad_token_id == ModelDir(tmp_path / "trained", PLAIN).tokenizer.pad_token_id == 0
    rewards = [reward for rewards in _reranked(tmp_path / "trained", ROWS) for reward in rewards]
    assert _scored_in_training(tmp_path / "trained", ROWS) == pytest.approx(rewards, abs=1e-5)


def test_a_reward_model_that_pads_with_eos_goes_on_at_the_token_it_scores(run, tiny_classifier, tmp_path):
    """As TRL leaves it: the last token that is not eos."""
    model = AutoModelForSequenceClassification.from_pretrained(tiny_classifier)
    tokenizer = ModelDir(tiny_classifier, PLAIN).tokenizer
    tokenizer.pad_token = tokenizer.eos_token
    model.config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(tmp_path / "eos")
    tokenizer.save_pretrained(tmp_path / "eos")
    before = [reward for rewards in _reranked(tmp_path / "eos", ROWS) for reward in rewards]
    assert _scored_in_training(tmp_path / "eos", ROWS) == pytest.approx(before, abs=1e-5)
    with_end = [reward for rewards in _reranked(tiny_classifier, ROWS) for reward in rewards]
    assert max(abs(one - other) for one, other in zip(before, with_end, strict=True)) > 0.1
    run(policy=tmp_path / "eos", learning_rate=1e-9, max_steps=1)
    after = [reward for rewards in _reranked(tmp_path / "trained", ROWS) for reward in rewards]
    assert after == pytest.approx(before, abs=1e-4)


def test_a_reward_model_that_scores_the_wrong_token_is_refused(run, tiny_classifier):
    with pytest.raises(ModelError, match=r"0 in the model, 1 in the tokenizer, so padding would be scored"):
        run(policy=tiny_classifier, model=ModelConfig(device="cpu", pad_token="<unk>"))


def test_lists_of_which_none_fits_are_refused(run):
    with pytest.raises(LarpoError, match=r"no list is left to train on: .*Increase reward_model.max_tokens"):
        run(max_prompt_tokens=2, max_tokens=4)
