"""Since which version of larpo a step gives the results that it gives.

What another version has made is found again and continued, unless the results of its step have changed in between. A
change of code after which a step gives other results, for the same settings and inputs, gets a line in `CHANGES`, with
the version that will bring it. The newest line of a step is part of its fingerprints, as `code`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Change:
    """A step gives other results than before.

    Attributes:
        version: of larpo, the first one that gives them.
        why: what is different, as the end of a sentence.
    """

    version: str
    why: str


FIRST = Change("0.2.0", "it does not continue what 0.1.0 has made")
"""Of the steps that `CHANGES` does not name."""

_READING = Change(
    "0.2.0",
    "answers such as \\boxed{9{,}500} and 3万5千 are read whole, numbers that touch letters of Chinese and other "
    "scripts are seen, and classifiers see their [CLS] and [SEP]",
)
_REWARDS = Change(
    "0.2.0",
    f"{_READING.why}, graded verifiers read equations with signs such as \\times and percentages whole and leave out "
    "those that they cannot read whole, reward models in bfloat16 compute their scores in float32, those with code of "
    "their own are scored by it, right code is found beside other blocks and main blocks, JSON may hold code fences, a "
    "judge's rankings are read with other signs than > too and its grades on its own scale only, and its reply that is "
    "cut is read only if it is nothing but the decision",
)
_ALIKE = "scores whose items all have one value have no interval"
_LENGTHS = "lengths are without thoughts that the reward is not of"
_NAMES = Change("0.2.0", f"tokens of a name count together, improbable names decide nothing, and {FIRST.why}")
_JUDGING = Change("0.2.0", f"a judge's thoughts are no judgement, even if they are cut without a tag, and {FIRST.why}")
_TOKENS = Change("0.2.0", "responses known only as text are tokenized as they stand in their conversation")
_WORDS = Change("0.2.0", "each character of a script without spaces, such as Chinese, is a word")
_TRAINING = Change(
    "0.2.0",
    f"{_TOKENS.why}, a warm-up ends one step earlier, DeepSpeed adds up gradients in bfloat16 in float32 at stages 2 "
    "and 3, LoRA in bfloat16 is merged in float32, and models of every family are trained without dropout and with "
    "their cap on logits",
)

CHANGES: Mapping[str, Sequence[Change]] = {
    "prepare": (
        Change(
            "0.2.0",
            "the id of a prompt covers its columns system and history, several pairs of a prompt order only what they "
            "compare, and prompts are dropped whose tool's results a chat template leaves out",
        ),
    ),
    "sft": (_TRAINING,),
    "train": (
        Change(
            "0.2.0",
            f"{_TRAINING.why}, another policy as reference is scored in the precision of the training, and kto "
            "cuts the responses of other lists to max_tokens",
        ),
    ),
    "reward_model": (
        Change(
            "0.2.0",
            f"{_TRAINING.why}, scores in bfloat16 are computed in float32, and thoughts are left out of responses",
        ),
    ),
    "build_lists": (
        Change("0.2.0", f"{_WORDS.why}, and hot and cold negatives are only responses sampled at that temperature"),
    ),
    "retrieval": (Change("0.2.0", f"{_TOKENS.why}, {_WORDS.why}, {_ALIKE}, and a query does not find itself"),),
    "rerank": (Change("0.2.0", f"{_REWARDS.why}, and {_LENGTHS}"),),
    "report": (
        Change(
            "0.2.0",
            "advice on reward hacking allows for the number of iterations and of measures, needs 10 prompts, and knows "
            f"the reranker of the training by its settings, {_LENGTHS}, drops of held-out prompts stand apart, no "
            "verdict is compared with a reward, and lines of benchmarks go from iteration to iteration",
        ),
    ),
    "evaluate": (_REWARDS,),
    "search_temperature": (
        Change(
            "0.2.0",
            f"{_REWARDS.why}, best rewards are of equally many responses at every temperature, and a temperature that "
            "is worse by the same at every one of a few prompts is within noise",
        ),
    ),
    "gsm8k": (Change("0.2.0", f"{_READING.why}, and {_ALIKE}"),),
    "alpaca_eval": (
        Change("0.2.0", f"an instruction's value of lc_win_rate contains its influence on the fit, {_NAMES.why}"),
    ),
    "judge_check": (_NAMES,),
    "arena_hard": (_JUDGING,),
    "mixeval": (Change("0.2.0", f"copies of a question have one value together, {_JUDGING.why}"),),
    "reward_eval": (Change("0.2.0", f"{_REWARDS.why}, {_LENGTHS}, and {_ALIKE}"),),
    "score_reward_model": (Change("0.2.0", f"{_REWARDS.why}, and {_ALIKE}"),),
}
"""By the names of steps, without what stands behind a dot; the oldest change first."""


def results_version(step: str) -> str:
    """The version since which a step gives the results that it gives now."""
    return _changes(step)[-1].version


def other_results(step: str, version: str) -> str:
    """Which other results a step gave in a version, as the end of a sentence; empty where they are today's.

    Args:
        step: its name, as in manifests.
        version: `code` of a manifest.
    """
    changes = _changes(step)
    if version == changes[-1].version:
        return ""
    if _number(version) > _number(changes[-1].version):
        return f"results of larpo {version}, which this version does not know"
    since = [change for change in changes if _number(change.version) > _number(version)]
    what = "; ".join(f"since {change.version}, {change.why}" for change in since)
    return f"results of larpo {version}, and the step {step} gives others: {what}"


def _changes(step: str) -> Sequence[Change]:
    return CHANGES.get(step.partition(".")[0], (FIRST,))


def _number(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)[:3]]
