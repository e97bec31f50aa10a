"""Arena-Hard's win rates: plain, with style controlled as officially, and at the baseline's style.

The style-controlled win rate is that of https://github.com/lmarena/arena-hard-auto: a logistic (Bradley-Terry) model of
all battles of a category, with a term for each model and one for each difference in style from the baseline's answer
(Li et al. 2024; style as in Chatbot Arena), read off at the mean difference. Of the battles of one question only their
number and the points count, so they are one row; Newton's method goes to the maximum, which the official fit nears.

Every number is told as a value for each question, whose mean it is: the number itself, and how much the question pulls
it up or down (the linearisation of a ratio, and of a fit; Cochran 1977, section 6.4; Hampel 1974). Intervals and the
gate resample these, questions and not battles, since the battles of a question depend on each other.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from larpo_lib.evaluation.arena_hard.prompts import TIE, VERDICTS
from larpo_lib.statistics.estimates import Values

Floats = NDArray[np.float64]

PLAIN, CONTROLLED, EQUAL = "win_rate", "style_controlled", "equal_style"
RATES = (CONTROLLED, EQUAL, PLAIN)

LEAST = 10
"""Questions of each model, and for each parameter of a fit: with fewer, the coefficients of a logistic regression are
biased away from 0, and their standard errors are too small (Peduzzi et al. 1996, J. Clin. Epidemiol. 49:1373-9,
who count events). The battles of a question depend on each other and count as one."""
NOTHING_READ = "no question has two verdicts that could be read"
_ONE_STYLE = "the answers' styles differ in too few ways to tell what is due to style"
_TOLD_APART = "style alone tells the wins from the losses"

_MOST_STEPS = 25  # of a fit; those with a maximum need about ten
_CLOSE = 1e-9


@dataclass(frozen=True)
class Judgement:
    """The labels of two games on one answer: the first shows the baseline's answer first; None: it was not read."""

    question: str
    category: str
    judge: str
    model: str
    baseline: str
    labels: tuple[str | None, str | None]


@dataclass(frozen=True)
class Comparison:
    """What the verdicts on one answer come to.

    Attributes:
        question: its id.
        battles: how many, from 2 to 6 for one judge.
        points: those won by the model; a tie is half a one.
        style: how the answer differs from the baseline's, see `style.difference`; None: unknown.
    """

    question: str
    battles: int
    points: float
    style: Sequence[float] | None


def comparison(
    judgement: Judgement, style: Sequence[float] | None, *, unread_as_tie: bool = False
) -> Comparison | None:
    """What the verdicts of a judgement come to; None if one could not be read, and is not to count as a tie."""
    if None in judgement.labels and not unread_as_tie:
        return None
    first, second = (TIE if label is None else VERDICTS[label] for label in judgement.labels)
    games = (first.swapped, second)
    points = sum(game.battles * game.share for game in games)
    return Comparison(judgement.question, sum(game.battles for game in games), points, style)


@dataclass(frozen=True)
class Rates:
    """The win rates of a model.

    Attributes:
        values: number (`RATES`), to each question's value in percent; without those that are not defined.
        undefined: number that is not defined, to the reason.
    """

    values: dict[str, Values] = field(default_factory=dict)
    undefined: dict[str, str] = field(default_factory=dict)


def rates(models: Mapping[str, Sequence[Comparison]]) -> dict[str, Rates]:
    """The win rates of models, scored together.

    Args:
        models: the comparisons of each, one for a question.
    """
    read = {model: rows for model, rows in models.items() if rows}
    found = {model: Rates() if model in read else Rates({}, dict.fromkeys(RATES, NOTHING_READ)) for model in models}
    for model, rows in read.items():
        found[model].values[PLAIN] = _plain(rows)
    if read and any(one.style is None for rows in read.values() for one in rows):
        for model in read:
            found[model].undefined.update(dict.fromkeys((CONTROLLED, EQUAL), "the answers' style is not known"))
    elif read:
        for model, name, values in _controlled(read):
            if isinstance(values, str):
                found[model].undefined[name] = values
            else:
                found[model].values[name] = values
    return found


def _plain(rows: Sequence[Comparison]) -> Values:
    battles, points = (np.array([getattr(one, name) for one in rows], float) for name in ("battles", "points"))
    rate = points.sum() / battles.sum()
    pulls = len(rows) * (points - battles * rate) / battles.sum()
    return _named(rows, rate + pulls)


def _controlled(models: Mapping[str, Sequence[Comparison]]) -> Iterator[tuple[str, str, Values | str]]:
    """The numbers of style, of each model; of one that is not defined, the reason."""
    every = [one for rows in models.values() for one in rows]
    centre = np.average([one.style for one in every], axis=0, weights=[one.battles for one in every])
    styles = {CONTROLLED: centre, EQUAL: np.zeros_like(centre)}
    known = _Known.of(_design(models))
    open_ = {model: rows for model, rows in models.items() if 0 < _share(rows) < 1}
    fitted = _Fit.of(open_) if open_ else None
    for model, rows in models.items():
        few = _too_few(len(rows), len(every), known.parameters)
        for name, style in styles.items():
            if few or not known.determines(_point(models, model, style)):
                yield model, name, few or _ONE_STYLE
            elif model not in open_:  # the fit goes as its battles are won or lost without exception
                yield model, name, _named(rows, np.full(len(rows), _share(rows)))
            else:
                yield model, name, _TOLD_APART if fitted is None else fitted.values(model, style)


