"""What all runs of a seed on published lists share: the lists to train on, and held-out responses."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import PreTrainedTokenizerFast

from larpo_lib.candidates.ranking import best_first, by_prompt, drop_duplicates
from larpo_lib.files import make_directory
from larpo_lib.steps import prepare
from larpo_lib.studies.objectives.bigrams import Response, TrainingList, fitted, log_probabilities
from larpo_lib.studies.objectives.study import ObjectivesStudy
from larpo_lib.studies.preferences import steps
from larpo_lib.studies.preferences.policy import ASSISTANT, make_tokenizer
from larpo_lib.studies.preferences.results import Heldout, Key, heldout_of
from larpo_lib.tables import Row, read_table


@dataclass(frozen=True)
class Fold:
    """The two parts.

    Attributes:
        reference: log-probabilities of the policy fitted to all responses of the training part.
        lists: by the selection that makes them, of the training part.
        responses: held-out ones.
        heldout: what is known of them.
    """

    reference: Tensor
    lists: Mapping[str, Sequence[TrainingList]]
    responses: Mapping[Key, Response]
    heldout: Heldout


def make_fold(study: ObjectivesStudy, home: Path, seed: int) -> Fold:
    """Part the prompts, learn a tokenizer from the training part's responses, and read all of them.

    Args:
        study: that says where the lists are.
        home: directory for what is prepared.
        seed: number of the part that is held out.
    """
    own, preferences = study.published, study.preferences()
    make_directory(home / f"seed{seed}")
    prompts, ranked = home / "prompts", home / "ranked"
    prepare.ranked(preferences.prepared, prompts=prompts, ranked=ranked)
    rows: dict[str, list[Any]] = {}
    for name in ("training", "heldout"):
        config = steps.FoldConfig(folds=preferences.folds, fold=seed, heldout=name == "heldout")
        part = home / f"seed{seed}" / name
        steps.fold(config, prompts=prompts, ranked=ranked, part=part)
        rows[name] = read_table(part, "ranked")
    tokenizer = make_tokenizer([row["response"] for row in rows["training"]], own.vocabulary)
    known = dict(zip(map(_key, rows["training"]), _read(tokenizer, rows["training"]), strict=True))
    responses = dict(zip(map(_key, rows["heldout"]), _read(tokenizer, rows["heldout"]), strict=True))
    reference = fitted([*known.values()], len(tokenizer), own.smoothing)
    logps = dict(zip(responses, log_probabilities(reference, [*responses.values()]).tolist(), strict=True))
    tokens = {key: float(one.tokens) for key, one in responses.items()}
    groups = [best_first(drop_duplicates(group)) for group in by_prompt(rows["training"]).values()]

    def lists(select: Callable[[Any], Any]) -> list[TrainingList]:
        chosen = [select(group) for group in groups]
        return [TrainingList([known[_key(row)] for row in one], [row["reward"] for row in one]) for one in chosen]

    return Fold(
        reference=reference,
        lists={name: lists(one.selection.make()) for name, one in preferences.lists.items()},
        responses=responses,
        heldout=heldout_of(rows["heldout"], rows["training"], logps, tokens),
    )


def _key(row: Row) -> Key:
    return row["prompt_id"], row["candidate_id"]


def _read(tokenizer: PreTrainedTokenizerFast, rows: Sequence[Row]) -> list[Response]:
    """Each response, which begins behind the token of the assistant's turn and ends with the end of the turn."""
    begin, end = tokenizer.get_vocab()[ASSISTANT], tokenizer.get_vocab()[str(tokenizer.eos_token)]
    texts: Any = tokenizer([row["response"] for row in rows], add_special_tokens=False)["input_ids"]
    return [Response.of([*ids, end], begin, len(tokenizer)) for ids in texts]
