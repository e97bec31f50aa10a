"""Data sets as MLflow shows them with a run: their names, sources, digests and rows."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from larpo_lib.artifacts import digest, read_manifest, read_metrics

Use = Literal["training", "evaluation"]
"""What a run does with data."""

_DIGEST_LENGTH = 16


@dataclass(frozen=True)
class DataSet:
    """Prompts, held-out prompts or demonstrations.

    Attributes:
        name: what they are.
        use: what they are for.
        digest: of the artifact.
        rows: how many there are.
        source: what they were prepared from, as the settings name it.
        split: of it, for a name that the library `datasets` loads.
    """

    name: str
    use: Use
    digest: str
    rows: int
    source: str
    split: str

    @classmethod
    def of(cls, artifact: Path, name: str, use: Use, source: str | None = None) -> DataSet | None:
        """What an artifact of the step `prepare` holds; None of one that something else made.

        Args:
            artifact: of the step.
            name: what the data are.
            use: what they are for.
            source: where they come from; by default what the artifact says, which of a file is its name alone.
        """
        manifest = read_manifest(artifact)
        if not manifest["step"].startswith("prepare"):
            return None
        config, metrics = manifest["config"], read_metrics(artifact)
        rows = metrics.get("demonstrations" if name == "demonstrations" else "prompts")
        found = digest(artifact)[:_DIGEST_LENGTH]
        return cls(name, use, found, int(rows or 0), source or str(config["source"]), str(config.get("split", "")))

    def as_input(self) -> Any:
        """As MLflow takes it."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        kind, source = _source(self.source, self.split)
        data = Dataset(self.name, self.digest, kind, json.dumps(source), profile=json.dumps({"num_rows": self.rows}))
        return DatasetInput(data, [InputTag("mlflow.data.context", self.use)])


def _source(source: str, split: str) -> tuple[str, dict[str, Any]]:
    """The kind of a source in MLflow's words, and what it says of one of that kind."""
    scheme = source.partition("://")[0] if "://" in source else ""
    if scheme in ("http", "https"):
        return "http", {"url": source}
    if scheme:
        return scheme, {"uri": source}
    if Path(source).exists() or Path(source).is_absolute() or Path(source).suffix or "*" in source:
        return "local", {"uri": source}
    path, _, config = source.partition(":")
    return "hugging_face", {"path": path, "config_name": config or None, "split": split or None}
