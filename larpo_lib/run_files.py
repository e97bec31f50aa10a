"""What stands in a run's directory beside artifacts: its settings, its identity, and the seconds it took."""

import shutil
import tomllib
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any

from larpo_lib.artifacts import Metrics
from larpo_lib.beside import beside
from larpo_lib.config import LarpoConfig, by_iteration
from larpo_lib.config.base import with_models
from larpo_lib.config.load import check
from larpo_lib.config.toml import document
from larpo_lib.config.tree import BENCHMARKS
from larpo_lib.errors import ArtifactError, StorageError
from larpo_lib.files import read_json, write_json, write_text
from larpo_lib.models.hub import pin
from larpo_lib.parsing import parse_json
from larpo_lib.plan import SUMMARY
from larpo_lib.redaction import redact
from larpo_lib.storage import cache_dir, fetch, is_remote
from larpo_lib.tracking import WAITING

SETTINGS, MODELS, KEY = "config.toml", "models.json", "run.json"
STORE = "mlflow"
"""Folder of MLflow's own database, where no server is set, and of what waits for one that is away."""
SECONDS = "seconds.json"
"""What a run took, call by call and step by step; `larpo plan --like` reads it."""

_EVERY_S = 5.0
_NEW_KEY = "Delete it, and run the same command again: the rest of the run is a new run in MLflow"
_HEAD = f"# The settings of this run, defaults included: `larpo run --config {SETTINGS}` takes them.\n"
_WITHOUT_URI = "# tracking.uri held a password and is left out: set MLFLOW_TRACKING_URI.\n"


def write_settings(config: LarpoConfig, out: Path) -> None:
    """Keep a run's settings in its directory, whole and without secrets, as a file that `larpo run` takes."""
    secret = config.tracking.uri is not None and redact(config.tracking.uri) != config.tracking.uri
    if secret:
        config = config.model_copy(update={"tracking": config.tracking.model_copy(update={"uri": None})})
    text = document(config.model_dump(mode="json"))
    assert check(LarpoConfig, tomllib.loads(text)) == config, "a null is not the default"
    write_text(out / SETTINGS, _HEAD + (_WITHOUT_URI if secret else "") + text)


def read_settings(out: Path) -> dict[str, Any]:
    """What `write_settings` kept in a run's directory; empty: nothing. Raises ArtifactError where it cannot be read."""
    path = out / SETTINGS
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        remedy = "Delete it, and run the same command again: the settings are then those of the command"
        raise ArtifactError(f"{path}: cannot be read: {error}", remedy=remedy) from None


def pin_models(config: LarpoConfig, known: Mapping[str, str]) -> tuple[LarpoConfig, dict[str, str]]:
    """The settings with each model of the hub at the commit that it had when the run began, however it moved since.

    Args:
        config: of the run.
        known: the pinned names of its models, as far as they are known; see `read_models`.

    Returns:
        The settings, and the pinned name of each model that they name otherwise.

    Raises:
        ModelError: the hub has no such model, or it cannot be reached.
    """
    used = {text: known.get(text) or pin(text) for text in models_of(config)}
    pinned = with_models(config, lambda text: used.get(text, text))
    return pinned, {text: name for text, name in used.items() if name != text}


def models_of(config: LarpoConfig) -> list[str]:
    """The places of the models that a run reads, each once; the benchmarks' sections are no part of it."""
    found: dict[str, str] = {}
    with_models(config.model_copy(update=dict.fromkeys(BENCHMARKS)), lambda text: found.setdefault(text, text))
    return [*found]


def write_models(models: Mapping[str, str], out: Path) -> None:
    """Keep what `pin_models` found in a run's directory."""
    if models:
        write_json(out / MODELS, models)


def read_models(out: Path) -> dict[str, str]:
    """What `write_models` kept in a run's directory. Raises ArtifactError where it cannot be read."""
    path = out / MODELS
    try:
        return {str(text): str(name) for text, name in parse_json(path.read_text("utf-8")).items()}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError, AttributeError) as error:
        raise ArtifactError(
            f"{path}: cannot be read: {error}", remedy="Delete it; models of the hub are looked up anew"
        ) from None


def summarize(
    config: LarpoConfig, measured: Mapping[int, Metrics], promoted: Metrics, seconds: float
) -> dict[str, Any]:
    """What `summary.json` holds."""
    names = ("mean_reward", "accuracy", f"pass_at_{config.evaluate.n}", "greedy_accuracy", "greedy_reward")
    used = [one for first, one in by_iteration(config).items() if first <= max(1, *measured)]
    return {
        "name": config.name,
        "objective": ", then ".join(dict.fromkeys(one.train.objective.in_words for one in used)),
        "iterations": [
            {"iteration": i, **{name: metrics[name] for name in names}} for i, metrics in sorted(measured.items())
        ],
        "greedy_accuracy": measured[max(measured)]["greedy_accuracy"],
        "promoted": bool(promoted["promoted"]),
        "seconds": round(seconds, 1),
    }


