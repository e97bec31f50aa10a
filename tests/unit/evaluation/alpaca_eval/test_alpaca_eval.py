import csv
import logging
import os
import random
from importlib import metadata
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from larpo_lib.errors import ConfigError, LarpoError
from larpo_lib.evaluation.alpaca_eval import scoring as alpaca_eval
from larpo_lib.evaluation.alpaca_eval.files import read_length_control, read_outputs, read_preferences
from larpo_lib.evaluation.alpaca_eval.scoring import Comparison, Gamed, LengthControl, fit, score
from larpo_lib.judging.official import official

PUBLISHED = {
    "gemma-7b-it": (6.937294379677021, 10.425760),
    "gemma-2b-it": (3.4019714381366457, 5.437454),
    "FuseChat-Gemma-2-9B-Instruct": (70.4971353456025, 70.181063),
    "OpenHermes-2.5-Mistral-7B": (10.340415705751552, 16.248578),
    "claude-2": (17.188240356708075, 28.155196),
    "vicuna-7b-v1.5": (4.797493939167703, 7.616893),
}
GRID = np.logspace(-4, 4, 10)
NO_ROWS = np.array([])


@pytest.fixture(scope="session")
def published(shared_data):
    return read_preferences(shared_data("alpaca_eval/preferences_6_models.csv.gz"))


@pytest.fixture(scope="session")
def control(shared_data):
    gamed, difficulty = (shared_data(f"alpaca_eval/{name}.csv.gz") for name in ("df_gamed", "instruction_difficulty"))
    return read_length_control(gamed, difficulty)


@pytest.mark.parametrize("model", PUBLISHED)
def test_published_scores_are_reproduced(published, control, model):
    win_rate, lc_win_rate = PUBLISHED[model]
    scores = score(published[model], control)
    assert scores.win_rate == pytest.approx(win_rate, abs=1e-9)
    assert scores.lc_win_rate == pytest.approx(lc_win_rate, abs=0.2)
    assert scores.lc_win_rate == pytest.approx(np.mean(scores.lc_values), abs=1e-9)
    nearest = min((100 * fit(published[model], control, c).preferences.mean() for c in GRID),
                  key=lambda found: abs(found - lc_win_rate))  # fmt: skip
    assert nearest == pytest.approx(lc_win_rate, abs=1e-6)


def test_win_rates_are_those_of_the_leaderboard_that_the_package_carries(published):
    table = metadata.distribution("alpaca_eval").locate_file(
        "alpaca_eval/leaderboards/data_AlpacaEval_2/weighted_alpaca_eval_gpt4_turbo_leaderboard.csv"
    )
    rows = {row[""]: row for row in csv.DictReader(Path(str(table)).read_text().splitlines())}
    for model in PUBLISHED:
        scores, row = score(published[model], None), rows[model]
        assert scores.win_rate == pytest.approx(float(row["win_rate"]), abs=1e-9)
        assert scores.win_rate_standard_error == pytest.approx(float(row["standard_error"]), abs=1e-9)
        assert scores.draws == int(row["n_draws"])
        assert int(scores.average_length) == int(row["avg_length"])


def _stock(comparisons, gamed):
    """What the official client says of rows in the benchmark's order, all of them."""
    import pandas as pd

    frame = pd.DataFrame(
        {
            "preference": [np.nan if c.preference is None else c.preference for c in comparisons],
            "output_1": ["x" * c.len_ref for c in comparisons],
            "output_2": ["x" * c.len_model for c in comparisons],
            "generator_1": "reference",
            "generator_2": "model",
            "annotator": "judge",
        }
    )
    with official("metrics.glm_winrate") as glm, mock.patch.object(glm, "hf_hub_download", return_value=str(gamed)):
        return glm.get_length_controlled_winrate(frame, save_weights_dir=None)


def test_scores_are_the_official_clients(published, control, shared_data):
    gamed = shared_data("alpaca_eval/df_gamed.csv.gz")
    for model in ("gemma-2b-it", "claude-2"):
        comparisons = sorted(published[model], key=lambda c: c.row)
        undecided = [c if c.row % 7 else Comparison(c.row, None, c.len_ref, c.len_model) for c in comparisons]
        for rows in (comparisons, undecided):
            stock, scores = _stock(rows, gamed), score(rows, control)
            assert scores.win_rate == pytest.approx(stock["win_rate"], abs=1e-9)
            assert scores.lc_win_rate == pytest.approx(stock["length_controlled_winrate"], abs=1e-6)
            assert scores.lc_win_rate_standard_error == pytest.approx(stock["lc_standard_error"], abs=1e-6)
            assert scores.win_rate_standard_error == pytest.approx(stock["standard_error"], abs=1e-9)
            assert scores.instructions - scores.undecided == stock["n_total"]


def test_the_order_of_the_rows_does_not_matter(published, control):
    comparisons = published["gemma-2b-it"]
    shuffled = random.Random(0).sample(comparisons, len(comparisons))
    ours, again = score(comparisons, control), score(shuffled, control)
    assert again.lc_win_rate == pytest.approx(ours.lc_win_rate, abs=1e-12)
    by_row = dict(zip((c.row for c in comparisons), ours.lc_values, strict=True))
    assert again.lc_values == pytest.approx([by_row[c.row] for c in shuffled], abs=1e-9)


