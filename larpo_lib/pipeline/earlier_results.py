"""Whether a request fits what earlier runs of the same root have published: told by the first task, not after hours."""

from pathlib import Path

from larpo_lib.artifacts import MANIFEST, METRICS, read_manifest
from larpo_lib.errors import ArtifactError
from larpo_lib.pipeline import files
from larpo_lib.plan import Plan
from larpo_lib.run_state import Artifacts, find_run_state
from larpo_lib.shards import Shard
from larpo_lib.storage import cache_dir, fetch


def check_earlier_results(plan: Plan, shards: int) -> None:
    """Look at what is there of a run before anything more is made.

    Args:
        plan: of the run.
        shards: the shards of an iteration's prompts.

    Raises:
        ArtifactError: a step was made with other settings or in another number of shards, or the run has not come to
            that end.
    """
    there = {uri for root in {plan.root, plan.shared} - {""} for uri in files.directories(root, MANIFEST)}
    first_shards = _require_same_shards(plan, shards, there)

    def made(uri: str) -> bool:
        return uri in there and first_shards.get(uri, uri) in there

    def folder(uri: str) -> Path:
        return _folder(first_shards.get(uri, uri))  # what is merged from shards has no settings of its own

    find_run_state(plan, Artifacts(made, folder, lambda uri: files.read(uri, METRICS)))


def _require_same_shards(plan: Plan, shards: int, there: set[str]) -> dict[str, str]:
    """The first share of everything that is made in shares, by where the whole is."""
    found = {}
    for iteration in range(1, plan.config.loop.iterations + 1):
        for step in (plan.sample, plan.rerank):
            whole = step(iteration).output
            if shards > 1:
                found[whole] = step(iteration, Shard(0, shards)).output
            if whole in there and (count := _shard_count(whole)) != shards:
                raise ArtifactError(
                    f"{whole}: exists already, but was made in {count} shards instead of {shards}",
                    remedy=f"Set shards to {count}, or choose another run_id",
                )
    return found


def _shard_count(uri: str) -> int:
    manifest = read_manifest(_folder(uri))
    return len(manifest["inputs"]) if manifest["step"].startswith("merge_shards") else 1


def _folder(uri: str) -> Path:
    return fetch(f"{uri}/{MANIFEST}", cache_dir()).parent
