"""Small artifacts to publish, and what a store or a directory holds."""

from pathlib import Path
from statistics import fmean
from typing import Any

from larpo_lib.artifacts import Metrics, WorkDir, produce
from larpo_lib.config import Section
from larpo_lib.tables import write_table

BUCKET = "larpo-bucket"


class Settings(Section):
    value: int = 1


def make_artifact(path: Path, value: int = 1, large: int = 0) -> Path:
    """An artifact of a few small files, and one of `large` bytes; all of them differ by `value`."""

    def make(work: WorkDir) -> Metrics:
        (work.data / "deep").mkdir()
        (work.data / "deep" / "weights.bin").write_bytes(bytes(range(256)) * 10 + bytes([value]))
        (work.data / "table.txt").write_text(f"value {value}")
        if large:
            (work.data / "large.bin").write_bytes(value.to_bytes(8, "big") * (large // 8))
        return {"rows": value}

    produce("test", Settings(value=value), {}, path, make)
    return path


def make_evaluation(path: Path, rows: list[dict[str, Any]]) -> Path:
    """What the step `evaluate` publishes of responses with rewards; the bounds are the least and the largest reward."""

    def make(work: WorkDir) -> Metrics:
        write_table(work.data / "evaluated.parquet", "evaluated", rows)
        sampled = [row["reward"] for row in rows if row["temperature"]]
        bounds = {"mean_reward_low": min(sampled, default=None), "mean_reward_high": max(sampled, default=None)}
        mean = fmean(sampled) if sampled else None
        return {"prompts": len({row["prompt_id"] for row in rows}), "mean_reward": mean, **bounds}

    produce("evaluate", Section(), {}, path, make, arguments={"rows": rows})
    return path


def content(directory: Path) -> dict[str, bytes]:
    return {str(p.relative_to(directory)): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


def keys(client: Any, bucket: str = BUCKET) -> set[str]:
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    return {item["Key"] for page in pages for item in page.get("Contents", [])}
