"""Faults of every kind, in every step of larpo: after each, the same command must end with the same bytes.

    python -m chaos --faults 200 --seed 0

A step is run without any fault first. A fault is survived if the step goes on, is stopped, or refuses in one line, and
if the same command, after the remedy of that line, makes the same artifacts. Nothing is lost if what was published
stays, nothing is left beside it, and no more work is done twice than a step may lose by a stop.
"""

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from chaos.attempts import Attempt, Outcome, Reference, attempted, conclude, measured
from chaos.faults import KINDS, Kind, can_mount
from chaos.outages import Switch, served
from chaos.steps import ALL, BUCKET, LOCAL, Step, make_world
from services.mlflow_thread import MlflowThread
from transformers.utils.logging import disable_progress_bar

from larpo_lib import logs
from larpo_lib.config import TrackingConfig
from larpo_lib.storage import upload
from larpo_lib.tracking import Tracker

_ROW = "{:>4}  {:<28} {:<26} {:<9} {:<5} {:>8}  {}"


@dataclass(frozen=True)
class Campaign:
    """Where faults happen.

    Attributes:
        base: the world.
        root: folder of the faults.
        store, mlflow: servers.
    """

    base: Path
    root: Path
    store: Switch
    mlflow: Switch

    def attempt(self, number: int, step: Step, rng: random.Random, reference: Reference | None = None) -> Attempt:
        folder = self.root / f"fault-{number}"
        return Attempt(number, step, rng, self.base, folder, self.store, self.mlflow, reference)


def main() -> int:
    """Run a campaign; 1 if a fault was not survived, or something was lost."""
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--faults", type=int, default=200, help="how many")
    parser.add_argument("--seed", type=int, default=0, help="of what happens when")
    parser.add_argument("--kind", default="", help="only those whose name has this in it")
    parser.add_argument("--step", default="", help="only steps whose name has this in it")
    given = parser.parse_args()
    with _campaign() as campaign:
        kinds = [kind for kind in KINDS if given.kind in kind.name]
        if not can_mount(campaign.root / "disk"):
            _say("No small disk can be mounted here: that kind is left out.")
            kinds = [kind for kind in kinds if "small" not in kind.name]
        steps = [step for step in ALL if given.step in step.name]
        rng = random.Random(given.seed)
        return _survive(campaign, _drawn(kinds, steps, given.faults, rng), rng)


def _survive(campaign: Campaign, faults: list[tuple[Kind, Step]], rng: random.Random) -> int:
    references: dict[str, Reference] = {}
    for number, step in enumerate(_needed([step for _, step in faults]), start=10**6):
        if step.in_store:
            _fill_store(campaign, step)
        with attempted(campaign.attempt(number, step, rng)) as attempt:
            references[step.name] = measured(attempt)
    _say(_ROW.format("", "fault", "step", "survived", "lost", "repeated", "how it ended first"))
    survived, lost, start = 0, 0, time.monotonic()
    for number, (kind, step) in enumerate(faults, start=1):
        fault = random.Random(rng.random())
        with attempted(campaign.attempt(number, step, fault, references[step.name])) as attempt:
            outcome = _tried(kind, attempt)
            survived += not outcome.problem
            lost += bool(outcome.lost)
            _show(number, kind, attempt, outcome)
    _say(f"{time.monotonic() - start:.0f} s")
    _say(f"survived {survived} of {len(faults)}, lost {lost}")
    return int(survived < len(faults) or lost > 0)


def _needed(steps: list[Step]) -> list[Step]:
    """The steps of a campaign, and those that make what they read, in turn."""
    names, read = {step.name for step in steps}, {name for step in steps for _, name in step.inputs}
    for step in reversed(LOCAL):
        if step.name in names or step.output[1] in read:
            names.add(step.name)
            read |= {name for _, name in step.inputs}
    return [step for step in ALL if step.name in names]


def _tried(kind: Kind, attempt: Attempt) -> Outcome:
    try:
        kind.act(attempt)
    except AssertionError as error:
        return Outcome(str(error), [], None)
    return conclude(attempt)


def _show(number: int, kind: Kind, attempt: Attempt, outcome: Outcome) -> None:
    repeated = "-" if outcome.repeated is None else f"{outcome.repeated:.0%}"
    survived, lost = "no" if outcome.problem else "yes", len(outcome.lost)
    how = "; ".join(map(str, attempt.ends[: max(1, len(attempt.ends) - 1)]))
    _say(_ROW.format(number, kind.name, attempt.step.name, survived, lost, repeated, how))
    for line in (outcome.problem, *outcome.lost):
        if line:
            _say(f"      {line}")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _drawn(kinds: list[Kind], steps: list[Step], count: int, rng: random.Random) -> list[tuple[Kind, Step]]:
    """Each kind in turn, with each of its steps in turn, until there are enough; in an order that is drawn."""
    queues = {}
    for kind in rng.sample(kinds, len(kinds)):
        possible = [step for step in steps if kind.happens_to(step)]
        if possible:
            queues[kind.name] = (kind, rng.sample(possible, len(possible)))
    drawn: list[tuple[Kind, Step]] = []
    while len(drawn) < count:
        for kind, possible in queues.values():
            drawn.append((kind, possible[0]))
            possible.append(possible.pop(0))
    return drawn[:count]


@contextmanager
def _campaign() -> Iterator[Campaign]:
    """A world, an S3 server and an MLflow server, until the block ends."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="larpo-chaos-"))).resolve()
        base = root / "base"
        base.mkdir()
        make_world(base)
        for name in [name for name in os.environ if name.startswith(("MLFLOW_", "AWS_", "LARPO_"))]:
            patch.delenv(name)
        patch.setenv("LARPO_CACHE", str(root / "cache"))
        Tracker(TrackingConfig(uri=f"sqlite:///{base}/empty.db", experiment="empty"), base)
        (root / "mlflow").mkdir()
        shutil.copyfile(base / "empty.db", root / "mlflow" / "mlflow.db")
        mlflow = stack.enter_context(served(MlflowThread(patch, root / "mlflow")))
        application: Any = DomainDispatcherApplication(create_backend_app)
        store = stack.enter_context(served(application))
        for name, value in _environment(store, mlflow, root).items():
            patch.setenv(name, value)
        yield Campaign(base, root, store, mlflow)


def _environment(store: Switch, mlflow: Switch, root: Path) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL_S3": store.url,
        "AWS_ACCESS_KEY_ID": "test-id",
        "AWS_SECRET_ACCESS_KEY": "test-key",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_SHARED_CREDENTIALS_FILE": str(root / "no-credentials"),
        "AWS_CONFIG_FILE": str(root / "no-config"),
        "AWS_EC2_METADATA_DISABLED": "true",
        "CHAOS_MLFLOW": mlflow.url,
        "OMP_NUM_THREADS": "1",
    }


def _fill_store(campaign: Campaign, step: Step) -> None:
    """What a step in the store reads."""
    import boto3

    boto3.client("s3", endpoint_url=campaign.store.url).create_bucket(Bucket=BUCKET)
    for _, name in step.inputs:
        upload(campaign.base / name, f"s3://{BUCKET}/base/{name}", last="artifact.json")


if __name__ == "__main__":
    logs.set_up(logs.QUIET)  # other libraries' notices and bars would stand before the table
    disable_progress_bar()
    sys.exit(main())
