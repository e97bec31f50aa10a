"""The paper's rows against the text of the method where it lies beside the project, and by plain values."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from larpo_lib.evaluation.published import alpaca_eval_rows, mixeval_rows


def test_the_rows_by_plain_values():
    rows = {row.policy: row for row in alpaca_eval_rows()}
    assert rows["Mistral-it, LarPO contrastive, FsfairX"].scores == {"lc_win_rate": 43.0, "win_rate": 53.8}
    assert rows["Gemma-2-2b-it, SFT"].scores == {"lc_win_rate": 47.03, "win_rate": 48.38}
    hard = {row.policy: row.scores["overall"] for row in mixeval_rows(hard=True)}
    assert hard["Mistral-base, LarPO LambdaRank, PairRM"] == 0.452
    assert (len(rows), len(hard), len(mixeval_rows(hard=False))) == (20, 16, 16)


def test_rows_of_different_tables_name_different_judges():
    assert {(row.source, row.judge) for row in alpaca_eval_rows()} == {
        ("LarPO paper, table 2", "gpt-4-1106-preview by weighted_alpaca_eval_gpt4_turbo"),
        ("LarPO paper, table 4", "not stated; not table 2's"),
    }


def test_every_number_is_the_methods(shared_data: Callable[[str], Path]):
    method = shared_data("../method.md").read_text("utf-8")
    if "Published figures" not in method:
        pytest.skip("the method beside the project has no published figures")
    printed = method[method.index("Published figures") :]
    quoted = re.findall(r"\d+\.\d+/\d+\.\d+(?:/\.\d+/\.\d+)?", printed)
    easy, hard = ({row.policy: row.scores["overall"] for row in mixeval_rows(hard=flag)} for flag in (False, True))
    ours = [
        [
            row.scores["lc_win_rate"],
            row.scores["win_rate"],
            *(table[row.policy] for table in (easy, hard) if table.get(row.policy)),
        ]
        for row in alpaca_eval_rows()
    ]
    assert ours == [[float(number) for number in quote.split("/")] for quote in quoted]