def test_a_part_is_scored_with_the_difficulties_of_its_own_instructions(published, control):
    """The last rows of the official order get difficulties of the first ones from the official client."""
    part = sorted(published["gemma-7b-it"], key=lambda c: c.row)[400:]
    fitted = fit(part, control, GRID[5]).preferences
    moved = [Comparison(number, c.preference, c.len_ref, c.len_model) for number, c in enumerate(part)]
    swapped = LengthControl(control.gamed, {number: control.difficulty[c.row] for number, c in enumerate(part)})
    assert fitted == pytest.approx(fit(moved, swapped, GRID[5]).preferences, abs=1e-12)
    assert abs(100 * (fitted - fit(moved, control, GRID[5]).preferences).mean()) > 0.1


def test_the_values_of_instructions_foretell_the_fit_without_them(published, control):
    """Instructions are left out in tens, and the rest is fitted anew."""
    comparisons = [
        c if c.row % 9 else Comparison(c.row, None, 10, 900) for c in published["FuseChat-Gemma-2-9B-Instruct"]
    ]
    whole = fit(comparisons, control, GRID[6])
    rate, order = whole.preferences.mean(), np.random.default_rng(0).permutation(len(comparisons))
    changes, foretold = [], []
    for left_out in np.array_split(order, 80)[:25]:
        rest = np.setdiff1d(order, left_out)
        changes.append(fit([comparisons[i] for i in rest], control, GRID[6]).preferences.mean() - rate)
        foretold.append(-(whole.values[left_out] - rate).sum() / len(rest))
    assert changes == pytest.approx(foretold, abs=0.15 * np.std(changes))


def test_where_length_and_difficulty_tell_nothing_the_values_are_the_preferences():
    shares = np.array([1.0, 0.0, 0.25, 0.5, 0.75, 1.0] * 20)
    comparisons = [Comparison(row, 1 + share, 100, 100) for row, share in enumerate(shares)]
    flat = LengthControl(Gamed(NO_ROWS, NO_ROWS, NO_ROWS), dict.fromkeys(range(len(shares)), 0.0))
    assert fit(comparisons, flat, 1e6).values == pytest.approx(shares, abs=1e-3)


def test_equal_lengths_leave_the_model_and_the_difficulty(control):
    """The official client crashes here."""
    comparisons = [Comparison(row, 1.0 + row % 2, 100, 100) for row in range(40)]
    scores = score(comparisons, control)
    assert scores.win_rate == 50
    assert np.isfinite(scores.lc_values).all()
    assert 40 < scores.lc_win_rate < 60


def test_a_win_rate_by_hand():
    comparisons = [
        Comparison(None, 2.0, 10, 20),
        Comparison(None, 1.0, 10, 30),
        Comparison(None, 1.5, 10, 10),
        Comparison(None, None, 10, 60),
    ]
    scores = score(comparisons, None)
    assert scores.win_rate == pytest.approx(50)
    assert scores.win_rate_standard_error == pytest.approx(50 / 3**0.5)
    assert (scores.average_length, scores.instructions, scores.undecided, scores.draws) == (30, 4, 1, 1)
    assert scores.lc_win_rate is None
    assert scores.lc_values is None
    assert score(comparisons[:1], None).win_rate_standard_error is None


@pytest.mark.parametrize(
    ("comparisons", "problem"),
    [
        ([Comparison(None, 2.0, 1, 2)], "1 of 1 instructions have no known difficulty"),
        ([Comparison(7, 2.0, 1, 2)], "1 of 1 instructions have no known difficulty"),
        ([Comparison(0, 2.0, 1, 2), Comparison(0, 1.0, 1, 2)], "appears twice"),
        ([Comparison(0, None, 1, 2)], "none of the judge's preferences could be read"),
    ],
)
def test_what_cannot_be_scored_is_told(comparisons, problem):
    control = LengthControl(Gamed(NO_ROWS, NO_ROWS, NO_ROWS), {0: 0.5})
    with pytest.raises(LarpoError, match=problem):
        score(comparisons, control)


def test_every_published_instruction_is_known_by_its_text(shared_data):
    outputs = read_outputs(shared_data("alpaca_eval/gpt4_1106_preview.outputs.json.gz"), kind="reference")
    assert outputs.generator == alpaca_eval.REFERENCE
    assert [alpaca_eval.row_of(instruction) for instruction in outputs.by_instruction] == list(range(alpaca_eval.SIZE))
    assert alpaca_eval.row_of("What is 2 + 2?") is None


def test_the_package_changes_nothing_of_the_process():
    import sklearn

    root = logging.getLogger()
    before = root.level, list(root.handlers), list(root.filters), dict(os.environ), sklearn.get_config()
    with official("metrics.glm_winrate"):
        sklearn.set_config(enable_metadata_routing=True)
        logging.getLogger().setLevel(logging.DEBUG)
        logging.error("from the package")
    after = root.level, list(root.handlers), list(root.filters), dict(os.environ), sklearn.get_config()
    assert after == before


def test_a_missing_package_is_told_with_its_remedy(monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    with pytest.raises(ConfigError, match=r"needs the package alpaca_eval.*pip install 'larpo\[alpaca-eval\]'"):
        fit([Comparison(0, 2.0, 1, 2)], LengthControl(Gamed(NO_ROWS, NO_ROWS, NO_ROWS), {0: 0.5}))
