"""Objectives on published lists: a tiny policy, measured by how its implicit reward orders held-out responses."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from larpo_lib.config import TrainConfig
from larpo_lib.config.load import check
from larpo_lib.errors import ConfigError
from larpo_lib.files import make_directory, read_json, write_json
from larpo_lib.progress import tell
from larpo_lib.studies.objectives.bed import About, Measured
from larpo_lib.studies.objectives.bigrams import log_probabilities, train
from larpo_lib.studies.objectives.folds import Fold, make_fold
from larpo_lib.studies.objectives.study import ObjectivesStudy, Setting
from larpo_lib.studies.preferences.results import Heldout, Scores, measure
from larpo_lib.studies.preferences.study import PreferenceStudy

_AGAIN = "Delete this file, and run the study again"


@dataclass(frozen=True)
class Published:
    """A policy of bigrams; seed n holds out the part of that number, the search the last one.

    Attributes:
        study: what is compared.
        out: directory of the study.
    """

    study: ObjectivesStudy
    out: Path

    @cached_property
    def about(self) -> About:
        """Kendall's tau decides."""
        return About(
            name="lists",
            title="Published lists",
            measures={
                "kendall_tau": "Kendall's tau",
                "ndcg": "nDCG",
                "kendall_tau_given_length": "tau given length",
                "best_drift": "drift of the best response, nats",
            },
            before="an order by chance",
            learning_rate=self.study.published.learning_rate,
            reach=self.study.published.reach,
            search_seed=self._preferences.search_seed,
        )

    def run(self, settings: Sequence[Setting], seeds: Sequence[int]) -> None:
        """Train and measure, one after the other in this process."""
        for seed in seeds:
            left = [one for one in settings if not self._run(one, seed).is_file()]
            for setting in left:
                run = self._run(setting, seed)
                make_directory(run.parent)
                write_json(run, {"settings": self._settings, "values": self._trained(setting, seed)})
            tell(f"published lists, seed {seed}: {len(left)} of {len(settings)} runs were left, and are done")

    def read(self, setting: Setting, seed: int) -> Measured | None:
        """By prompt."""
        found: Measured | None = self._result(setting, seed)["values"]
        return found

    def before(self, seed: int) -> Measured:
        """Of scores that are all equal, which is what an untrained policy has."""
        heldout = self._fold(seed).heldout
        none: Scores = dict.fromkeys(heldout.logps, 0.0)
        nothing = _of_best(heldout, none)
        return {**dict.fromkeys(self.about.measures, nothing), "ndcg": measure(heldout, none)["ndcg"]}

    def _trained(self, setting: Setting, seed: int) -> Measured | None:
        own, fold = self.study.published, self._fold(seed)
        objective = check(TrainConfig, {"objective": {"type": setting.objective, **setting.changed}}).objective
        trained = train(
            objective,
            fold.reference,
            fold.lists[self._preferences.objectives[setting.objective].lists],
            learning_rate=setting.learning_rate,
            batch_size=own.batch_size,
            seed=seed,
        )
        if trained is None:
            return None
        logps = dict(zip(fold.responses, log_probabilities(trained, [*fold.responses.values()]).tolist(), strict=True))
        implicit = {key: value - fold.heldout.logps[key] for key, value in logps.items()}
        found = {**measure(fold.heldout, implicit), "best_drift": _of_best(fold.heldout, implicit)}
        return {name: found[name] for name in self.about.measures}

    def _fold(self, seed: int) -> Fold:
        if seed not in self._folds:
            self._folds[seed] = make_fold(self.study, self.out / "lists", seed)
        return self._folds[seed]

    def _result(self, setting: Setting, seed: int) -> dict[str, Any]:
        """The file of a run that is done.

        Raises:
            ConfigError: it was done with other settings.
        """
        path = self._run(setting, seed)
        found: dict[str, Any] = read_json(path, remedy=_AGAIN)
        if found["settings"] != self._settings:
            raise ConfigError(f"{path}: was run with other settings", remedy="Choose another --out, or delete it")
        return found

    @property
    def _settings(self) -> dict[str, Any]:
        return self.study.published.model_dump(mode="json", exclude={"learning_rate", "reach"})

    @cached_property
    def _folds(self) -> dict[int, Fold]:
        return {}

    @cached_property
    def _preferences(self) -> PreferenceStudy:
        return self.study.preferences()

    def _run(self, setting: Setting, seed: int) -> Path:
        return self.out / "lists" / f"seed{seed}" / "runs" / f"{setting.folder}.json"


def _of_best(heldout: Heldout, scores: Scores) -> dict[str, float]:
    """The score of each prompt's most preferred response."""
    best = {
        prompt: max(group, key=lambda candidate: group[candidate].preference)
        for prompt, group in heldout.judged.items()
    }
    return {prompt: scores[prompt, candidate] for prompt, candidate in best.items()}
