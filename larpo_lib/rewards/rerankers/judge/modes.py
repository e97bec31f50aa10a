"""The three ways of judging: what is asked about a list of responses, and the scores that the readings come to.

Each is a generator that is played: it yields the questions that it has next, is sent what was read of each, and returns
the scores. So the questions of many lists are asked together, and what is stored is played without asking anybody.
"""

import random
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, Protocol

from larpo_lib.judging.decisions import Answer
from larpo_lib.rewards.rerankers.judge.reading import (
    Grade,
    read_grade,
    read_rankings,
    read_verdict,
    whole_ranking,
)
from larpo_lib.statistics.bradley_terry import expected_win_rates, strengths

_LONE = 0.5
"""Score of a response that there is no other one to compare with."""
_MILLION = 1_000_000

Ask = Callable[..., str]
"""The question about some responses, which it takes by the names of their places in the template."""


@dataclass(frozen=True)
class Outcome:
    """What a list comes to: a score for each response, None if it has none, and how many of what there was."""

    scores: list[float | None]
    counts: Counter[str] = field(default_factory=Counter)


Play = Generator[list[str], Sequence[Any], Outcome]
"""Yields questions and is sent a reading for each; None: it could not be read, or the question was too long."""


class Mode(Protocol):
    """One way of judging."""

    def most_calls(self, size: int) -> int:
        """The most questions about a list of so many distinct responses."""
        ...

    def read(self, answer: Answer) -> Any:
        """What an answer says; None: it cannot be read."""
        ...

    def play(self, responses: Sequence[str], ask: Ask) -> Play:
        """Judge distinct responses to one prompt, which are in an order drawn by chance."""
        ...


@dataclass(frozen=True)
class Pointwise(Mode):
    """Each response by itself; the score is the expected grade."""

    lowest: int
    highest: int

    def most_calls(self, size: int) -> int:
        """One for each response."""
        return size

    def read(self, answer: Answer) -> Grade | None:
        """The grade."""
        return read_grade(answer, self.lowest, self.highest)

    def play(self, responses: Sequence[str], ask: Ask) -> Play:
        """Ask for the grade of each."""
        grades: Sequence[Grade | None] = yield [ask(response=response) for response in responses]
        known = [grade for grade in grades if grade is not None]
        sure = [grade.unread for grade in known if grade.unread is not None]
        counts = Counter(
            judge_grades_without_probabilities=len(known) - len(sure),
            judge_unread_probability_millionths=sum(round(unread * _MILLION) for unread in sure),
        )
        return Outcome([None if grade is None else grade.value for grade in grades], counts)


@dataclass(frozen=True)
class Pairwise(Mode):
    """Pairs of responses in both orders, as in PRP (Qin et al. 2023, arXiv 2306.17563).

    A pair's verdict is the mean of its two orders, so that it is a tie if they contradict. All pairs are compared if
    that takes at most `most` comparisons; otherwise the responses meet in rounds of a Swiss tournament until there
    were so many. The score is the win rate against the others: if every pair has a verdict, the mean of the verdicts,
    as in PRP-Allpair; otherwise the expected one under the model of Bradley and Terry.
    """

    most: int | None

    def comparisons(self, size: int) -> int:
        """How many pairs of a list of so many are compared."""
        pairs = size * (size - 1) // 2
        return pairs if self.most is None else min(pairs, self.most)

    def most_calls(self, size: int) -> int:
        """Two for each comparison."""
        return 2 * self.comparisons(size)

    def read(self, answer: Answer) -> float | None:
        """The share of the response that was shown first."""
        return read_verdict(answer)

    def play(self, responses: Sequence[str], ask: Ask) -> Play:
        """Compare all with all, or round by round."""
        size = len(responses)
        tournament = _Tournament(size)
        counts = Counter(judge_contradictions=0)
        while len(tournament.met) < self.comparisons(size):
            pairs = tournament.next_pairs(self.comparisons(size) - len(tournament.met))
            shares = yield [
                ask(first=responses[i], second=responses[j]) for pair in pairs for i, j in (pair, pair[::-1])
            ]
            for pair, there, back in zip(pairs, shares[::2], shares[1::2], strict=True):
                counts["judge_contradictions"] += {there, back} in ({1.0}, {0.0})  # the place won, twice
                tournament.add(pair, None if there is None or back is None else (there + 1.0 - back) / 2)
        return Outcome(tournament.scores(), counts)


