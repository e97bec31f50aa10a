"""What the step `promote` tells of a policy: its model card, and what MLflow keeps with its version."""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from larpo_lib import __version__
from larpo_lib.artifacts import CARD, MANIFEST, Metrics, read_manifest, read_metrics
from larpo_lib.config import LarpoConfig, at_iteration
from larpo_lib.files import write_text
from larpo_lib.registry import VersionFacts, has_own_card
from larpo_lib.reporting.card import CardFacts, description, model_card
from larpo_lib.reporting.licence import Licence, licence_of
from larpo_lib.steps.demands import Finding
from larpo_lib.steps.judgements import Judgement, incomparable, read_whole_judgement
from larpo_lib.storage import is_remote
from larpo_lib.tracking import flatten

_TRAINED_BY = ("train", "sft")


@dataclass(frozen=True)
class Known:
    """What a promotion knows of a policy.

    Attributes:
        name: of the registered model.
        policy, evaluation, baseline: as the step reads them.
        rewards_by, judged_by: what gave the rewards of the evaluation, and what said right or wrong.
        run: settings of the run that made it, if they are known.
        iteration: of that run, whose policy it is.
    """

    name: str
    policy: Path
    evaluation: Path
    baseline: Path | None
    rewards_by: str
    judged_by: str
    run: LarpoConfig | None = None
    iteration: int | None = None


def version_facts(known: Known, tests: Sequence[Finding] = ()) -> VersionFacts:
    """The card of a policy, and what is kept beside it in the registry; `tests` are of a gate of several metrics."""
    training = _training(known.policy)
    run, metrics = known.run, read_metrics(known.evaluation)
    facts = CardFacts(
        name=known.name,
        version=__version__,
        training=training,
        metrics=metrics,
        start=None if known.baseline is None else _start(known.evaluation, known.baseline),
        confidence=float(read_manifest(known.evaluation)["config"].get("confidence", 0.95)),
        rewards_by=known.rewards_by,
        judged_by=known.judged_by,
        run=run,
        iteration=known.iteration,
        licence=Licence() if run is None else licence_of(run.policy),
        gate=tuple(test.to_json() for test in tests),
    )
    tags = {
        "larpo.objective": facts.objective,
        "larpo.base_model": facts.base,
        "larpo.base_licence": "" if run is None else facts.licence.identity,
        "larpo.rewards_by": known.rewards_by,
        "larpo.prompts": "" if run is None else run.prepare.source,
        "larpo.iteration": "" if known.iteration is None else str(known.iteration),
        "larpo.version": __version__,
    }
    return VersionFacts(
        card=model_card(facts),
        description=description(facts),
        metrics=metrics,
        params=dict(flatten(training)),
        tags={name: value for name, value in tags.items() if value},
        max_new_tokens=None if run is None else at_iteration(run, known.iteration or 1).sample.max_new_tokens,
    )


def _start(evaluation: Path, baseline: Path) -> Metrics:
    """The numbers of the policy that the run began with that can stand beside the policy's."""
    new, old = read_whole_judgement(evaluation), read_whole_judgement(baseline)
    drawn = [read_manifest(path)["config"].get("n") for path in (evaluation, baseline)]
    return {
        name: value
        for name, value in read_metrics(baseline).items()
        if _is_comparable(name, new, old) and (drawn[0] == drawn[1] or not name.startswith("best_of_n"))
    }


def _is_comparable(number: str, new: Judgement, old: Judgement) -> bool:
    """Whether a number of two evaluations can be compared, by the values of the prompts or items that it is of.

    A number of a benchmark that is no mean of values, such as one of a model fitted to all of them, is of them all.
    """
    name = re.sub("_(low|high|greedy|standard_error)$", "", number)
    family = "reward" if name.endswith("reward") else "accuracy" if name.startswith("pass_at_") else name
    metrics = [one for one in (number, name, family) if one in new.values][:1] or (new.values if new.benchmark else ())
    return bool(metrics) and all(incomparable(one, new, old) is None for one in metrics)


def write_card(policy: Path, card: str, place: str | None) -> None:
    """Put the card into the directory of a policy that larpo made, unless it has one of its own.

    Directories of others are left as they are, and so are policies in an object store, where the registry puts it.
    """
    artifact = (policy / MANIFEST).is_file()
    if not artifact or has_own_card(policy) or (place is not None and is_remote(place)):
        return
    try:
        write_text(policy / CARD, card)
    except OSError as error:  # such as a volume that may only be read; the registry has the card
        logging.getLogger(__name__).warning("%s: the model card was not written: %s", policy, error.strerror)


def _training(policy: Path) -> Mapping[str, Any]:
    """The settings of the training that made a policy; empty if larpo did not train it."""
    if not (policy / MANIFEST).is_file():
        return {}
    manifest = read_manifest(policy)
    found: Mapping[str, Any] = manifest["config"] if manifest["step"] in _TRAINED_BY else {}
    return found
