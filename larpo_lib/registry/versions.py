"""Policies as versions of one registered model, and the aliases that point at them.

`champion` is the version in use; `challenger` is the last one that did not pass the gate. A version is found again by
the digest of its policy, so that registering a policy twice gives one version.
"""

import json
import re
import tempfile
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from larpo_lib.artifacts import digest
from larpo_lib.errors import TrackingError
from larpo_lib.files import write_json
from larpo_lib.registry.fetching import EVALUATION, Source, fetch_policy, fetch_version_json
from larpo_lib.registry.mlmodel import Identity, VersionFacts
from larpo_lib.registry.numbers import log_numbers
from larpo_lib.registry.storing import FOLDER, MODEL_ID, Layout, is_whole, store_card, store_model
from larpo_lib.tracking import PARENT, TrackingClient

CHAMPION, CHALLENGER = "champion", "challenger"
DIGEST, REPLACED, RUN = "larpo.policy_digest", "larpo.replaced", "larpo.run_id"

_FILE = "evaluation.json"
_VERSIONS = "mlflow.modelVersions"
"""Of a logged model: what it is registered as, which MLflow shows."""
_CHOOSE = f"Set the alias '{CHAMPION}' to another version in MLflow"


class Registry:
    """The model registry of an MLflow server or database.

    Args:
        uri: where MLflow is (`Tracker.uri`).
        run_id: the MLflow run that registers policies; needed by `register` only.
    """

    def __init__(self, uri: str, run_id: str | None = None) -> None:
        self._uri, self._run_id = uri, run_id

    @property
    def uri(self) -> str:
        """Where MLflow is; may hold a password."""
        return self._uri

    @cached_property
    def _client(self) -> TrackingClient:
        return TrackingClient(self._uri)

    def register(
        self,
        policy: Path,
        *,
        model_name: str,
        evaluation: Mapping[str, Any],
        place: str | None = None,
        facts: VersionFacts | None = None,
    ) -> int:
        """Make a policy a version of `model_name`, or find the version it is already.

        What is kept with a version that is found is brought up to date: evaluation, numbers, description, card, tags.
        The version is a model of MLflow, which `mlflow.transformers.load_model` and `mlflow.pyfunc.load_model` read.

        Args:
            policy: model directory.
            model_name: registered model; made if there is none.
            evaluation: how the policy was judged, as JSON; kept with the version in place of an earlier one.
            place: s3:// URI of the policy, where `policy` is a copy, perhaps without weights. An artifact stays there.
            facts: what else is kept with the version.

        Returns:
            The version's number.
        """
        facts, identity = facts or VersionFacts(), digest(policy)
        found = self._found(model_name, identity)
        layout = Layout.of(policy, place)
        stored = (policy, layout, facts)
        model_id = self._repaired(found[0], *stored) if found else self._upload(model_name, identity, *stored)
        with tempfile.TemporaryDirectory() as folder:
            write_json(Path(folder) / _FILE, evaluation)
            self._client.log_model_artifacts(model_id, folder, EVALUATION)
        if self._run_id is not None:
            log_numbers(self._client, self._own_run, model_id, facts.metrics)
        if found:
            return self._renewed(found[0], policy, facts)
        if not self._client.search_registered_models(f"name = '{model_name}'"):
            self._client.create_registered_model(model_name)
        version = self._client.create_model_version(
            model_name,
            source=layout.place or self._client.get_logged_model(model_id).artifact_location,
            run_id=self._run_id,
            tags={
                **facts.tags,
                **self._whole_run(),
                DIGEST: identity,
                MODEL_ID: model_id,
                **({FOLDER: layout.folder} if layout.folder else {}),
            },
            description=facts.description or None,
            model_id=model_id,
        )
        registered = {"name": model_name, "version": version.version}
        self._client.set_logged_model_tags(model_id, {_VERSIONS: json.dumps([registered])})
        return int(version.version)

    def version_of(self, policy: Path, model_name: str) -> int | None:
        """The version that a policy is already; None if it is not registered."""
        return next((int(one.version) for one in self._found(model_name, digest(policy))), None)

    def _found(self, model_name: str, identity: str) -> Any:
        return self._client.search_model_versions(f"name = '{model_name}' AND tags.`{DIGEST}` = '{identity}'")

    def versions(self, model_name: str) -> list[int]:
        """The versions that a model has, without those that were deleted; none if there is no model of that name."""
        return sorted(int(each.version) for each in self._client.search_model_versions(f"name = '{model_name}'"))

    def tag(self, model_name: str, version: int, tags: Mapping[str, str]) -> None:
        """Set tags of a version."""
        for name, value in tags.items():
            self._client.set_model_version_tag(model_name, str(version), name, value)

    def champion(self, model_name: str) -> int | None:
        """The champion's version; None if there is none, or no model of that name."""
        return self._alias(model_name, CHAMPION)

    def set_alias(self, model_name: str, alias: str, version: int) -> None:
        """Point `alias` at a version."""
        self._client.set_registered_model_alias(model_name, alias, str(version))

    def promote(self, model_name: str, version: int) -> None:
        """Make a version the champion, if it is not, and note on it which one it replaced."""
        champion = self.champion(model_name)
        if champion != version:
            self._client.set_model_version_tag(model_name, str(version), REPLACED, str(champion or ""))
        self._make_champion(model_name, version)

    def _make_champion(self, model_name: str, version: int) -> None:
        """Point `champion` at a version, at which `challenger` does not point any more."""
        self.set_alias(model_name, CHAMPION, version)
        if self._alias(model_name, CHALLENGER) == version:
            self._client.delete_registered_model_alias(model_name, CHALLENGER)

    def replaced(self, model_name: str, version: int) -> int | None:
        """The version that was champion before `version` was promoted; None if there was none."""
        noted = self._client.get_model_version(model_name, str(version)).tags.get(REPLACED)
        return int(noted) if noted else None

    def rollback(self, model_name: str) -> tuple[int, int]:
        """Make the champion's predecessor the champion again.

        Returns:
            The version that was champion, and the one that is now.

        Raises:
            TrackingError: there is no champion, it replaced none, or that one was deleted.
        """
        champion = self.champion(model_name)
        if champion is None:
            raise TrackingError(f"model '{model_name}' has no champion", remedy="Promote a policy first")
        before = self.replaced(model_name, champion)
        if before is None:
            raise TrackingError(
                f"version {champion} of model '{model_name}' did not replace another champion",
                remedy=_CHOOSE,
            )
        if before not in self.versions(model_name):
            raise TrackingError(
                f"version {before} of model '{model_name}', which version {champion} replaced, was deleted in MLflow",
                remedy=_CHOOSE,
            )
        self._make_champion(model_name, before)
        return champion, before

    def evaluation(self, model_name: str, version: int) -> Any:
        """The `evaluation` that `register` kept with a version; None if something else made the version."""
        model_id = self._client.get_model_version(model_name, str(version)).tags.get(MODEL_ID)
        if model_id is None:
            return None
        location = self._client.get_logged_model(model_id).artifact_location
        return fetch_version_json(self._uri, location, f"{EVALUATION}/{_FILE}", f"{model_name} version {version}")

    def source(self, uri: str) -> Source:
        """Where a version's policy is.

        Args:
            uri: `models:/name@alias` or `models:/name/version`.

        Raises:
            TrackingError: there is no such version.
        """
        model_name, version = self._resolve(uri)
        tags = self._client.get_model_version(model_name, str(version)).tags
        location = self._client.get_model_version_download_uri(model_name, str(version))
        return Source(uri, version, location, tags.get(FOLDER, ""), tags.get(DIGEST))

    def download(self, uri: str, target: Path) -> Path:
        """Fetch a policy whole or not at all; returns at once if `target` holds it already.

        Args:
            uri: `models:/name@alias` or `models:/name/version`.
            target: model directory to make; a README.md that was written at the promotion is in it.

        Raises:
            TrackingError: there is no such version.
            StorageError: `target` exists and holds something else.
            ArtifactError: what MLflow holds is not what was registered.
        """
        return fetch_policy(self._uri, self.source(uri), target)

    def _upload(self, model_name: str, identity: str, policy: Path, layout: Layout, facts: VersionFacts) -> str:
        """Identity of the logged model that holds the policy's files; a half-uploaded one of this run is completed."""
        run = self._own_run
        experiment = run.info.experiment_id
        begun = self._client.search_logged_models(
            [experiment], filter_string=f"tags.`{DIGEST}` = '{identity}' AND source_run_id = '{self._run_id}'"
        )
        model = next(iter(begun), None) or self._client.create_logged_model(
            experiment,
            name="policy",
            source_run_id=self._run_id,
            tags={DIGEST: identity},
            params=dict(facts.params),
            model_type="checkpoint",
        )
        if model.status.value != "READY":
            store_model(self._client, policy, layout, self._known(model_name, identity, str(model.model_id)), facts)
            self._client.finalize_logged_model(str(model.model_id), "READY")
        return str(model.model_id)

    def _repaired(self, version: Any, policy: Path, layout: Layout, facts: VersionFacts) -> str:
        """Identity of the logged model of a version, with the files put back that it may have lost."""
        model_id = str(version.tags[MODEL_ID])
        if is_whole(self._client, version, version.tags[DIGEST]):
            return model_id
        if layout.place or version.source != self._client.get_logged_model(model_id).artifact_location:
            raise TrackingError(
                f"version {version.version} of model '{version.name}': its files are not at {version.source} any more",
                remedy="Put them back, or delete this version in MLflow and promote the policy again",
            )
        store_model(self._client, policy, layout, self._known(version.name, version.tags[DIGEST], model_id), facts)
        return model_id

    def _known(self, model_name: str, identity: str, model_id: str) -> Identity:
        run = self._own_run.info
        return Identity(model_name, identity, model_id, run.run_id, run.start_time)

    def _renewed(self, version: Any, policy: Path, facts: VersionFacts) -> int:
        """The number of a version that is there already, which gets what is told of its policy now."""
        name, number = version.name, int(version.version)
        if facts.description:
            self._client.update_model_version(name, str(number), facts.description)
        store_card(self._client, version, policy, facts.card)
        self.tag(name, number, facts.tags)
        return number

    def _whole_run(self) -> dict[str, str]:
        """A tag with the run above the one that registers, which shows the data that the policy was made with."""
        parent = self._own_run.data.tags.get(PARENT)
        return {RUN: parent} if parent else {}

    @cached_property
    def _own_run(self) -> Any:
        if self._run_id is None:
            raise TrackingError("a policy can only be registered from an MLflow run", remedy="Set MLFLOW_RUN_ID")
        return self._client.get_run(self._run_id)

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
        if number:
            return model_name, self._existing(model_name, int(number))
        version = self._alias(model_name, alias)
        if version is None:
            raise TrackingError(f"model '{model_name}' has no alias '{alias}'", remedy="Promote a policy first")
        return model_name, version

    def _existing(self, model_name: str, version: int) -> int:
        known = self.versions(model_name)
        if version in known:
            return version
        if not known:
            raise TrackingError(f"there is no model '{model_name}' with a version", remedy="Promote a policy first")
        raise TrackingError(
            f"model '{model_name}' has no version {version}", remedy=f"Its versions are {', '.join(map(str, known))}"
        )
