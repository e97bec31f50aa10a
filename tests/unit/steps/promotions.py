"""Evaluations, benchmarks and policies to be promoted, for the tests of the gate and of the registry behind it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from stored_artifacts import make_evaluation as evaluation
from table_rows import ranked

from larpo_lib.artifacts import Metrics, WorkDir, produce
from larpo_lib.config import EvaluateConfig, PromoteConfig, Section, TrackingConfig
from larpo_lib.files import write_json
from larpo_lib.registry import Registry
from larpo_lib.reporting.benchmark import REPORT, VALUES
from larpo_lib.reporting.evaluation import EvaluationReport
from larpo_lib.steps import promote
from larpo_lib.steps.judgements import Judgement
from larpo_lib.tables import Row, write_table
from larpo_lib.tracking import Tracker

PROMPTS = [f"p{number:02d}" for number in range(20)]
CONFIG = PromoteConfig()


def row(prompt: str, reward: float, *, temperature: float = 1.0, correct: bool | None = None, index: int = 0) -> Row:
    identity = f"{prompt}-{index}-{temperature}"
    return ranked(prompt, "text", reward, index, candidate_id=identity, temperature=temperature, correct=correct)


def rewards(folder: Path, reward: float, prompts: list[str] = PROMPTS) -> Path:
    """One sampled response a prompt, its rewards spread evenly around `reward`."""
    spread = [reward + (0.1 if number % 2 else -0.1) for number in range(len(prompts))]
    return evaluation(folder, [row(prompt, value) for prompt, value in zip(prompts, spread, strict=True)])


def evaluated(folder: Path, reward: float, **settings: Any) -> Path:
    """An evaluation by some settings; the names of all its rerankers are the same."""
    config = EvaluateConfig.model_validate(settings)

    def make(work: WorkDir) -> Metrics:
        rows = [{**row(prompt, reward), "reranker": "one name"} for prompt in PROMPTS]
        write_table(work.data / "evaluated.parquet", "evaluated", rows)
        return {}

    produce("evaluate", config, config.reranker.models(), folder, make)
    return folder


def policy(folder: Path, weights: str) -> Path:
    folder.mkdir()
    (folder / "model.safetensors").write_text(weights)
    return folder


def judgement(values: Mapping[str, float], metric: str = "reward", reranker: str = "verifier") -> Judgement:
    return Judgement(reranker, {metric: dict(values)})


class World:
    """A store with one run, in which policies are promoted one after the other."""

    def __init__(self, folder: Path, store: Path) -> None:
        tracker = Tracker(TrackingConfig(), store)
        self.folder, self.uri = folder, tracker.uri
        self.begin_run()

    def begin_run(self) -> None:
        client = MlflowClient(self.uri)
        self.experiment = client.get_experiment_by_name("larpo").experiment_id
        self.run_id = client.create_run(self.experiment).info.run_id

    def promote(self, name: str, reward: float, baseline: Path | None = None, **settings: Any) -> dict[str, Any]:
        """promotion.json of a policy whose rewards lie around `reward`."""
        if not (self.folder / name).exists():
            policy(self.folder / name, name)
        self.metrics = promote.run(
            PromoteConfig(**settings),
            policy=self.folder / name,
            evaluation=rewards(self.folder / f"{name}-{reward}-evaluation", reward),
            baseline=baseline,
            promotion=self.folder / f"{name}-{reward}-promotion",
            registry=Registry(self.uri, self.run_id),
        )
        text = (self.folder / f"{name}-{reward}-promotion" / "promotion.json").read_text("utf-8")
        found: dict[str, Any] = json.loads(text)
        return found


def benchmark(folder: Path, gain: float = 0.0, **changes: Any) -> Path:
    """A benchmark's artifact: 20 items' win rates around 50 + `gain`, and what `changes` says of the report."""
    values = {"win_rate": {prompt: 40.0 + gain + number for number, prompt in enumerate(PROMPTS)}}
    report = EvaluationReport(
        **{
            "benchmark": "alpaca_eval", "title": "", "policy": "p", "judged_by": "gpt", "scores": [], "counts": {},
            "values": values, "version": "2", **changes,
        }
    )  # fmt: skip

    def make(work: WorkDir) -> Metrics:
        """What the gate reads; the page and its figures take a while."""
        rows = [
            {"metric": metric, "item_id": item, "value": value}
            for metric, items in report.values.items()
            for item, value in items.items()
        ]
        write_table(work.data / VALUES, "scores", rows)
        write_json(work.data / REPORT, report.to_json())
        return report.metrics()

    produce("alpaca_eval", Section(), {}, folder, make, arguments={"name": folder.name})
    return folder
