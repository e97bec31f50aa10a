"""Puts the shards of a step, made on several machines, together again."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from larpo_lib.artifacts import Metrics, WorkDir, produce, read_manifest
from larpo_lib.config import Section
from larpo_lib.errors import ArtifactError
from larpo_lib.provenance import SHARDS, RecordedSampling, read_settings, scored_text
from larpo_lib.shards import UNSHARDED, Shard
from larpo_lib.steps import rerank, sample
from larpo_lib.tables import concat_tables

_SCHEMAS = {"sample": "candidates", "rerank": "ranked"}
_SAME = ("step", "config", "inputs", "code")


def run(*, shards: Sequence[Path], merged: Path) -> Metrics:
    """Publish the rows of all shards as one artifact, with the data and metrics of a step that was not sharded.

    Args:
        shards: artifacts that `sample` or `rerank` made with `shard`; all of them, in any order.
        merged: artifact to publish.

    Raises:
        ArtifactError: a shard is missing or there twice, or they were made with different settings or inputs.
    """
    manifests = [read_manifest(path) for path in shards]
    step = _check(shards, manifests)
    ordered = sorted(zip(map(_shard, manifests), shards, strict=True), key=lambda found: found[0].index)
    schema = _SCHEMAS[step]

    def make(work: WorkDir) -> Metrics:
        work.recorded[SHARDS] = {name: manifests[0][name] for name in _SAME}
        output = work.data / f"{schema}.parquet"
        counts = concat_tables([path / output.name for _, path in ordered], schema, output)
        if step == "rerank":
            return rerank.summarize(output, counts, UNSHARDED, ordered[0][1], scored_text(ordered[0][1]))
        limit = read_settings(ordered[0][1], RecordedSampling).max_prompt_tokens
        return sample.summarize(output, counts, limit, UNSHARDED, ordered[0][1])

    return produce("merge_shards", Section(), {f"shard_{i}": path for i, (_, path) in enumerate(ordered)}, merged, make)


def _check(paths: Sequence[Path], manifests: Sequence[dict[str, Any]]) -> str:
    """The step that made all of them."""
    first = manifests[0]
    for path, manifest in zip(paths, manifests, strict=True):
        if manifest["step"] not in _SCHEMAS or "shard" not in manifest["arguments"]:
            raise ArtifactError(
                f"{path}: is not a shard", remedy="Pass artifacts that sample or rerank made with --shard"
            )
        for key in _SAME:
            if manifest[key] != first[key]:
                raise ArtifactError(
                    f"{path}: its {key} differs from that of {paths[0]}",
                    remedy="Make all shards with the same settings, inputs and version",
                )
        if _rest(manifest) != _rest(first):
            raise ArtifactError(f"{path}: was made from {_rest(manifest)}, but {paths[0]} from {_rest(first)}")
    found = sorted(_shard(manifest).index for manifest in manifests)
    count = _shard(first).count
    if any(_shard(manifest).count != count for manifest in manifests) or found != list(range(count)):
        told = ", ".join(manifest["arguments"]["shard"] for manifest in manifests)
        raise ArtifactError(
            f"the shards {told} are not complete", remedy=f"Pass each of 0/{count} to {count - 1}/{count} once"
        )
    return str(first["step"])


def _shard(manifest: dict[str, Any]) -> Shard:
    return Shard.parse(manifest["arguments"]["shard"])


def _rest(manifest: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in manifest["arguments"].items() if name != "shard"}
