"""What is trained, and what every objective gets alike."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from benchmarks.preferences.policy import PolicyConfig
from larpo_lib.config import ListsConfig, SftConfig, TrainConfig
from larpo_lib.config.sections import BestWorstConfig, SelectionConfig, TopBottomConfig

Own = Literal["implicit_reward", "logp", "logp_per_token"]
"""What an objective itself ranks responses by: d = a - b, a, or a / n."""

SELECTIONS: dict[str, SelectionConfig] = {
    "best_worst": BestWorstConfig(),
    "top1_bottom3": TopBottomConfig(top=1, bottom=3),
    "top2_bottom2": TopBottomConfig(top=2, bottom=2),
}

REFERENCES = {"best_worst": "dpo", "top1_bottom3": "contrastive", "top2_bottom2": "listmle"}
"""The objective whose run leaves the reference log-probabilities of such lists, for all that read the same."""

OBJECTIVES: dict[str, tuple[str, Own]] = {
    "contrastive": ("top1_bottom3", "implicit_reward"),
    "lambdarank": ("top2_bottom2", "implicit_reward"),
    "listmle": ("top2_bottom2", "implicit_reward"),
    "lipo_lambda": ("top2_bottom2", "implicit_reward"),
    "robust_listmle": ("top2_bottom2", "implicit_reward"),
    "lambdaloss": ("top2_bottom2", "implicit_reward"),
    "approx_ndcg": ("top2_bottom2", "implicit_reward"),
    "neural_ndcg": ("top2_bottom2", "implicit_reward"),
    "gvpo": ("top2_bottom2", "implicit_reward"),
    "group_contrast": ("top2_bottom2", "implicit_reward"),
    "target": ("top2_bottom2", "implicit_reward"),
    "nca": ("top2_bottom2", "implicit_reward"),
    "rrhf": ("top2_bottom2", "logp_per_token"),
    "dpo": ("best_worst", "implicit_reward"),
    "ipo": ("best_worst", "implicit_reward"),
    "kto": ("best_worst", "implicit_reward"),
    "r_dpo": ("best_worst", "implicit_reward"),
    "simpo": ("best_worst", "logp_per_token"),
    "cpo": ("best_worst", "logp"),
    "slic_hf": ("best_worst", "logp"),
}
"""The lists that each objective trains on, LarPO's main results' where it has the objective, and its own score."""


@dataclass(frozen=True)
class Settings:
    """Everything that decides the result, but for the source.

    Attributes:
        folds: parts of the instructions; a seed holds out the part of its number, the search the last one.
        seeds: how many are reported.
        learning_rates: among which every objective's is chosen.
        epochs: of a reported run.
        search_share: of a reported run's steps that a run of the search has.
        batch_size: lists an optimiser step.
    """

    seeds: int = 3
    folds: int = 5
    learning_rates: tuple[float, ...] = (1e-4, 3e-4, 1e-3, 3e-3)
    epochs: int = 1
    search_share: float = 0.5
    batch_size: int = 16
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    max_prompt_tokens: int = 512
    micro_batch_tokens: int = 2048
    sft_learning_rate: float = 3e-3
    sft_epochs: int = 1
    objectives: tuple[str, ...] = tuple(OBJECTIVES)

    @property
    def search_seed(self) -> int:
        """Of the search alone: the last fold, which no reported seed holds out."""
        return self.folds - 1

    def lists(self, selection: str) -> ListsConfig:
        """How training lists are built."""
        return ListsConfig(selection=SELECTIONS[selection])

    def sft(self, seed: int) -> SftConfig:
        """How the reference is fine-tuned."""
        return SftConfig(
            learning_rate=self.sft_learning_rate,
            epochs=self.sft_epochs,
            batch_size=self.batch_size,
            **self._common(seed),
        )

    def train(self, objective: str, learning_rate: float, seed: int, max_steps: int | None = None) -> TrainConfig:
        """How an objective is trained; its own settings are the defaults, which are its paper's."""
        return TrainConfig.model_validate(
            {
                "objective": {"type": objective},
                "learning_rate": learning_rate,
                "epochs": self.epochs,
                "max_steps": max_steps,
                "batch_size": self.batch_size,
                **self._common(seed),
            }
        )

    def _common(self, seed: int) -> dict[str, Any]:
        return {
            "max_prompt_tokens": self.max_prompt_tokens,
            "max_tokens": self.policy.positions,
            "micro_batch_tokens": self.micro_batch_tokens,
            "save_steps": 1_000_000,
            "seed": seed,
        }