class _Tournament:
    """Who met whom, and with which verdict; None: it could not be read."""

    def __init__(self, size: int) -> None:
        self._size = size
        self.met: dict[tuple[int, int], float | None] = {}
        self._points = [0.0] * size
        self._games = [0] * size

    def add(self, pair: tuple[int, int], verdict: float | None) -> None:
        """Take note of the first one's share of a win."""
        self.met[pair] = verdict
        for place, share in zip(pair, (verdict, None if verdict is None else 1.0 - verdict), strict=True):
            self._games[place] += 1
            self._points[place] += 0.5 if share is None else share

    def next_pairs(self, room: int) -> list[tuple[int, int]]:
        """The pairs to compare next, at most `room`: all that are left if there is room, else a round.

        In a round each response meets one that it has not met, of as near as possible the same points, those with the
        fewest games first and then those with the most points.
        """
        left = [pair for pair in combinations(range(self._size), 2) if pair not in self.met]
        if len(left) <= room:
            return left
        waiting = sorted(range(self._size), key=lambda i: (self._games[i], -self._points[i]))
        pairs: list[tuple[int, int]] = []
        while waiting and len(pairs) < room:
            one = waiting.pop(0)
            others = [other for other in waiting if (min(one, other), max(one, other)) not in self.met]
            if others:
                other = min(others, key=lambda i: (abs(self._points[i] - self._points[one]), self._games[i]))
                waiting.remove(other)
                pairs.append((min(one, other), max(one, other)))
        return pairs

    def scores(self) -> list[float | None]:
        """The win rates; None for a response none of whose comparisons could be read."""
        if self._size == 1:
            return [_LONE]
        verdicts = [(i, j, verdict) for (i, j), verdict in self.met.items() if verdict is not None]
        judged = {place for i, j, _ in verdicts for place in (i, j)}
        if len(verdicts) == self._size * (self._size - 1) // 2:
            rates = [points / (self._size - 1) for points in self._points]
        else:
            rates = expected_win_rates(strengths(self._size, verdicts))
        return [rate if place in judged else None for place, rate in enumerate(rates)]


@dataclass(frozen=True)
class Listwise(Mode):
    """The whole list in one question, as in RankGPT (Sun et al. 2023, arXiv 2304.09542), in an order and its reverse.

    A list longer than a window is ranked window by window, from its end to its beginning, each `step` places before the
    one before it. The score is the mean over both orders of the share of the other responses that are ranked below.
    """

    window: int
    step: int

    def most_calls(self, size: int) -> int:
        """Two for each window."""
        return 2 * len(self.windows(size))

    def windows(self, size: int) -> list[tuple[int, int]]:
        """First place, and place behind the last, of each window, the last window first."""
        found = []
        end = size
        while size > 1:
            found.append((max(0, end - self.window), end))
            if found[-1][0] == 0:
                break
            end -= self.step
        return found

    def read(self, answer: Answer) -> list[list[int]] | None:
        """The numbers in their order, of each ranking in the answer."""
        return read_rankings(answer)

    def play(self, responses: Sequence[str], ask: Ask) -> Play:
        """Rank the windows of both orders."""
        size = len(responses)
        orders = [list(range(size)), list(range(size))[::-1]]
        counts, lost = Counter(judge_rankings_repaired=0), False
        for start, end in self.windows(size):
            said = yield [ask(responses=[responses[i] for i in order[start:end]]) for order in orders]
            for order, rankings in zip(orders, said, strict=True):
                if rankings is None:
                    lost = True
                    continue
                places, repaired = whole_ranking(rankings, end - start)
                counts["judge_rankings_repaired"] += repaired
                order[start:end] = [order[start + place] for place in places]
            if lost:
                return Outcome([None] * size, counts)
        if size == 1:
            return Outcome([_LONE], counts)
        places_of = [{response: place for place, response in enumerate(order)} for order in orders]
        return Outcome([sum(size - 1 - own[i] for own in places_of) / (2 * (size - 1)) for i in range(size)], counts)


def drawn_order(responses: Sequence[str], seed: int, prompt_id: str) -> list[str]:
    """The distinct responses in an order that depends on them, the seed and the prompt alone."""
    distinct = sorted(set(responses))
    random.Random(f"{seed} {prompt_id}").shuffle(distinct)  # noqa: S311 - no secret
    return distinct
