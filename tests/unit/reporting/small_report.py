"""A report of three prompts whose every number can be worked out by hand."""

from dataclasses import replace
from typing import Any

from larpo_lib.candidates.ranking import by_prompt
from larpo_lib.reporting import content
from larpo_lib.reporting.examples import choose_examples
from larpo_lib.reporting.hacking import examine
from larpo_lib.reporting.hacking_policies import read_policy
from larpo_lib.reporting.quality import headline, summarize
from larpo_lib.statistics.estimates import Bootstrap
from larpo_lib.tables import Row

CONFIG = Bootstrap(confidence=0.95, resamples=50, seed=0)
OTHER = {"mean_tokens": 5.0, "truncated_share": 0.25, "distinct_share": 1.0}


def row(prompt: str, index: int, reward: float, correct: bool | None, text: str = "text") -> Row:
    """A row of the table `evaluated`; index 0 is the greedy response."""
    return {
        "prompt_id": prompt,
        "sample_index": index,
        "temperature": 1.0 if index else 0.0,
        "response": text,
        "num_tokens": 5,
        "finish_reason": "stop",
        "reward": reward,
        "correct": correct,
    }


def rows(values: dict[str, list[float]], *, judged: bool = True) -> list[Row]:
    """Rows with the given rewards, the greedy one first; a reward of at least 0.5 is right."""
    return [
        row(prompt, index, reward, reward >= 0.5 if judged else None, f"{prompt}, {index}")
        for prompt, rewards in values.items()
        for index, reward in enumerate(rewards)
    ]


BEFORE = {"a": [0.0, 0.0, 1.0], "b": [1.0, 0.0, 0.0], "c": [0.0, 0.0, 0.0]}
AFTER = {"a": [1.0, 1.0, 1.0], "b": [0.0, 0.0, 1.0], "c": [0.0, 0.0, 1.0]}

RANKED = {"ranked": 30, "mean_reward": 0.4, "reward_std": 0.2, "reward_length_correlation": -0.25}
LISTS = {"lists": 7, "mean_list_size": 3.5, "mean_reward_gap": 0.75, "tied_pair_share": 0.125}


def small_report(*, judged: bool = True, **changes: Any) -> content.Report:
    """The report of `BEFORE` and `AFTER`, with any field changed."""
    before, after = rows(BEFORE, judged=judged), rows(AFTER, judged=judged)
    qualities = [summarize(i, CONFIG, OTHER, part, judged=judged) for i, part in enumerate((before, after))]
    prompts = {
        name: [{"messages": [{"role": "user", "content": f"question {name}"}], "reference": "42"}] for name in BEFORE
    }
    examples, outcomes = choose_examples(prompts, by_prompt(before), by_prompt(after), 3)
    report = content.Report(
        title="A run",
        confidence=0.95,
        headline=headline(qualities[0], qualities[1], CONFIG, judged=judged),
        qualities=qualities,
        judged=judged,
        prompts=3,
        lists=[{"iteration": 1, "ranked": RANKED, "lists": LISTS}],
        diversity=[content.SampleDiversity(1, "0.7", 0.4375, 0.625), content.SampleDiversity(1, "1.0", None, None)],
        length_curves=[content.LengthCurve(1, [10.0, 20.0], [0.25, 0.5], [0.125, 0.0])],
        hacking=examine([read_policy(i, part, ()) for i, part in enumerate((before, after))], CONFIG, "reward"),
        histories=[{name: [1.0, 0.5, 0.25] for name in content.HISTORY_SERIES}],
        fixed_reference=False,
        diagnoses=[
            {
                "chosen_logp_drift": -40.0,
                "saturated_pair_share": 0.625,
                "top_list_gradient_share": 0.25,
                "hard_pair_share": None,
                "reward_gap": 0.75,
                "advice": ["Set <this>."],
            }
        ],
        examples=examples,
        outcomes=outcomes,
        drop_columns=["start", "iteration 1"],
        drops=[content.Drop("build_lists", "duplicates dropped", (None, 0))],
        settings=[content.Setting("train", [("learning_rate", "5e-07")])],
        versions=[("larpo", "0.1.0")],
        trained_on=0,
        promotion=None,
    )
    return replace(report, **changes)
