"""Kinds of parts of which a setting chooses one by `type`: samplers, rerankers, judges, objectives and others.

A kind is a class here, and the annotation of the settings that choose. Its entries are subclasses in the kind's room, a
package above this one: a module there holds an entry's settings, what it needs, and how it is made. Nothing else names
it: the room's modules are looked up when a setting is read. They load no torch; heavy libraries are imported where an
entry is made.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from larpo_lib.config.base import ModelConfig
from larpo_lib.config.registry import Kind


class SamplerConfig(Kind):
    """What draws responses from a policy."""

    room: ClassVar[str] = "larpo_lib.samplers"
    usual: ClassVar[str] = "hf"
    implied: ClassVar[str | None] = "hf"
    serves_one_policy: ClassVar[bool] = False
    """It has a policy of its own loaded: what trains or compares policies cannot use it."""

    if TYPE_CHECKING:
        model: ModelConfig
        """How the policy's tokenizer, and the policy if it runs here, are loaded."""

    @abstractmethod
    def make(self, policy: Path, limits: Any) -> Any:
        """The `larpo_lib.samplers.Sampler` of a policy's directory and of a step's `Limits`."""

    def check(self, policy: Path, limits: Any) -> None:
        """Check, before anything expensive, what can be known of `make`'s packages, models and servers.

        Raises:
            LarpoError: it would fail.
        """


Thinking = Annotated[
    Literal["strip", "keep"],
    Field(
        description="What is scored of a response that begins with thoughts. `strip`: only the reply after `</think>`, "
        "as chat templates render earlier turns; unfinished thoughts leave an empty reply and are counted. `keep`: "
        "all of it, including a `<think>` that the template opened in the prompt."
    ),
]

Reading = Literal["numbers", "expressions"]
"""What a prompt's reference must hold."""


class _LoadedKind(Kind):
    """What is made of its settings alone, perhaps by loading models."""

    def models(self) -> dict[str, Path]:
        """The directories of models, by names for a step's inputs: their content decides the results."""
        return {}

    @abstractmethod
    def make(self) -> Any:
        """The part itself; what it is, the kind's room says."""

    def check(self) -> None:
        """Check, before anything expensive, what can be known of `make`'s packages, models and servers.

        Raises:
            LarpoError: it would fail.
        """


class _ReadsReferences(_LoadedKind):
    """What may read the references of prompts."""

    @property
    def references(self) -> frozenset[Reading]:
        """What references must hold; empty: none is read."""
        return frozenset()

    @property
    def columns(self) -> frozenset[str]:
        """Further columns of the prompts' rows that it cannot do without."""
        return frozenset()

    def check_columns(self, columns: Mapping[str, Any]) -> None:
        """Check, before anything expensive, that a prompt can be scored by the `columns` of its row.

        Raises:
            ColumnError: it cannot.
        """


class RerankerConfig(_ReadsReferences):
    """What scores responses."""

    room: ClassVar[str] = "larpo_lib.rewards.rerankers"
    usual: ClassVar[str] = "verifier"

    @property
    def list_relative(self) -> bool:
        """Whether a score holds only within the list it was given in."""
        return False

    @property
    def thoughts(self) -> Thinking | None:
        """What `make`'s reranker is given of a response's thoughts; None: it sees to that itself."""
        return getattr(self, "thinking", "strip")

    @property
    def beyond_one(self) -> str | None:
        """Why a score may be below 0 or above 1; None: it cannot, or it is not known."""
        return f"the scores of '{self.type}' are unbounded"

    def parts(self) -> Sequence[RerankerConfig]:
        """Itself, or the rerankers that it is made of."""
        return (self,)

    def most_calls(self, size: int) -> int:
        """The most calls, such as may cost money, to score a list of so many responses; 0: it makes none of these."""
        return 0

    def most_shown(self, size: int) -> int:
        """The most responses that one of these calls is about, of a list of so many."""
        return 1

    def foresee(self, label: str, lists: Iterable[Any]) -> None:
        """Told, before anything is scored, all that will be.

        Args:
            label: of the work, such as "rerank".
            lists: the `Scorable`s of each prompt, as `make`'s reranker is given them. They are not read by one that has
                nothing to say of them.

        Raises:
            ConfigError: that would take more calls than the settings allow.
        """


class SingleRerankerConfig(RerankerConfig):
    """What scores responses by itself, so that an ensemble may hold it."""

    room: ClassVar[str] = RerankerConfig.room


