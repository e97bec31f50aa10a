"""The steps that only this study has: folds, the policy with random weights, scores of held-out responses."""

from pathlib import Path
from typing import Any, cast

from larpo_lib.artifacts import Metrics, WorkDir, produce
from larpo_lib.config import ModelConfig, Section
from larpo_lib.models.chat import prompt_ids
from larpo_lib.models.model_dir import ModelDir
from larpo_lib.models.replies import encode_reply
from larpo_lib.models.response_logps import load_logp_scorer
from larpo_lib.samplers.base import stream_seed
from larpo_lib.schemas import CandidateRow, PromptRow
from larpo_lib.studies.preferences.policy import make_policy
from larpo_lib.studies.preferences.study import PolicyConfig
from larpo_lib.tables import Row, read_table, write_table


class FoldConfig(Section):
    """Which prompts are taken: those of one fold, or all others."""

    folds: int
    fold: int
    heldout: bool


class ScoreConfig(Section):
    """What fits the policy: longer prompts and responses are left out, as in training."""

    max_prompt_tokens: int
    max_tokens: int
    batch_tokens: int


def fold(config: FoldConfig, *, prompts: Path, ranked: Path, part: Path) -> Metrics:
    """Publish a part of the prompts with its `prompts`, its `ranked` responses, and all of these as `demonstrations`.

    Folds depend on the prompts alone, and their sizes differ by at most one.
    """

    def make(work: WorkDir) -> Metrics:
        rows = read_table(prompts, "prompts")
        by_chance = sorted(rows, key=lambda row: stream_seed("fold", 0, row["prompt_id"]))
        chosen = {
            row["prompt_id"]: row
            for place, row in enumerate(by_chance)
            if (place % config.folds == config.fold) is config.heldout
        }
        answers = [row for row in read_table(ranked, "ranked") if row["prompt_id"] in chosen]
        write_table(work.data / "prompts.parquet", "prompts", [chosen[name] for name in sorted(chosen)])
        write_table(work.data / "ranked.parquet", "ranked", answers)
        shown = [_demonstration(chosen[row["prompt_id"]], row) for row in answers]
        write_table(work.data / "demonstrations.parquet", "demonstrations", shown)
        return {"prompts": len(chosen), "responses": len(answers)}

    return produce("preferences.fold", config, {"prompts": prompts, "ranked": ranked}, part, make)


def policy(config: PolicyConfig, *, part: Path, made: Path) -> Metrics:
    """Publish a policy with random weights whose tokenizer is learnt from the texts of `part`."""

    def make(work: WorkDir) -> Metrics:
        texts = [message["content"] for row in read_table(part, "prompts") for message in row["messages"]]
        texts += [row["response"] for row in read_table(part, "ranked", ["response"])]
        make_policy(work.data, texts, config)
        return {"texts": len(texts)}

    return produce("preferences.policy", config, {"part": part}, made, make)


def score(config: ScoreConfig, *, policy: Path, part: Path, scores: Path) -> Metrics:
    """Publish the policy's log-probability of every response of `part` that fits, as `logps.parquet`."""

    def make(work: WorkDir) -> Metrics:
        fitting, counts = _fitting(config, policy, part)
        found = load_logp_scorer(ModelDir(policy, ModelConfig()), config.batch_tokens)(fitting)
        rows = []
        for (_, row), scored in zip(fitting, found, strict=True):
            assert scored is not None, "a response has its end-of-turn token at least"
            identity = {name: row[name] for name in ("prompt_id", "candidate_id", "sample_index")}
            rows.append({**identity, "logp": scored[0], "num_tokens": scored[1]})
        write_table(work.data / "logps.parquet", "logps", rows)
        return counts

    return produce("preferences.score", config, {"policy": policy, "part": part}, scores, make)


def _fitting(config: ScoreConfig, policy: Path, part: Path) -> tuple[list[tuple[PromptRow, CandidateRow]], Metrics]:
    source = ModelDir(policy, ModelConfig())
    tokenizer, end = source.tokenizer, source.turn_end
    prompts = {row["prompt_id"]: row for row in read_table(part, "prompts")}
    asked_as = {name: prompt_ids(tokenizer, row["messages"]) for name, row in prompts.items()}
    lengths = {name: len(ids) for name, ids in asked_as.items()}
    answers = read_table(part, "ranked")
    asked = [row for row in answers if lengths[row["prompt_id"]] <= config.max_prompt_tokens]
    kept: list[Any] = []
    for row in asked:
        name = row["prompt_id"]
        messages = prompts[name]["messages"]
        ids = encode_reply(tokenizer, messages, asked_as[name], row["response"], row["finish_reason"], end).ids
        if lengths[name] + len(ids) <= config.max_tokens:
            kept.append((prompts[name], {**row, "token_ids": ids}))
    counts: Metrics = {
        "prompts": len(prompts),
        "prompts_too_long_dropped": sum(length > config.max_prompt_tokens for length in lengths.values()),
        "responses": len(kept),
        "responses_of_dropped_prompts": len(answers) - len(asked),
        "responses_too_long_dropped": len(asked) - len(kept),
    }
    return cast(list[tuple[PromptRow, CandidateRow]], kept), counts


def _demonstration(prompt: Row, answer: Row) -> Row:
    return {
        "prompt_id": prompt["prompt_id"],
        "messages": prompt["messages"],
        "response": answer["response"],
        "source": prompt["source"],
    }
