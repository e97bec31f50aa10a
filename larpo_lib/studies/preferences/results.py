"""From log-probabilities to measures: objectives and baselines on the same responses of the same prompts."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from larpo_lib.artifacts import read_metrics
from larpo_lib.errors import LarpoError
from larpo_lib.files import read_json
from larpo_lib.statistics.estimates import paired
from larpo_lib.studies.preferences.agreement import MEASURES, Judged, agreement, model_means
from larpo_lib.studies.preferences.runs import BROKEN, Places, Task, is_broken
from larpo_lib.studies.preferences.study import Own, PreferenceStudy
from larpo_lib.studies.results import BOOTSTRAP, over_seeds
from larpo_lib.tables import Row, read_table

Key = tuple[str, str]
Scores = Mapping[Key, float]
"""(prompt_id, candidate_id) to score."""
ByPrompt = dict[str, float]
Values = dict[str, ByPrompt]
"""Measure, then prompt, to value."""

MAIN = MEASURES[0]
BASELINES = {
    "random order": "expected, not drawn",
    "length": "characters of the response",
    "tokens": "tokens of the response",
    "model identity": "mean preference of the model that wrote it, over the training lists",
    "reference logp": "sum over tokens, of the policy before preference training",
    "reference logp per token": "the same, divided by the number of tokens",
}
AGAINST = ("dpo", "length", "model identity")
"""What objectives are compared with, prompt by prompt."""


@dataclass(frozen=True)
class Heldout:
    """The held-out part of one seed.

    Attributes:
        judged: prompt, then candidate, to what is known of each response that fits the policy.
        means: of models over the training lists.
        logps: by the reference.
        tokens: of each response.
    """

    judged: Mapping[str, Mapping[str, Judged]]
    means: Mapping[str, float]
    logps: Scores
    tokens: Scores


def read_heldout(places: Places, seed: int) -> Heldout:
    """The held-out responses that were scored; prompts with fewer than two, or equal preferences only, are left out."""
    home = places.seed(seed)
    logps = read_table(home / "scores", "logps")
    fitting = {(row["prompt_id"], row["candidate_id"]): row for row in logps}
    return heldout_of(
        [row for row in read_table(home / "heldout", "ranked") if (row["prompt_id"], row["candidate_id"]) in fitting],
        read_table(home / "training", "ranked"),
        logps={key: row["logp"] for key, row in fitting.items()},
        tokens={key: row["num_tokens"] for key, row in fitting.items()},
    )


def heldout_of(rows: Iterable[Row], training: Iterable[Row], logps: Scores, tokens: Scores) -> Heldout:
    """What is known of held-out responses, prompts with fewer than two or with equal preferences only left out.

    Args:
        rows: ranked, of the responses that are measured.
        training: all ranked rows of the training part.
        logps: of the responses, by the reference.
        tokens: of the responses.
    """
    judged: dict[str, dict[str, Judged]] = {}
    for row in rows:
        judged.setdefault(row["prompt_id"], {})[row["candidate_id"]] = _judged(row)
    decided = {prompt: group for prompt, group in judged.items() if len({one.preference for one in group.values()}) > 1}
    lists: dict[str, list[Judged]] = {}
    for row in training:
        lists.setdefault(row["prompt_id"], []).append(_judged(row))
    return Heldout(decided, model_means(lists.values()), logps, tokens)


def measure(heldout: Heldout, scores: Scores) -> Values:
    """Every measure on every prompt where it is defined."""
    values: Values = {name: {} for name in MEASURES}
    for prompt, group in heldout.judged.items():
        given = [scores[prompt, candidate] for candidate in group]
        for name, value in agreement(given, list(group.values()), heldout.means).items():
            if value is not None:
                values[name][prompt] = value
    return values


def baselines(heldout: Heldout) -> dict[str, Values]:
    """The measures of orders that know no preference of any response to a prompt."""
    responses = {
        (prompt, candidate): one for prompt, group in heldout.judged.items() for candidate, one in group.items()
    }
    scores: dict[str, Scores] = {
        "random order": dict.fromkeys(responses, 0.0),
        "length": {key: one.length for key, one in responses.items()},
        "tokens": heldout.tokens,
        "model identity": {key: heldout.means[one.model] for key, one in responses.items()},
        "reference logp": heldout.logps,
        "reference logp per token": {key: value / heldout.tokens[key] for key, value in heldout.logps.items()},
    }
    return {name: measure(heldout, scores[name]) for name in BASELINES}


def trained_scores(heldout: Heldout, run: Path, own: Own) -> Scores:
    """What a trained policy ranks the held-out responses by.

    Raises:
        LarpoError: training broke down.
    """
    if is_broken(run):
        told = read_json(run / BROKEN, remedy="Delete this file, and run the study again")["error"]
        raise LarpoError(f"{run}: {told}", remedy="Try other learning rates")
    logps = {(row["prompt_id"], row["candidate_id"]): row["logp"] for row in read_table(run / "scores", "logps")}
    if own == "implicit_reward":  # times beta, which changes no order
        return {key: value - heldout.logps[key] for key, value in logps.items()}
    if own == "logp_per_token":
        return {key: value / heldout.tokens[key] for key, value in logps.items()}
    return logps


def choose(study: PreferenceStudy, out: Path) -> dict[str, dict[str, Any]]:
    """The learning rate of each objective: the one with the highest mean tau of the implicit reward in the search.

    Of equal ones the smallest; one at which training broke down has no value.
    """
    places, seed = Places(out), study.search_seed
    heldout = read_heldout(places, seed)
    chosen = {}
    for objective in study.trained:
        tried: dict[float, float | None] = {}
        for rate in study.learning_rates:
            run = places.run(Task(seed, objective, rate, searching=True))
            values = None if is_broken(run) else measure(heldout, trained_scores(heldout, run, "implicit_reward"))[MAIN]
            tried[rate] = fmean(values.values()) if values else None
        known = {rate: value for rate, value in tried.items() if value is not None}
        if not known:
            rates = ", ".join(f"{rate:g}" for rate in tried)
            raise LarpoError(
                f"{objective}: no learning rate in {rates} orders the held-out responses of the search",
                remedy="Try other learning rates, or train for more steps",
            )
        best = max(known, key=lambda rate: (known[rate], -rate))
        chosen[objective] = {"learning_rate": best, "tried": {f"{rate:g}": value for rate, value in tried.items()}}
    return chosen


def collect(study: PreferenceStudy, search: Mapping[str, Mapping[str, Any]], out: Path) -> dict[str, Any]:
    """All results, under the names of results.json, but for where they come from."""
    places, seeds = Places(out), range(study.seeds)
    heldout = {seed: read_heldout(places, seed) for seed in seeds}
    found: dict[str, dict[int, Values]] = {name: {} for name in (*BASELINES, *study.trained)}
    own: dict[str, dict[int, Values]] = {name: {} for name in study.trained}
    for seed in seeds:
        for name, values in baselines(heldout[seed]).items():
            found[name][seed] = values
        for name in study.trained:
            run = places.run(Task(seed, name, search[name]["learning_rate"]))
            found[name][seed] = measure(heldout[seed], trained_scores(heldout[seed], run, "implicit_reward"))
            own[name][seed] = measure(heldout[seed], trained_scores(heldout[seed], run, study.objectives[name].score))
    return {
        "confidence": BOOTSTRAP.confidence,
        "measures": list(MEASURES),
        "baselines": {name: summary(found[name]) | {"what": what} for name, what in BASELINES.items()},
        "objectives": {
            name: {
                **summary(found[name]),
                "lists": study.objectives[name].lists,
                "learning_rate": search[name]["learning_rate"],
                "own_score": study.objectives[name].score,
                "by_own_score": summary(own[name]),
                "differences": {
                    other: differences(found[name], found[other])
                    for other in AGAINST
                    if other != name and other in found
                },
            }
            for name in study.trained
        },
        "counts": {str(seed): counts(places, seed, heldout[seed], study) for seed in seeds},
    }


def summary(by_seed: Mapping[int, Values]) -> dict[str, Any]:
    """Means with intervals over seeds and prompts, the mean of each seed, and on how many prompts it is defined."""
    return {
        "estimates": {name: over_seeds([values[name] for values in by_seed.values()]) for name in MEASURES},
        "by_seed": {
            name: {
                str(seed): fmean(values[name].values()) if values[name] else None for seed, values in by_seed.items()
            }
            for name in MEASURES
        },
        "prompts": {name: sum(len(values[name]) for values in by_seed.values()) for name in MEASURES},
    }


def differences(new: Mapping[int, Values], old: Mapping[int, Values]) -> dict[str, Any]:
    """Paired differences, over the prompts where both are defined."""
    found = {}
    for name in MEASURES:
        found[name] = BOOTSTRAP.mean_of_groups([paired(new[seed][name], old[seed][name]) for seed in new])
    return found


def counts(places: Places, seed: int, heldout: Heldout, study: PreferenceStudy) -> dict[str, Any]:
    """What was trained on, held out and dropped."""
    home = places.seed(seed)
    kept = ("lists", "responses", "response_tokens", "prompts_too_long_dropped", "responses_too_long_dropped")
    trained = {
        selection: {name: read_metrics(places.reference(seed, selection))[name] for name in kept}
        for selection in dict.fromkeys(study.objectives[name].lists for name in study.trained)
    }
    return {
        "heldout": read_metrics(home / "scores"),
        "heldout_prompts_measured": len(heldout.judged),
        "heldout_responses_measured": sum(map(len, heldout.judged.values())),
        "demonstrations": {name: read_metrics(home / "sft")[name] for name in (*kept, "steps", "final_loss")},
        "training": trained,
    }


def _judged(row: Row) -> Judged:
    return Judged(preference=row["reward"], length=len(row["response"]), model=row["policy"])