def _too_few(own: int, every: int, parameters: int) -> str:
    """Why a fit says too little of a model, for want of questions; else nothing."""
    for found, needed in ((every, LEAST * parameters), (own, LEAST)):
        if found < needed:
            return f"{found} questions with verdicts are too few to control for style, which needs {needed}"
    return ""


def _design(models: Mapping[str, Sequence[Comparison]]) -> Floats:
    """(comparisons, models and differences in style)."""
    which = np.repeat(np.eye(len(models)), [len(own) for own in models.values()], axis=0)
    return np.hstack([which, np.array([one.style for own in models.values() for one in own])])


def _point(models: Iterable[str], model: str, style: Floats) -> Floats:
    """A row of the design."""
    return np.concatenate([np.array([model == one for one in models], float), style])


@dataclass(frozen=True)
class _Known:
    """What comparisons can tell, whatever their verdicts are.

    Attributes:
        scale: of each column of the design.
        projection: onto what is a combination of its rows, all divided by `scale`.
    """

    scale: Floats
    projection: Floats

    @classmethod
    def of(cls, design: Floats) -> "_Known":
        scale = np.abs(design).max(axis=0)
        scale[scale == 0] = 1.0
        rows = design / scale
        return cls(scale, np.linalg.pinv(rows) @ rows)

    @property
    def parameters(self) -> int:
        """How many the fit has: the design's rank."""
        return round(float(np.trace(self.projection)))

    def determines(self, point: Floats) -> bool:
        """Whether the fit has one value at a point: whether that is a combination of rows (an estimable function)."""
        wanted = point / self.scale
        return bool(np.allclose(self.projection @ wanted, wanted, rtol=0, atol=1e-6))


def _share(rows: Sequence[Comparison]) -> float:
    return sum(one.points for one in rows) / sum(one.battles for one in rows)


def _named(rows: Sequence[Comparison], values: Floats) -> Values:
    return {one.question: 100 * float(value) for one, value in zip(rows, values, strict=True)}


@dataclass(frozen=True)
class _Fit:
    """The logistic model of several models' battles.

    Attributes:
        models: their columns, in this order, before those of style.
        questions: of all rows, distinct.
        coefficients: of models, and of differences in style.
        pulls: (questions, coefficients), how each question moves them.
    """

    models: Sequence[str]
    questions: Sequence[str]
    coefficients: Floats
    pulls: Floats

    @classmethod
    def of(cls, models: Mapping[str, Sequence[Comparison]]) -> "_Fit | None":
        """Fit; None if there is no maximum."""
        rows = [one for own in models.values() for one in own]
        design = _design(models)
        battles, points = (np.array([getattr(one, name) for one in rows], float) for name in ("battles", "points"))
        coefficients = _maximum(design, battles, points)
        if coefficients is None:
            return None
        share = expit(design @ coefficients)
        residuals = (points - battles * share)[:, None] * design
        questions = list(dict.fromkeys(one.question for one in rows))
        places = {question: place for place, question in enumerate(questions)}
        pulls = np.zeros((len(questions), design.shape[1]))
        np.add.at(pulls, [places[one.question] for one in rows], residuals)
        return cls([*models], questions, coefficients, pulls @ _inverse(design, battles, share))

    def values(self, model: str, style: Floats) -> Values:
        """A model's win rate where its style differs by `style`, as a value for each question."""
        point = _point(self.models, model, style)
        rate = expit(point @ self.coefficients)
        values = rate + len(self.questions) * rate * (1 - rate) * (self.pulls @ point)
        return {name: 100 * float(value) for name, value in zip(self.questions, values, strict=True)}


def _maximum(design: Floats, battles: Floats, points: Floats) -> Floats | None:
    """The coefficients at which the likelihood of the battles is greatest, by Newton's method; None if nowhere is."""
    coefficients = np.zeros(design.shape[1])
    for _ in range(_MOST_STEPS):
        share = expit(design @ coefficients)
        slope = design.T @ (points - battles * share)
        step = _inverse(design, battles, share) @ slope
        coefficients += step
        if np.abs(design @ step).max() < _CLOSE:
            return coefficients
    return None


def _inverse(design: Floats, battles: Floats, share: Floats) -> Floats:
    """Of the information matrix; in directions in which the rows do not differ it is 0."""
    information = (design * (battles * share * (1 - share))[:, None]).T @ design
    found: Floats = np.linalg.pinv(information, rcond=1e-12, hermitian=True).astype(np.float64)
    return found
