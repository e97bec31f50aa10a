"""Artifacts of a run that never was, with the shape and the numbers of a real one."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from table_rows import ranked

from larpo_lib.artifacts import Metrics, WorkDir, produce
from larpo_lib.config import (
    EvaluateConfig,
    ListsConfig,
    PrepareConfig,
    PromoteConfig,
    RerankConfig,
    RerankerConfig,
    SampleConfig,
    SamplerConfig,
    TrainConfig,
)
from larpo_lib.files import write_json
from larpo_lib.rewards.judges.verifier import VerifierJudgeConfig
from larpo_lib.rewards.rerankers.verifier import VerifierConfig
from larpo_lib.samplers.hf import HfSamplerConfig
from larpo_lib.schemas import prompt_id
from larpo_lib.statistics.draws import pass_at_n
from larpo_lib.statistics.estimates import Bootstrap
from larpo_lib.statistics.ranking import spearman
from larpo_lib.tables import Row, write_table

NAMES = ("Ada", "Ben", "Chloé", "Dmitri", "Eve")
SAMPLER, RERANKER = HfSamplerConfig(), VerifierConfig()
THINGS = ("apples", "marbles", "stamps", "coins")


@dataclass(frozen=True)
class SyntheticRun:
    """The arguments of the step `report`, and the evaluated rows behind them."""

    arguments: dict[str, Any]
    evaluated: list[list[Row]]


def make_run(
    root: Path,
    *,
    iterations: int = 3,
    judged: bool = True,
    promoted: bool | None = True,
    prompts: int = 60,
    n: int = 8,
    steps: int = 96,
    response: str | None = None,
    prompt: str | None = None,
    sampler: SamplerConfig = SAMPLER,
    reranker: RerankerConfig = RERANKER,
) -> SyntheticRun:
    """Write the artifacts.

    Args:
        root: where.
        iterations: of the loop.
        judged: there is a judge.
        promoted: the gate's decision; None without a gate.
        prompts: held-out prompts.
        n: sampled responses a prompt.
        steps: optimiser steps an iteration.
        response: text of every response instead of a worked solution.
        prompt: what every prompt begins with.
        sampler: that the artifacts say they were made with; `reranker` likewise.
    """
    random = np.random.default_rng(7)
    problems = [_problem(random, prompt or "", number) for number in range(prompts)]
    evaluated = [_evaluated(random, problems, i, n, judged=judged, response=response) for i in range(iterations + 1)]
    arguments: dict[str, Any] = {
        "preparations": [_training_prompts(root / "prompts")],
        "prompts": _prompts(root / "heldout", problems),
        "evaluations": [
            _evaluation(
                root / f"iteration-{i}" / "evaluation",
                rows,
                EvaluateConfig(
                    sampler=sampler,
                    reranker=reranker,
                    n=n,
                    resamples=200,
                    judge=VerifierJudgeConfig() if judged else None,
                ),
            )
            for i, rows in enumerate(evaluated)
        ],
    }
    configs = {
        "candidates": SampleConfig(sampler=sampler, temperature=(1.0, 0.9)),
        "ranked": RerankConfig(reranker=reranker),
        "lists": ListsConfig(),
    }
    for name, write in (("candidates", _candidates), ("ranked", _ranked), ("lists", _lists)):
        arguments[name] = [
            write(root / f"iteration-{i}" / name, configs[name], evaluated[i - 1], i) for i in range(1, iterations + 1)
        ]
    arguments["policies"] = [
        _policy(root / f"iteration-{i}" / "policy", random, i, steps) for i in range(1, iterations + 1)
    ]
    arguments["promotion"] = (
        None if promoted is None else _promotion(root / "promotion", arguments["evaluations"][-1], promoted)
    )
    return SyntheticRun(arguments, evaluated)


def _problem(random: np.random.Generator, start: str, number: int) -> Row:
    who, what = NAMES[number % len(NAMES)], THINGS[number % len(THINGS)]
    boxes, each, gone = (int(value) for value in random.integers(3, 20, 3))
    text = (
        f"{start}{who} has {boxes} boxes with {each} {what} in each. "
        f"{who} gives {gone} {what} away. How many {what} are left?"
    )
    messages = [{"role": "user", "content": text}]
    return {
        "prompt_id": prompt_id(messages),
        "messages": messages,
        "reference": f"{boxes} * {each} = {boxes * each}. {boxes * each} - {gone} = {boxes * each - gone}.\n"
        f"#### {boxes * each - gone}",
        "source": "synthetic",
        "ease": random.normal(0, 1.1),
        "numbers": (boxes, each, gone),
    }


def _evaluated(
    random: np.random.Generator, problems: list[Row], iteration: int, n: int, *, judged: bool, response: str | None
) -> list[Row]:
    skill = -0.9 + 1.6 * (1 - 0.55**iteration)
    rows = []
    for problem in problems:
        for index in range(n + 1):
            greedy = index == 0
            chance = 1 / (1 + np.exp(-(skill + problem["ease"]) * (1.6 if greedy else 1.0)))
            right, sound, said = random.random() < chance, random.random() < chance + 0.2, random.random() < 0.9
            text = response or _solution(random, problem, bool(right), bool(sound), bool(said))
            reward = round(0.6 * right + (0.3 if sound else float(random.choice([0.0, 0.15]))) + 0.1 * said, 6)
            rows.append(
                ranked(
                    problem["prompt_id"], text, reward, index, iteration=iteration, temperature=0.0 if greedy else 1.0,
                    token_ids=[1, 2, 3], num_tokens=len(text) // 3, finish_reason="stop" if said else "length",
                    policy=f"iteration-{iteration}", reranker="verifier:graded",
                    correct=bool(right) if judged else None,
                )
            )  # fmt: skip
    return rows


def _solution(random: np.random.Generator, problem: Row, right: bool, sound: bool, said: bool) -> str:
    boxes, each, gone = problem["numbers"]
    total = boxes * each if sound else boxes * each + int(random.integers(1, 9))
    answer = boxes * each - gone if right else total + gone
    text = f"First count them all: {boxes} * {each} = {total}.\nThen take away {gone}: {total} - {gone} = {answer}."
    return text + (f"\n#### {answer}" if said else "")


def _artifact(output: Path, step: str, config: Any, table: tuple[str, list[Row]], metrics: Metrics) -> Path:
    schema, rows = table

    def make(work: WorkDir) -> Metrics:
        write_table(work.data / f"{schema}.parquet", schema, rows)
        return metrics

    produce(step, config, {}, output, make)
    return output


def _prompts(output: Path, problems: list[Row]) -> Path:
    rows = [{key: value for key, value in problem.items() if key not in ("ease", "numbers")} for problem in problems]
    config = PrepareConfig(source="/home/somebody/data/problems.jsonl.gz", heldout=len(rows))
    return _artifact(output, "prepare.heldout", config, ("prompts", rows), {"prompts": len(rows)})


def _training_prompts(output: Path) -> Path:
    config = PrepareConfig(source="/home/somebody/data/problems.jsonl.gz", heldout=60)
    metrics: Metrics = {"prompts": 0, "duplicates_dropped": 4, "over_limit_dropped": 0}
    return _artifact(output, "prepare.prompts", config, ("prompts", []), metrics)


def _evaluation(output: Path, rows: list[Row], config: EvaluateConfig) -> Path:
    sampled, greedy = [r for r in rows if r["sample_index"]], [r for r in rows if not r["sample_index"]]
    judged, n = config.judge is not None, config.n
    metrics: Metrics = {
        **_bootstrapped("mean_reward", _prompt_values(sampled, "reward")),
        "greedy_reward": float(np.mean([row["reward"] for row in greedy])),
        "best_of_n_reward": float(np.mean([max(values) for values in _prompt_values(sampled, "reward")])),
        "distinct_share": len({row["candidate_id"] for row in sampled}) / len(sampled),
        "mean_tokens": float(np.mean([row["num_tokens"] for row in sampled])),
        "truncated_share": float(np.mean([row["finish_reason"] == "length" for row in sampled])),
        "prompts": len(greedy),
        "responses": len(sampled),
        "prompts_too_long_dropped": 0,
    }
    if judged:
        correct = _prompt_values(sampled, "correct")
        metrics |= _bootstrapped("accuracy", correct)
        metrics |= {"greedy_accuracy": float(np.mean([row["correct"] for row in greedy]))}
        metrics |= {f"pass_at_{i}": float(np.mean([pass_at_n(right, i) for right in correct])) for i in range(1, n + 1)}
    else:
        metrics |= dict.fromkeys(("accuracy", "accuracy_low", "accuracy_high", "greedy_accuracy"))
        metrics |= {f"pass_at_{i}": None for i in range(1, n + 1)}
    return _artifact(output, "evaluate", config, ("evaluated", rows), metrics)


def _bootstrapped(name: str, groups: list[list[float]]) -> Metrics:
    found = Bootstrap(0.95, 200, 0).mean([float(np.mean(group)) for group in groups])
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}


def _prompt_values(rows: list[Row], field: str) -> list[list[Any]]:
    groups: dict[str, list[Any]] = {}
    for row in rows:
        groups.setdefault(row["prompt_id"], []).append(row[field])
    return list(groups.values())


def _candidates(output: Path, config: SampleConfig, rows: list[Row], iteration: int) -> Path:
    metrics: Metrics = {
        "candidates": len(rows),
        "prompts_too_long_dropped": 2,
        "duplicate_share_t10.0": 0.0,
        "distinct_2_t10.0": 0.75,
        "duplicate_share_t0.9": 0.125 * iteration,
        "distinct_2_t0.9": 0.5,
    }
    return _artifact(output, "sample", config, ("candidates", _columns(rows, "correct reward rank reranker")), metrics)


def _ranked(output: Path, config: RerankConfig, rows: list[Row], iteration: int) -> Path:
    metrics: Metrics = {
        "candidates": len(rows),
        "ranked": len(rows),
        "too_long_to_score_dropped": 0,
        "mean_reward": float(np.mean([row["reward"] for row in rows])),
        "reward_std": float(np.std([row["reward"] for row in rows])),
        "reward_length_correlation": spearman([row["reward"] for row in rows], [len(row["response"]) for row in rows]),
    }
    return _artifact(output, "rerank", config, ("ranked", _columns(rows, "correct")), metrics)


def _columns(rows: list[Row], without: str) -> list[Row]:
    return [{key: value for key, value in row.items() if key not in without.split()} for row in rows]


def _lists(output: Path, config: ListsConfig, rows: list[Row], iteration: int) -> Path:
    metrics: Metrics = {
        "prompts": len({row["prompt_id"] for row in rows}),
        "lists": len({row["prompt_id"] for row in rows}) - 9 + iteration,
        "lists_dropped_single": 3,
        "lists_dropped_all_tied": 6 - iteration,
        "prompts_without_candidates": 0,
        "duplicates_dropped": 1231 * iteration,
        "mean_list_size": 3.9,
        "mean_reward_gap": 0.62 / iteration,
        "tied_pair_share": 0.08 * iteration,
    }
    return _artifact(output, "build_lists", config, ("lists", []), metrics)


def _policy(output: Path, random: np.random.Generator, iteration: int, steps: int) -> Path:
    def make(work: WorkDir) -> Metrics:
        done = np.arange(1, steps + 1) / steps
        noise = random.normal(0, 1, (4, steps))
        lines = [
            json.dumps(
                {
                    "step": i + 1,
                    "epoch": 2 * done[i],
                    "learning_rate": 5e-7,
                    "loss": 1.2 - 0.35 * done[i] / iteration + 0.04 * noise[0, i],
                    "grad_norm": 2.5 + abs(noise[1, i]),
                    "margin": 3 * done[i] / iteration + 0.4 * noise[2, i] * done[i],
                    "ranking_accuracy": 0.5 + 0.25 * done[i] + 0.03 * noise[3, i],
                    "kl": 0.8 * done[i] ** 2,
                    "chosen_logp_drift": -1.1 * done[i] + 0.1 * noise[1, i] * done[i],
                }
            )
            for i in range(steps)
        ]
        (work.data / "history.jsonl").write_text("\n".join(lines) + "\n")
        return {"lists": 51, "lists_dropped_too_long": 0, "steps": steps}

    produce("train", TrainConfig(), {}, output, make, arguments={"iteration": iteration})
    return output


def _promotion(output: Path, evaluation: Path, promoted: bool) -> Path:
    decision = {
        "promoted": promoted,
        "alias": "champion" if promoted else "challenger",
        "model_name": "larpo-policy",
        "version": 4,
        "metric": "reward",
        "opponent": "version 3",
        "difference": 0.21,
        "probability": 1.0 if promoted else 0.61,
        "margin": 0.0,
        "confidence": 0.95,
        "reason": f"{'beats' if promoted else 'does not beat'} version 3 by more than 0: "
        f"probability {1.0 if promoted else 0.61:.4f} (required: 0.95)",
    }

    def make(work: WorkDir) -> Metrics:
        write_json(work.data / "promotion.json", decision)
        return {"promoted": int(promoted)}

    produce("promote", PromoteConfig(), {"evaluation": evaluation}, output, make)
    return output