def read_summary(out: Path) -> dict[str, Any]:
    """What a finished run keeps in its directory as `summary.json`. Raises ArtifactError where it cannot be read."""
    return read_json(out / SUMMARY, remedy="Delete it, and run the same command again, which writes it anew")


def run_key(out: Path, root: str | None = None) -> str:
    """The identity under which MLflow finds this run again. A copy of a run gets one of its own.

    Args:
        out: the run's directory on this machine.
        root: s3:// URI of a run in a store.

    Raises:
        ArtifactError: it cannot be read.
    """
    path, place = out / KEY, root if root is not None and is_remote(root) else str(out.resolve())
    known = _read_key(path) if path.exists() else {}
    if known and _is_copy(known, place):
        shutil.rmtree(out / STORE / WAITING, ignore_errors=True)  # the origin's own run of MLflow gets it from there
        known = {}
    known = known or {"run_key": uuid.uuid4().hex}
    if known.get("place") != place:
        known["place"] = place
        write_json(path, known)
    return str(known["run_key"])


def _read_key(path: Path) -> dict[str, Any]:
    found = read_json(path, remedy=_NEW_KEY)
    if not isinstance(found.get("run_key"), str):
        raise ArtifactError(f"{path}: has no run_key", remedy=_NEW_KEY)
    return found


def _is_copy(known: Mapping[str, Any], place: str) -> bool:
    """Whether the run is still where it was before, too."""
    before = known.get("place", place)
    if before == place:
        return False
    try:
        there = fetch(f"{before}/{KEY}", cache_dir()) if is_remote(before) else Path(before) / KEY
        return there.exists() and _read_key(there)["run_key"] == known["run_key"]
    except (StorageError, ArtifactError):
        return False


class Clock:
    """The seconds that a run took, call by call and step by step, kept in its directory as they pass.

    Args:
        out: the run's directory.

    Raises:
        ArtifactError: what was kept there cannot be read.
    """

    def __init__(self, out: Path) -> None:
        self._path = out / SECONDS
        self._before, self._steps = _read(self._path)
        self._resumed = bool(self._before)
        self._start = monotonic()
        self._sampled: float | None = None

    def by_call(self) -> list[float]:
        """Of each call in turn, this one last; of one that was killed, up to a few seconds before."""
        return [*self._before, round(monotonic() - self._start, 1)]

    def add_step(
        self, step: str, iteration: int | None, seconds: float, metrics: Mapping[str, Any], batch: int
    ) -> None:
        """Keep what a step took that was made in this call, and how many tokens of responses it worked on.

        Of the first one in a call that goes on with a run, part may have been made in an earlier call.

        Args:
            step: its name.
            iteration: it belongs to.
            seconds: that it took.
            metrics: of its artifact.
            batch: lists of an optimiser step, if it trains.
        """
        if step == "sample":
            self._sampled = _sampled_tokens(metrics)
        tokens = self._sampled if step in ("sample", "rerank") else _trained_tokens(metrics, batch)
        row = {"step": step, "iteration": iteration, "seconds": round(seconds, 3), "response_tokens": tokens}
        self._steps = [*self._steps, {**row, "resumed": self._resumed}]
        self._resumed = False

    def _keep(self) -> None:
        write_json(self._path, {"calls": self.by_call(), "steps": self._steps})

    @contextmanager
    def running(self) -> Iterator[None]:
        """Keep the seconds within the block, and what they have come to at its end."""

        def keep(ended: Event) -> None:
            while not ended.wait(_EVERY_S):
                with suppress(OSError):  # whatever is wrong with the disk, the steps will tell
                    self._keep()

        self._keep()
        try:
            with beside(keep):
                yield
        finally:
            self._keep()


def _sampled_tokens(metrics: Mapping[str, Any]) -> float | None:
    mean: float | None = metrics.get("mean_tokens")  # a server may not tell
    return None if mean is None else round(mean * float(metrics["candidates"]), 1)


def _trained_tokens(metrics: Mapping[str, Any], batch_size: int) -> float | None:
    if not {"response_tokens", "lists", "steps"} <= metrics.keys():
        return None
    steps_per_epoch = -(-int(metrics["lists"]) // batch_size)
    return round(float(metrics["response_tokens"]) * float(metrics["steps"]) / steps_per_epoch, 1)


def _read(path: Path) -> tuple[Sequence[float], list[dict[str, Any]]]:
    """Seconds of the calls, and of the steps, which version 0.1 did not keep."""
    if not path.exists():
        return [], []
    try:
        found = parse_json(path.read_text("utf-8"))
        calls, steps = (found, []) if isinstance(found, list) else (found["calls"], found["steps"])
        if not isinstance(steps, list) or not all(isinstance(value, int | float) for value in calls):
            raise ValueError("it does not contain numbers")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{path}: cannot be read: {error}", remedy="Delete it; its counts are lost") from None
    return calls, steps
