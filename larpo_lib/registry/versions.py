"""MLflow's model registry: policies as versions of one registered model, and the aliases that point at them.

`champion` is the version in use; `challenger` is the last one that did not pass the gate. A version is found again by
the digest of its policy, so that registering a policy twice gives one version.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from larpo_lib.artifacts import MANIFEST, digest, verify
from larpo_lib.errors import ArtifactError, StorageError, TrackingError
from larpo_lib.files import write_json
from larpo_lib.tracking import TrackingClient, mlflow_errors

CHAMPION, CHALLENGER = "champion", "challenger"
DIGEST, MODEL_ID, REPLACED = "larpo.policy_digest", "larpo.model_id", "larpo.replaced"

_EVALUATION = "larpo-evaluation"
"""Folder beside the policy's files, never part of a downloaded policy."""
_FILE = "evaluation.json"


class Registry:
    """The model registry of an MLflow server or database.

    Args:
        uri: where MLflow is (`Tracker.uri`).
        run_id: the MLflow run that registers policies; needed by `register` only.
    """

    def __init__(self, uri: str, run_id: str | None = None) -> None:
        self._uri, self._run_id = uri, run_id

    @cached_property
    def _client(self) -> TrackingClient:
        return TrackingClient(self._uri)

    def register(self, policy: Path, *, model_name: str, evaluation: Mapping[str, Any]) -> int:
        """Make a policy a version of `model_name`, or find the version it is already.

        Args:
            policy: model directory.
            model_name: registered model; made if there is none.
            evaluation: how the policy was judged, as JSON; kept with the version in place of an earlier one.

        Returns:
            The version's number.
        """
        identity = digest(policy)
        found = self._client.search_model_versions(f"name = '{model_name}' AND tags.`{DIGEST}` = '{identity}'")
        model_id = found[0].tags[MODEL_ID] if found else self._upload(policy, identity)
        with tempfile.TemporaryDirectory() as folder:
            write_json(Path(folder) / _FILE, evaluation)
            self._client.log_model_artifacts(model_id, folder, _EVALUATION)
        if found:
            return int(found[0].version)
        if not self._client.search_registered_models(f"name = '{model_name}'"):
            self._client.create_registered_model(model_name)
        version = self._client.create_model_version(
            model_name,
            source=self._client.get_logged_model(model_id).artifact_location,
            run_id=self._run_id,
            tags={DIGEST: identity, MODEL_ID: model_id},
            model_id=model_id,
        )
        return int(version.version)

    def champion(self, model_name: str) -> int | None:
        """The champion's version; None if there is none, or no model of that name."""
        return self._alias(model_name, CHAMPION)

    def set_alias(self, model_name: str, alias: str, version: int) -> None:
        """Point `alias` at a version."""
        self._client.set_registered_model_alias(model_name, alias, str(version))

    def promote(self, model_name: str, version: int) -> None:
        """Make a version the champion, and note on it which one it replaced. Does nothing if it is the champion."""
        champion = self.champion(model_name)
        if champion == version:
            return
        self._client.set_model_version_tag(model_name, str(version), REPLACED, str(champion or ""))
        self.set_alias(model_name, CHAMPION, version)

    def replaced(self, model_name: str, version: int) -> int | None:
        """The version that was champion before `version` was promoted; None if there was none."""
        noted = self._client.get_model_version(model_name, str(version)).tags.get(REPLACED)
        return int(noted) if noted else None

    def rollback(self, model_name: str) -> tuple[int, int]:
        """Make the champion's predecessor the champion again.

        Returns:
            The version that was champion, and the one that is now.

        Raises:
            TrackingError: there is no champion, or it replaced none.
        """
        champion = self.champion(model_name)
        if champion is None:
            raise TrackingError(f"model '{model_name}' has no champion", remedy="Promote a policy first")
        before = self.replaced(model_name, champion)
        if before is None:
            raise TrackingError(
                f"version {champion} of model '{model_name}' did not replace another champion",
                remedy=f"Set the alias '{CHAMPION}' to another version in MLflow",
            )
        self.set_alias(model_name, CHAMPION, before)
        return champion, before

    def evaluation(self, model_name: str, version: int) -> Any:
        """The `evaluation` that `register` kept with a version; None if something else made the version."""
        if MODEL_ID not in self._client.get_model_version(model_name, str(version)).tags:
            return None
        with tempfile.TemporaryDirectory() as folder:
            file = self._fetch(model_name, version, Path(folder), f"/{_EVALUATION}/{_FILE}")
            return json.loads(file.read_text("utf-8"))

    def download(self, uri: str, target: Path) -> Path:
        """Fetch a policy whole or not at all; returns at once if `target` holds it already.

        Args:
            uri: `models:/name@alias` or `models:/name/version`.
            target: model directory to make.

        Raises:
            TrackingError: there is no such version.
            StorageError: `target` exists and holds something else.
            ArtifactError: what MLflow holds is not what was registered.
        """
        model_name, version = self._resolve(uri)
        expected = self._client.get_model_version(model_name, str(version)).tags.get(DIGEST)
        if target.exists():
            if expected is None or digest(target) != expected:
                raise StorageError(f"{target}: exists and is not {uri}", remedy="Choose another directory")
            return target
        partial = target.absolute().parent / f".{target.name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        folder = self._fetch(model_name, version, partial)
        shutil.rmtree(folder / _EVALUATION, ignore_errors=True)
        if expected is not None and digest(folder) != expected:
            raise ArtifactError(
                f"{uri}: its files differ from those that were registered", remedy="Register the policy again"
            )
        if (folder / MANIFEST).is_file():  # its digest is of the manifest, not of the files
            verify(folder)
        folder.rename(target)
        shutil.rmtree(partial, ignore_errors=True)
        return target

    def _upload(self, policy: Path, identity: str) -> str:
        """Identity of the logged model that holds the policy's files; a half-uploaded one of this run is completed."""
        if self._run_id is None:
            raise TrackingError("a policy can only be registered from an MLflow run", remedy="Set MLFLOW_RUN_ID")
        experiment = self._client.get_run(self._run_id).info.experiment_id
        begun = self._client.search_logged_models(
            [experiment], filter_string=f"tags.`{DIGEST}` = '{identity}' AND source_run_id = '{self._run_id}'"
        )
        model = (
            begun[0]
            if begun
            else self._client.create_logged_model(
                experiment, name="policy", source_run_id=self._run_id, tags={DIGEST: identity}, model_type="checkpoint"
            )
        )
        if model.status.value != "READY":
            self._client.log_model_artifacts(model.model_id, str(policy))
            self._client.finalize_logged_model(model.model_id, "READY")
        return str(model.model_id)

    def _alias(self, model_name: str, alias: str) -> int | None:
        models = self._client.search_registered_models(f"name = '{model_name}'")
        version = models[0].aliases.get(alias) if models else None
        return None if version is None else int(version)

    def _resolve(self, uri: str) -> tuple[str, int]:
        match = re.fullmatch(r"models:/([^/@]+)(?:@([^/@]+)|/(\d+))", uri)
        if match is None:
            raise TrackingError(
                f"'{uri}' is not the URI of a registered policy", remedy="Use models:/name@alias or models:/name/1"
            )
        model_name, alias, number = match.groups()
        version = int(number) if number else self._alias(model_name, alias)
        if version is None:
            raise TrackingError(f"model '{model_name}' has no alias '{alias}'", remedy="Promote a policy first")
        return model_name, version

    def _fetch(self, model_name: str, version: int, folder: Path, path: str = "") -> Path:
        """Download files of a version; not by models:/..., which MLflow would look up at its global URI."""
        location = self._client.get_model_version_download_uri(model_name, str(version))
        from mlflow.artifacts import download_artifacts

        with mlflow_errors(self._uri):
            return Path(download_artifacts(location + path, dst_path=str(folder), tracking_uri=self._uri))
