"""AlpacaEval 2: win rates against the reference's answers, as they are and with length controlled.

The length-controlled win rate is the official one (Dubois et al., 2024, arXiv 2404.04475): a logistic model of the
judge's preferences with the difference in length, the instruction's difficulty and the model as its terms, fitted
together with the rows of two models whose lengths were gamed, and read off where the lengths do not differ. Formula,
weights, fit and choice of the penalty are the official package's. What goes in is matched by the instruction, not by
the place where it happens to stand, and brought into the benchmark's order, so that the folds that choose the penalty
do not depend on the order of a file.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from larpo_lib.errors import LarpoError
from larpo_lib.judging.official import official
from larpo_lib.schemas import prompt_id

SIZE = 805
"""Instructions of AlpacaEval."""
REFERENCE = "gpt4_1106_preview"
"""Generator of AlpacaEval 2's reference answers."""

_GLM = "length_controlled_v1"
_DRAW = 0.5

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Comparison:
    """The judge's preference between a model's answer and the reference's to one instruction.

    Attributes:
        row: place of the instruction in AlpacaEval, from 0; None: it is none of its 805.
        preference: from 1, the reference's answer is better, to 2, the model's is; None: it could not be read.
        len_ref, len_model: characters of the two answers.
    """

    row: int | None
    preference: float | None
    len_ref: int
    len_model: int


@dataclass(frozen=True)
class Gamed:
    """Published preferences of two models told to be verbose and concise, which hold the fit in place.

    Attributes:
        preference: shares in [0, 1].
        std_delta_len: differences in length, in standard deviations.
        difficulty: of their instructions.
    """

    preference: Floats
    std_delta_len: Floats
    difficulty: Floats


@dataclass(frozen=True)
class LengthControl:
    """What the length-controlled win rate is fitted with; `difficulty` is by an instruction's row."""

    gamed: Gamed
    difficulty: Mapping[int, float]


@dataclass(frozen=True)
class Scores:
    """What the preferences of one model come to.

    Attributes:
        win_rate: in percent, of the instructions with a preference; a draw is half a win.
        win_rate_standard_error: of that mean.
        lc_win_rate: in percent, of all instructions; None: not asked for.
        lc_win_rate_standard_error: as the official client gives it: of the mean of the fitted preferences. It leaves
            out how uncertain the fit is.
        average_length: characters of the model's answers.
        instructions: how many there are.
        undecided: how many of them have no preference.
        draws: how many are draws.
        lc_values: `Fitted.values` in percent, in the order of the comparisons; their mean is `lc_win_rate`.
    """

    win_rate: float
    win_rate_standard_error: float | None
    lc_win_rate: float | None
    lc_win_rate_standard_error: float | None
    average_length: float
    instructions: int
    undecided: int
    draws: int
    lc_values: Sequence[float] | None

    def metrics(self) -> dict[str, float | int | None]:
        """All but the values of the instructions."""
        return {name: value for name, value in vars(self).items() if name != "lc_values"}


@dataclass(frozen=True)
class Fitted:
    """The fit of N preferences, in the order of the comparisons.

    Attributes:
        preferences: (N,) preference for the model on each instruction if both answers were equally long, shares in
            [0, 1]. Their mean is the length-controlled win rate. They differ by the difficulty of the instructions
            alone, so that their spread says nothing of how sure that mean is.
        values: (N,) of the same mean, whose spread is its uncertainty: the mean plus the instruction's influence on it,
            which is how much it would change if the instruction counted a little more, times N (the infinitesimal
            jackknife of Jaeckel 1972). The scale of the lengths and the penalty are taken as given.
    """

    preferences: Floats
    values: Floats


@functools.cache
def _rows() -> dict[str, int]:
    text = resources.files(__package__).joinpath("instructions.txt").read_text("utf-8")
    return {identity: row for row, identity in enumerate(text.split())}


def item_id(instruction: str) -> str:
    """The identity of an instruction: that of the prompt that asks it."""
    return prompt_id([{"role": "user", "content": instruction}])


def row_of(instruction: str) -> int | None:
    """Place of an instruction in AlpacaEval, from 0; None if it is none of its 805."""
    return _rows().get(item_id(instruction))


def score(comparisons: Sequence[Comparison], control: LengthControl | None) -> Scores:
    """Win rate and, with `control`, length-controlled win rate of one model.

    Args:
        comparisons: one an instruction, in any order.
        control: None leaves the length-controlled win rate out.

    Raises:
        LarpoError: no comparison has a preference; with `control`, an instruction is not AlpacaEval's.
        ConfigError: with `control`, the official package is not installed.
    """
    decided = np.array([100 * (c.preference - 1) for c in comparisons if c.preference is not None])
    if not len(decided):
        raise LarpoError(
            f"none of the judge's preferences could be read ({len(comparisons)} instructions)",
            remedy="Check the judge's answers; the protocol must fit the judge",
        )
    fitted = None if control is None else fit(comparisons, control)
    preferences = None if fitted is None else 100 * fitted.preferences
    return Scores(
        win_rate=float(decided.mean()),
        win_rate_standard_error=_standard_error(decided),
        lc_win_rate=None if preferences is None else float(preferences.mean()),
        lc_win_rate_standard_error=None if preferences is None else _standard_error(preferences),
        average_length=float(np.mean([c.len_model for c in comparisons])),
        instructions=len(comparisons),
        undecided=len(comparisons) - len(decided),
        draws=int((decided == 100 * _DRAW).sum()),
        lc_values=None if fitted is None else (100 * fitted.values).tolist(),
    )


