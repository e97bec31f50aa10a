"""The edge of a step: remote inputs become local paths before it, remote outputs are published behind it."""

import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from larpo_lib.caches import cache_dir
from larpo_lib.errors import HeldError
from larpo_lib.storage.client import store_client
from larpo_lib.storage.fetching import fetch, keep, short_hash
from larpo_lib.storage.locations import Location, is_remote
from larpo_lib.storage.manifests import stored_manifest
from larpo_lib.storage.publishing import publish


@contextmanager
def localize(
    inputs: Mapping[str, str],
    outputs: Mapping[str, str],
    cache: Path | None = None,
    *,
    without_weights: Collection[str] = (),
) -> Iterator[dict[str, Path]]:
    """Local paths for a step's arguments; remote outputs are published when the block ends without an error.

    An output that is published already is fetched first, so that the step finds it as it would find a local one: made
    with the same settings it is done, made otherwise it is refused. After an error the local output stays in the cache
    and the next attempt goes on from it.

    Args:
        inputs: argument name -> local path or s3:// URI of what the step reads.
        outputs: argument name -> local path or s3:// URI of the artifact the step makes.
        cache: where remote things live locally; `cache_dir()` if not given.
        without_weights: inputs whose weights are not read; see `fetch`.

    Raises:
        HeldError: somebody else has published what was made from the same meanwhile, with other bytes.
        StorageError: the store refuses a read or a write or stays away, or a URI is not one.
    """
    cache = cache or cache_dir()
    paths = {name: fetch(uri, cache, weights=name not in without_weights) for name, uri in inputs.items()}
    to_publish = {}
    for name, uri in outputs.items():
        paths[name] = output_path(uri, cache)
        if not is_remote(uri):
            continue
        location = Location.parse(uri)
        published = None if paths[name].exists() else stored_manifest(store_client(), location)
        if published is None:
            to_publish[name] = uri
            continue
        paths[name] = fetch(uri, cache)
        if published.staging:
            publish(paths[name], uri)  # whoever began it did not come to its end
    yield paths
    for name, uri in to_publish.items():
        try:
            publish(paths[name], uri)
        except HeldError:  # the next attempt fetches what is there
            shutil.rmtree(paths[name])
            raise
        keep(paths[name], uri, cache)


def output_path(uri: str, cache: Path | None = None) -> Path:
    """Where an output is made on this machine; the arguments are those of `localize`."""
    if not is_remote(uri):
        return Path(uri)
    return (cache or cache_dir()) / "outputs" / short_hash(uri) / Location.parse(uri).name
