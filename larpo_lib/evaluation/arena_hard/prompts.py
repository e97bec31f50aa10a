"""The official prompts of Arena-Hard v2.0's judge, and how its verdicts are read.

From utils/judge_utils.py and config/arena-hard-v2.0.yaml of https://github.com/lmarena/arena-hard-auto (Apache-2.0),
word for word: scores by other prompts could not be compared with published ones.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from larpo_lib.schemas import Messages
from larpo_lib.thinking import without_thoughts

_TASK = (
    "Please act as an impartial judge and evaluate the quality of the responses provided by two AI assistants to the "
    "user prompt displayed below. You will be given assistant A's answer and assistant B's answer. Your job is to "
    "evaluate which assistant's answer is better.\n\n"
)
_OWN_ANSWER = (
    "Begin your evaluation by generating your own answer to the prompt. You must provide your answers before judging "
    "any answers.\n\n"
)
_RULES = (
    "When evaluating the assistants' answers, compare both assistants' answers{with_own}. You must identify and "
    "correct any mistakes or inaccurate information.\n\n"
    "Then consider if the assistant's answers are helpful, relevant, and concise. Helpful means the answer correctly "
    "responds to the prompt or follows the instructions. Note when user prompt has any ambiguity or more than one "
    "interpretation, it is more helpful and appropriate to ask for clarifications or more information from the user "
    "than providing an answer based on assumptions. Relevant means all parts of the response closely connect or are "
    "appropriate to what is being asked. Concise means the response is clear and not verbose or excessive.\n\n"
    "Then consider the creativity and novelty of the assistant's answers when needed. Finally, identify any missing "
    "important information in the assistants' answers that would be beneficial to include when responding to the user "
    "prompt.\n\n"
    "After providing your explanation, you must output only one of the following choices as your final verdict with a "
    "label:\n\n"
    "1. Assistant A is significantly better: [[A>>B]]\n"
    "2. Assistant A is slightly better: [[A>B]]\n"
    "3. Tie, relatively the same: [[A=B]]\n"
    "4. Assistant B is slightly better: [[B>A]]\n"
    "5. Assistant B is significantly better: [[B>>A]]\n\n"
    'Example output: "My final verdict is tie: [[A=B]]".'
)
_SYSTEM = {
    "hard_prompt": _TASK + _OWN_ANSWER + _RULES.format(with_own=" with your answer"),
    "creative_writing": _TASK + _RULES.format(with_own=""),
}
"""By category."""

_PATTERNS = (re.compile(r"\[\[([AB<>=]+)\]\]"), re.compile(r"\[([AB<>=]+)\]"))


@dataclass(frozen=True)
class Verdict:
    """What one game counts: so many battles, each of which gives assistant A `share` of a win."""

    battles: int
    share: float

    @property
    def swapped(self) -> "Verdict":
        """As assistant B sees it."""
        return Verdict(self.battles, 1 - self.share)

    @property
    def preference(self) -> float:
        """From 1, assistant B's answer is clearly better, to 2, A's is; a slight preference is half as far from 1.5."""
        return 1.5 + (self.share - 0.5) * (1.0 if self.battles > 1 else 0.5)


_CLEAR, _SLIGHT, TIE = Verdict(3, 1.0), Verdict(1, 1.0), Verdict(1, 0.5)
VERDICTS: Mapping[str, Verdict] = {
    "A>>B": _CLEAR, "A>B": _SLIGHT, "A=B": TIE, "A<B": _SLIGHT.swapped, "A<<B": _CLEAR.swapped,
    "B>>A": _CLEAR.swapped, "B>A": _SLIGHT.swapped, "B=A": TIE, "B<A": _SLIGHT, "B<<A": _CLEAR,
}  # fmt: skip
"""By label. A clear verdict weighs three times a slight one."""


def judging(category: str, question: str, first: str, second: str) -> Messages:
    """The messages that ask the judge for a verdict on two answers, that of assistant A first."""
    text = (
        f"<|User Prompt|>\n{question}\n\n"
        f"<|The Start of Assistant A's Answer|>\n{first}\n<|The End of Assistant A's Answer|>\n\n"
        f"<|The Start of Assistant B's Answer|>\n{second}\n<|The End of Assistant B's Answer|>"
    )
    return [{"role": "system", "content": _SYSTEM[category]}, {"role": "user", "content": text}]


def label(judgement: str) -> str | None:
    """The last label in double brackets, else in single ones; None if there is none, or it is none of `VERDICTS`.

    Thoughts before the judgement are left out, and unfinished ones leave nothing that could be read. A text that was
    cut may be all thoughts without a tag; whoever has the whole answer asks `completions.may_be_thoughts` first.
    """
    reply = without_thoughts(judgement).upper()
    for pattern in _PATTERNS:
        if found := pattern.findall(reply):
            return found[-1] if found[-1] in VERDICTS else None
    return None
