"""The model card of a policy: README.md with Hugging Face's front matter, written from what its run knows."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from larpo_lib.artifacts import Metrics
from larpo_lib.config import LarpoConfig
from larpo_lib.models.hub import HubModel
from larpo_lib.reporting.card_settings import shown, shown_place, shown_settings
from larpo_lib.reporting.gate import tests_table
from larpo_lib.reporting.licence import UNKNOWN, Licence
from larpo_lib.reporting.table import interval, number
from larpo_lib.statistics.estimates import Estimate

_ALONE = ("accuracy", "greedy_accuracy", "greedy_reward", "best_of_n_reward")
"""Numbers that are shown without an interval, too; Pass@N is one."""
_SETTINGS = (
    "Those that differ from the defaults, for `larpo run --config`. Of files on the machine that trained the policy, "
    "only the names are shown."
)
_DESCRIPTION = 4900
"""MLflow takes 5000 characters."""


@dataclass(frozen=True)
class CardFacts:
    """What is known of a policy.

    Attributes:
        name: of the registered model.
        version: of larpo.
        training: settings of the step that trained it, as its manifest has them; empty: it was not trained by larpo.
        metrics: of its evaluation.
        start: of the evaluation of the policy that the run began with, if there is one.
        confidence: of the intervals.
        rewards_by, judged_by: what gave the rewards, and what said right or wrong.
        run: the settings of the run that made it, if they are known.
        iteration: of that run, whose policy it is.
        licence: of the base model.
        gate: the tests of a gate of several metrics, as `promotion.json` holds them.
    """

    name: str
    version: str
    training: Mapping[str, Any]
    metrics: Metrics
    start: Metrics | None = None
    confidence: float = 0.95
    rewards_by: str = ""
    judged_by: str = ""
    run: LarpoConfig | None = None
    iteration: int | None = None
    licence: Licence = field(default_factory=Licence)
    gate: Sequence[Mapping[str, Any]] = ()

    @property
    def objective(self) -> str:
        """The objective's name; "" if it is not known."""
        found = self.training.get("objective")
        return str(found.get("type", "")) if isinstance(found, Mapping) else ""

    @property
    def base(self) -> str:
        """The model that the run began with; "" if it is not known."""
        return "" if self.run is None else self.run.policy


def model_card(facts: CardFacts) -> str:
    """The README.md, which `huggingface_hub.ModelCard` reads."""
    from huggingface_hub import ModelCard, ModelCardData

    data = ModelCardData(
        library_name="transformers",
        pipeline_tag="text-generation",
        license=facts.licence.identity,
        license_name=facts.licence.name or None,
        license_link=facts.licence.link or None,
        base_model=_hub_name(facts.base),
        datasets=_hub_datasets(facts),
        tags=["larpo", "preference-optimization", *([facts.objective] if facts.objective else [])],
        model_name=facts.name,
        eval_results=_results(facts),
    )
    body = f"# {facts.name}\n\n{summary(facts)}\n{_settings(facts)}"
    return str(ModelCard(f"---\n{data.to_yaml()}\n---\n\n{body}")).rstrip() + "\n"


def description(facts: CardFacts) -> str:
    """What MLflow shows of a version: the card without front matter, settings and title."""
    return summary(facts)[:_DESCRIPTION]


def summary(facts: CardFacts) -> str:
    """How the policy was made and how it did, in Markdown."""
    rows = "\n".join(f"| {name} | {value} |" for name, value in _facts(facts) if value)
    gate = f"\n\n## Gate\n\n{tests_table(facts.gate)}" if facts.gate else ""
    return f"{_sentence(facts)}\n\n| | |\n|---|---|\n{rows}\n\n## Evaluation\n\n{_evaluation(facts)}{gate}"


def intervals(metrics: Metrics) -> dict[str, Estimate]:
    """The numbers of an evaluation that have an interval, then the others worth showing."""
    with_bounds = [name for name in metrics if f"{name}_low" in metrics and metrics[name] is not None]
    alone = [name for name in metrics if name in _ALONE or re.fullmatch(r"pass_at_\d+", name)]
    found = {name: Estimate(metrics[name], metrics[f"{name}_low"], metrics[f"{name}_high"]) for name in with_bounds}
    rest = {name: Estimate(metrics[name]) for name in alone if metrics[name] is not None and name not in found}
    return {**found, **rest}