def fit(comparisons: Sequence[Comparison], control: LengthControl, inverse_penalty: float | None = None) -> Fitted:
    """Fit the preferences of one model.

    Args:
        comparisons: N of them, each of another instruction of AlpacaEval, in any order.
        control: gamed rows and difficulties.
        inverse_penalty: scikit-learn's C; None: the official choice among ten by five-fold cross-validation.

    Raises:
        LarpoError: an instruction is not AlpacaEval's, stands twice, or has no difficulty.
        ConfigError: the official package is not installed.
    """
    rows = _checked_rows(comparisons, control)
    order = np.argsort(rows)
    with official("metrics.glm_winrate") as glm:
        info = glm.GLM_INFO[_GLM]
        data, asked = _features([comparisons[i] for i in order], rows[order], control)
        train, test = glm.make_dmatrix_for_model(data, asked, formula=info["formula"])
        genuine = data["not_gamed_baseline"].astype(float)
        weight = genuine + info["regularize_to_baseline_lambda"] / 2 * (1 - genuine)  # there are two gamed models
        known = train["preference"].notna()
        penalty = info["kwargs"] if inverse_penalty is None else {"n_splits": 0, "C": inverse_penalty}
        model = glm.fit_LogisticRegressionCV(train[known], "preference", sample_weight=weight[known], **penalty)
        shares = model.predict_proba(test)[:, 1]
    preferences, values = np.empty(len(rows)), np.empty(len(rows))
    preferences[order] = shares
    design = train.drop(columns="preference").to_numpy()
    pulls = _pulls(model.coef_[0], design, data["preference"].to_numpy(), weight.to_numpy(), test.to_numpy())
    values[order] = shares + pulls - pulls.mean()
    return Fitted(preferences, values)


def _pulls(coefficients: Floats, design: Floats, preference: Floats, weight: Floats, asked: Floats) -> Floats:
    """How each of the last N rows moves the mean of the shares at `asked` through the coefficients, times N.

    The penalty is the sum of the coefficients' absolute values: it holds some of them at 0, and adds nothing to the
    curvature of the likelihood in the others.

    Args:
        coefficients: (K,), as fitted.
        design: (rows, K), of the fit.
        preference: (rows,), a share; NaN: the row was left out.
        weight: (rows,), 1 of the last N.
        asked: (N, K).
    """
    moving = coefficients != 0
    design, asked = design[:, moving], asked[:, moving]
    share, read = (_sigmoid(rows @ coefficients[moving]) for rows in (design, asked))
    known = ~np.isnan(preference)
    curvature = (design * (known * weight * share * (1 - share))[:, None]).T @ design
    slope = asked.T @ (read * (1 - read))  # N times the mean's
    residuals = np.where(known, preference - share, 0.0)[-len(asked) :]
    found: Floats = residuals * (design[-len(asked) :] @ np.linalg.pinv(curvature, hermitian=True) @ slope)
    return found


def _sigmoid(odds: Floats) -> Floats:
    found: Floats = np.exp(-np.logaddexp(0, -odds))
    return found


def _checked_rows(comparisons: Sequence[Comparison], control: LengthControl) -> NDArray[np.int64]:
    rows = [c.row for c in comparisons]
    foreign = sum(row is None or row not in control.difficulty for row in rows)
    if foreign:
        raise LarpoError(
            f"{foreign} of {len(rows)} instructions have no known difficulty, so they are not from AlpacaEval",
            remedy="Remove them, or compute no length-controlled win rate",
        )
    if len(set(rows)) != len(rows):
        raise LarpoError("an instruction of AlpacaEval appears twice", remedy="Remove one of them")
    return np.array(rows, dtype=np.int64)


def _features(comparisons: Sequence[Comparison], rows: NDArray[np.int64], control: LengthControl) -> tuple[Any, Any]:
    """The official columns for the fit (gamed rows first, as there) and for what is read off it."""
    import pandas as pd

    own = pd.DataFrame(
        {
            "preference": [np.nan if c.preference is None else c.preference - 1 for c in comparisons],
            "std_delta_len": _standardized(np.array([c.len_ref - c.len_model for c in comparisons], dtype=np.float64)),
            "instruction_difficulty": [control.difficulty[int(row)] for row in rows],
            "not_gamed_baseline": True,
        }
    )
    gamed = pd.DataFrame(
        {
            "preference": control.gamed.preference,
            "std_delta_len": control.gamed.std_delta_len,
            "instruction_difficulty": control.gamed.difficulty,
            "not_gamed_baseline": False,
        }
    )
    return pd.concat([gamed, own], ignore_index=True), own.assign(std_delta_len=0.0)


def _standardized(differences: Floats) -> Floats:
    """Differences over their standard deviation; equal lengths differ by 0 also where nothing varies."""
    deviation = differences.std(ddof=1) if len(differences) > 1 else 0.0
    found = np.zeros_like(differences)
    with np.errstate(divide="ignore"):
        np.divide(differences, deviation, out=found, where=differences != 0)
    return found


def _standard_error(values: Floats) -> float | None:
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