class ChatRerankerConfig(SingleRerankerConfig):
    """What reads a conversation here, maybe through a chat template, which may refuse or leave out a part of it."""

    room: ClassVar[str] = RerankerConfig.room
    implied: ClassVar[str | None] = "classifier"

    if TYPE_CHECKING:
        path: str
        model: ModelConfig

    @abstractmethod
    def reading(self) -> Callable[[Any, str], Sequence[str]]:
        """From the messages of a prompt and a response to the texts that the model reads.

        Raises:
            ModelError: the directory is no such model.
        """


class RuleRerankerConfig(SingleRerankerConfig):
    """What looks at each response by itself, by a rule; it may read columns of the prompt's row. Scores are 0 to 1."""

    room: ClassVar[str] = RerankerConfig.room
    last: ClassVar[tuple[str, ...]] = ("thinking",)

    thinking: Thinking = "strip"

    @property
    def beyond_one(self) -> None:
        """A score is a share."""
        return


class JudgeConfig(_ReadsReferences):
    """What says whether responses are right."""

    room: ClassVar[str] = "larpo_lib.rewards.judges"
    usual: ClassVar[str] = "verifier"
    implied: ClassVar[str | None] = "verifier"


class SelectionConfig(_LoadedKind):
    """Which of a prompt's ranked responses make up its list."""

    room: ClassVar[str] = "larpo_lib.candidates.selections"
    usual: ClassVar[str] = "top_bottom"

    @abstractmethod
    def select(self, ordered: Any) -> Any:
        """The selected candidates, best first, none of them twice.

        Args:
            ordered: the distinct candidates of one prompt, best first, at least one.

        Returns:
            Some of them; a list too short for it gives what there is.
        """

    def make(self) -> Callable[[Any], Any]:
        """What selects."""
        return self.select

    @property
    def in_words(self) -> str:
        """What tables of studies call it."""
        return self.type.replace("_", " ")

    def most(self, k: int) -> int:
        """How many of `k` distinct responses it takes at most."""
        return k


class RetrieverConfig(_LoadedKind):
    """What finds related prompts, and documents."""

    room: ClassVar[str] = "larpo_lib.retrievers"
    usual: ClassVar[str] = "bm25"

    @property
    def title(self) -> str:
        """Its name for people."""
        return self.type


class ObjectiveConfig(_LoadedKind):
    """What training minimises."""

    room: ClassVar[str] = "larpo_lib.objectives"
    usual: ClassVar[str] = "listmle"
    reads_reference: ClassVar[bool] = True
    """Whether the loss reads `reference_logps`, unless a setting says otherwise."""
    needs_kl: ClassVar[bool] = False
    """Whether the loss reads `kl_baseline`."""
    exponential_gains: ClassVar[bool] = False
    """Whether the loss raises 2 to the rewards, which must be from 0 to 1 where its setting `rewards` is raw."""

    @property
    def needs_reference(self) -> bool:
        """Whether the loss reads `reference_logps`."""
        return self.reads_reference

    @property
    def raw_gains(self) -> str | None:
        """The setting because of which rewards must be from 0 to 1, as it is raw; None: they need not be."""
        return "rewards" if self.exponential_gains and getattr(self, "rewards", "raw") == "raw" else None

    @property
    def needs_unit_rewards(self) -> bool:
        """Whether rewards must be from 0 to 1."""
        return self.raw_gains is not None

    @abstractmethod
    def loss(self, batch: Any) -> Any:
        """The loss of each list: a `larpo_lib.objectives.ListBatch` of B lists to a (B,) tensor, float32 or float64."""

    def make(self) -> Callable[[Any], Any]:
        """The loss, to be called for every batch."""
        return self.loss

    def exponents(self, batch: Any) -> Any:
        """The (B, L) scores that a loss on sigmoids or softmaxes of their differences reads; None: it is no such loss.

        Two that are far apart in the right order are saturated: their gradient is gone. Of a sum of P such losses,
        (P, B, L): two responses are saturated if they are in each.
        """
        return

    @property
    def in_words(self) -> str:
        """What people call it."""
        return self.type


class SingleObjectiveConfig(ObjectiveConfig):
    """What training minimises by itself, so that a mixture may hold it."""

    room: ClassVar[str] = ObjectiveConfig.room


KINDS: tuple[type[Kind], ...] = (
    SamplerConfig,
    RerankerConfig,
    JudgeConfig,
    SelectionConfig,
    RetrieverConfig,
    ObjectiveConfig,
)
"""All there are."""