def _sentence(facts: CardFacts) -> str:
    if not facts.training:
        return "A policy that LarPO evaluated. It was not trained by LarPO."
    rounds = f" in iteration {facts.iteration} of list-wise preference optimisation" if facts.iteration else ""
    start = f", beginning with `{shown_place(facts.base)}`" if facts.base else ""
    return f"A policy that LarPO {facts.version} trained{rounds}{start}."


def _facts(facts: CardFacts) -> Sequence[tuple[str, str]]:
    run, training = facts.run, facts.training
    base = shown_place(facts.base) or ("not recorded" if training else "")
    licence = facts.licence.identity
    link = f" ([{facts.licence.name or 'text'}]({facts.licence.link}))" if facts.licence.link else ""
    objective = training.get("objective")
    rows = [
        ("base model", f"`{base}`" if facts.base else base),
        ("licence of the base", "unknown: see base model" if licence == UNKNOWN else f"{licence}{link}"),
        ("objective", _arguments(objective) if isinstance(objective, Mapping) else ""),
        ("adapters", _arguments({"type": "LoRA", **training["lora"]}) if training.get("lora") else ""),
        ("rewards by", facts.rewards_by),
        ("judged by", facts.judged_by),
    ]
    if run is not None:
        heldout = run.evaluation_prompts.source if run.evaluation_prompts else run.prepare.source
        demonstrations = run.demonstrations.source if run.demonstrations else ""
        rows += [
            ("prompts", f"`{shown_place(run.prepare.source)}`"),
            ("held-out prompts", f"`{shown_place(heldout)}`"),
            ("demonstrations", f"`{shown_place(demonstrations)}`" if demonstrations else ""),
        ]
    return rows


def _arguments(settings: Mapping[str, Any]) -> str:
    rest = ", ".join(
        f"{name} = {value}" for name, value in shown(settings).items() if name != "type" and value is not None
    )
    return f"`{settings.get('type')}`" + (f" ({rest})" if rest else "")


def _evaluation(facts: CardFacts) -> str:
    found, start = intervals(facts.metrics), intervals(facts.start or {})
    head = "| metric | policy |" + (" start |" if start else "")
    rows = [
        f"| {name.replace('_', ' ')} | {interval(estimate)} |"
        + (f" {interval(start[name]) if name in start else number(None)} |" if start else "")
        for name, estimate in found.items()
    ]
    prompts = facts.metrics.get("prompts")
    about = f"{prompts} held-out prompts" if prompts else "held-out items"
    notes = (
        f"Measured on {about}. Brackets are {facts.confidence:.0%} bootstrap intervals over them. Rewards have no unit."
    )
    return "\n".join([head, f"|---|---|{'---|' if start else ''}", *rows, "", notes])


def _settings(facts: CardFacts) -> str:
    if facts.run is None:
        return ""
    return f"\n## Settings\n\n{_SETTINGS}\n\n```toml\n{shown_settings(facts.run).strip()}\n```\n"


def _results(facts: CardFacts) -> Any:
    from huggingface_hub import EvalResult

    return [
        EvalResult(
            task_type="text-generation",
            dataset_type="heldout",
            dataset_name="held-out prompts",
            metric_type=name,
            metric_name=name.replace("_", " "),
            metric_value=estimate.value,
        )
        for name, estimate in intervals(facts.metrics).items()
    ] or None


def _hub_name(text: str) -> str | None:
    found = HubModel.parse(text)
    return None if found is None else found.name


def _hub_datasets(facts: CardFacts) -> list[str] | None:
    if facts.run is None:
        return None
    tables = (facts.run.prepare, facts.run.demonstrations)
    sources = [table.source.partition(":")[0] for table in tables if table is not None]
    return [name for name in dict.fromkeys(sources) if _hub_name(name) and not Path(name).suffix] or None
