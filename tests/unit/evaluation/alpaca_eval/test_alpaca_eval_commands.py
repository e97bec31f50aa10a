import gzip
import json
import random

import pytest


def _paths(shared_data):
    names = {"gamed": "df_gamed", "difficulty": "instruction_difficulty", "preferences": "preferences_6_models"}
    return {name: shared_data(f"alpaca_eval/{file}.csv.gz") for name, file in names.items()}


def _score(larpo, paths, *more):
    return larpo("score", "alpaca_eval", *(part for name, path in paths.items() for part in (f"--{name}", path)), *more)


def test_preferences_are_scored_as_published_in_any_order(larpo, shared_data, tmp_path):
    paths = _paths(shared_data)
    header, *rows = gzip.decompress(paths["preferences"].read_bytes()).decode().splitlines()
    rows = [row for row in rows if row.startswith(("gemma-7b-it,", "claude-2,"))]
    random.Random(0).shuffle(rows)
    shuffled = tmp_path / "preferences.csv"
    shuffled.write_text("\n".join([header, *rows]))
    outcome = _score(larpo, paths | {"preferences": shuffled})
    assert outcome.code == 0
    found = json.loads(outcome.out)
    assert set(found) == {"gemma-7b-it", "claude-2"}
    assert found["gemma-7b-it"]["win_rate"] == pytest.approx(6.937294379677, abs=1e-9)
    assert found["gemma-7b-it"]["lc_win_rate"] == pytest.approx(10.425760, abs=1e-6)
    assert found["claude-2"]["lc_win_rate"] == pytest.approx(28.155196, abs=1e-6)
    assert not found["claude-2"]["partial"]


def test_without_gamed_rows_there_is_no_length_control(larpo, shared_data):
    outcome = _score(larpo, {"preferences": shared_data("alpaca_eval/preferences_6_models.csv.gz")})
    assert {row["lc_win_rate"] for row in json.loads(outcome.out).values()} == {None}


def test_a_part_is_refused_or_told(larpo, tmp_path):
    file = tmp_path / "preferences.csv"
    file.write_text("model,row,preference,len_ref,len_model\nmine,4,2,10,20\nmine,9,,10,20\n")
    refused = _score(larpo, {"preferences": file})
    assert refused.code == 2
    assert "model mine: 2 instructions, but AlpacaEval has 805" in refused.err
    (found,) = json.loads(_score(larpo, {"preferences": file}, "--partial").out).values()
    assert (found["win_rate"], found["undecided"], found["partial"]) == (100.0, 1, True)
