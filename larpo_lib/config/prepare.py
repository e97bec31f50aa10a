"""Where prompts come from, and which policies and reward models must be able to read them."""

import re
from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal

from pydantic import NonNegativeInt, PositiveInt, ValidationError, field_validator

from larpo_lib.config.base import ModelConfig, ModelPlace, Section
from larpo_lib.config.inheritance import UNSTATED, Inherited, Lookup
from larpo_lib.config.kinds import ChatRerankerConfig, RuleRerankerConfig, SamplerConfig
from larpo_lib.config.mixins import Seeded

_RANKS = re.compile(r"(?:.*[_. -])?(?:rank|ranking|place)s?", re.IGNORECASE)


def policies(lookup: Lookup) -> list[dict[str, Any]]:
    """The policy of the run in each of the ways in which steps load it."""
    path = lookup("policy")
    if not isinstance(path, str):
        return []
    holders = _tables(lookup(place) for place in ("sft", "train", "sample.sampler", "evaluate.sampler"))
    ways = [
        {
            **({"model": holder["model"]} if holder.get("model") else {}),
            **({"served": True} if holder.get("type") in _servers() else {}),
        }
        for holder in holders
    ]
    return [{"path": path, **way} for way in _distinct(ways) or [{}]]


def classifiers(lookup: Lookup) -> list[dict[str, Any]]:
    """The reward models of the run that read conversations here, those in ensembles included."""
    return _distinct(
        [each for each in _rerankers(lookup) if each.get("type") in ChatRerankerConfig.entries() and "path" in each]
    )


def kept(lookup: Lookup) -> Any:
    """All columns where a function of the run could ask for them, else those that its rules read."""
    parts = [*_rerankers(lookup), *_tables([lookup("evaluate.judge")])]
    if any(part.get("type") == "function" for part in parts):
        return "all"
    return sorted({name for part in parts for name in _columns(part)}) or UNSTATED


def _columns(part: dict[str, Any]) -> frozenset[str]:
    rule = RuleRerankerConfig.entries().get(part.get("type", ""))
    try:
        return frozenset() if rule is None else rule.model_validate(part).columns
    except ValidationError:
        return frozenset()  # it is told where the part itself is read


def _rerankers(lookup: Lookup) -> list[dict[str, Any]]:
    """Those of the run, the members of ensembles included."""
    watch = lookup("evaluate.watch")
    watched = [each.get("reranker") for each in _tables(watch if isinstance(watch, list) else [])]
    rerankers = _tables([lookup("rerank.reranker"), lookup("evaluate.reranker"), *watched])
    members = [_tables(each["members"]) for each in rerankers if isinstance(each.get("members"), list)]
    return rerankers + _tables(each.get("reranker") for some in members for each in some)


def _servers() -> list[str]:
    return [name for name, sampler in SamplerConfig.entries().items() if sampler.serves_one_policy]


def _tables(found: Iterable[Any]) -> list[dict[str, Any]]:
    return [each for each in found if isinstance(each, dict)]


def _distinct(tables: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [each for i, each in enumerate(tables) if each not in tables[:i]]


class ColumnsConfig(Section):
    """Names of the columns to read. Not set: a column is found by its usual names."""

    younger: ClassVar[tuple[str, ...]] = ("keep",)

    messages: str | None = None
    """Column with a conversation. For prompts, a reply at its end is removed."""
    prompt: str | None = None
    """Column with the prompt: text, or messages that end with a user message."""
    system: str | None = None
    """Column with the system prompt."""
    history: str | None = None
    """Column with the turns before the prompt: messages, or pairs of question and reply."""
    response: str | None = None
    """Column with one response."""
    reference: str | None = None
    """Column with the right answer."""
    responses: str | None = None
    """Column with a list of responses."""
    rewards: str | None = None
    """Column with the reward, or key of the reward in each response. Higher is better, so `rank` is refused."""
    chosen: str | None = None
    """Column with the better response of a pair."""
    rejected: str | None = None
    """Column with the worse response of a pair."""
    finish_reason: str | None = None
    """Column, or key in each response, that says how the response ended: stop, length or null."""
    token_ids: str | None = None
    """Column, or key in each response, with the response's token ids in the policy's tokenizer, including the
    end-of-turn token."""
    ignore: tuple[str, ...] = ()
    """Columns to ignore."""
    keep: Annotated[tuple[str, ...] | Literal["all"], Inherited(kept)] = ()
    """Columns whose values are kept with the prompts, for reward functions. `all`: every column that is not ignored and
    used for nothing but the reference, which is the default if a reranker or judge of the run is a function. If
    rerankers are rules, such as `ifeval`, the default is the columns that they read."""

    @field_validator("rewards", mode="after")
    @classmethod
    def _rises_with_quality(cls, name: str | None) -> str | None:
        if name is not None and _RANKS.fullmatch(name):
            raise ValueError(
                "Input should be a column in which higher is better, and of ranks 1 is the best. Write "
                f'row["reward"] = -row["{name}"] in each row, or in each response of a list (rename the column if its '
                "highest rank is the best), and set this to reward"
            )
        return name


class TemplateConfig(Section):
    """A policy whose chat template must be able to render every prompt."""

    path: ModelPlace
    """The policy: a directory, an s3:// URI, or its name on the Hugging Face hub."""
    model: ModelConfig = ModelConfig()
    """How its tokenizer is loaded."""
    served: bool = False
    """Whether a server renders the prompts, which reads names of special tokens in messages as the tokens."""


class PrepareConfig(Seeded):
    """Where prompts, demonstrations or already ranked responses come from."""

    execution: ClassVar[frozenset[str]] = frozenset({"templates", "reward_models"})  # their content counts instead

    source: str
    """A .jsonl, .json, .csv or .parquet file (may be compressed), a directory or pattern (`data/*.jsonl`) of them, a
    directory written by `save_to_disk`, an s3:// URI, or a `datasets` name."""
    split: str = "train"
    """Split to read, for a `datasets` name or a directory written by `DatasetDict.save_to_disk`."""
    columns: ColumnsConfig = ColumnsConfig()
    """Names of the source's columns, if they are not found automatically."""
    invalid: Literal["refuse", "drop"] = "refuse"
    """What to do with a row that cannot be used, such as one with an empty prompt: stop with an error (`refuse`), or
    drop and count it (`drop`)."""
    templates: Annotated[tuple[TemplateConfig, ...], Inherited(policies)] = ()
    """Policies whose chat templates must be able to render every prompt; checked before sampling. Not set: the policy
    of the run. Prompts that a template refuses, skips or renders to nothing are treated as `invalid` says."""
    reward_models: Annotated[tuple[ChatRerankerConfig, ...], Inherited(classifiers)] = ()
    """The same check for reward models that read the text of a chat template."""
    limit: PositiveInt | None = None
    """Use only the first `limit` prompts (or demonstrations) of the source, after removing duplicates and held-out
    prompts. Not set: all."""
    heldout: NonNegativeInt = 0
    """Number of prompts of the whole source to hold out for evaluation, in addition to those of `limit`. They are
    chosen by `seed` and content."""
