"""Published scores to print beside a policy's: the paper's (Jin et al., ICML 2025, arXiv 2502.03699), and Arena-Hard's.

The judges of the paper's tables differ for the same models, so every row names its own.
"""

from collections.abc import Sequence

from larpo_lib.reporting.evaluation import Published

_SOURCE = "LarPO paper, table {table}"
LEADERBOARD = "gpt-4-1106-preview by weighted_alpaca_eval_gpt4_turbo"
"""AlpacaEval 2's own judge, and that of table 2: its SFT row of Mistral-it is the leaderboard's own."""
_JUDGES = {2: LEADERBOARD, 4: "not stated; not table 2's"}
_MIXEVAL_JUDGE = "not stated; MixEval's own is gpt-3.5-turbo-0125"
_ROWS = (
    # table, policy, LC win rate, win rate, MixEval, MixEval-Hard
    (2, "Mistral-it, SFT", 17.1, 14.7, 0.707, 0.361),
    (2, "Mistral-it, DPO", 26.8, 24.9, 0.702, 0.355),
    (2, "Mistral-it, SimPO", 32.1, 34.8, 0.702, 0.363),
    (2, "Mistral-it, iterative DPO", 20.4, 24.8, 0.719, 0.389),
    (2, "Mistral-it, LarPO contrastive, PairRM", 32.7, 38.6, 0.718, 0.418),
    (2, "Mistral-it, LarPO LambdaRank, PairRM", 32.9, 38.9, 0.720, 0.417),
    (2, "Mistral-it, LarPO ListMLE, PairRM", 29.7, 36.2, 0.709, 0.397),
    (2, "Mistral-it, LarPO contrastive, FsfairX", 43.0, 53.8, 0.718, 0.425),
    (2, "Mistral-it, LarPO LambdaRank, FsfairX", 41.9, 48.1, 0.740, 0.440),
    (2, "Mistral-it, LarPO ListMLE, FsfairX", 39.6, 48.1, 0.717, 0.397),
    (2, "Mistral-base, SFT", 8.4, 6.2, 0.602, 0.279),
    (2, "Mistral-base, SimPO", 21.5, 20.8, 0.672, 0.347),
    (2, "Mistral-base, iterative DPO", 18.9, 16.7, 0.660, 0.341),
    (2, "Mistral-base, LarPO contrastive, PairRM", 31.6, 30.8, 0.703, 0.409),
    (2, "Mistral-base, LarPO LambdaRank, PairRM", 34.9, 37.2, 0.695, 0.452),
    (2, "Mistral-base, LarPO ListMLE, PairRM", 31.1, 32.1, 0.669, 0.390),
    (4, "Gemma-2-2b-it, SFT", 47.03, 48.38, None, None),
    (4, "Gemma-2-2b-it, pairwise, current", 55.06, 66.56, None, None),
    (4, "Gemma-2-2b-it, pairwise, + previous", 55.62, 70.92, None, None),
    (4, "Gemma-2-2b-it, pairwise, + all previous", 56.02, 72.50, None, None),
)

_ARENA_HARD = (
    # policy, style-controlled win rate of hard prompts by Gemini 2.5 and by GPT-4.1
    ("Qwen3-32B", 44.5, 35.8),
    ("Qwen3-30B-A3B", 33.9, 28.7),
    ("gemma-3-27b-it", 15.0, 9.7),
    ("Qwen3-4B", 15.0, 12.6),
    ("Llama-3.1-Nemotron-70B-Instruct-HF", 10.3, 6.8),
    ("Qwen2.5-72B-Instruct", 10.1, 8.0),
    ("OpenThinker2-32B", 3.2, 2.3),
)
_ARENA_HARD_JUDGES = tuple(
    f"{model} by arena_hard_v2.0 in both orders" for model in ("gemini-2.5-pro-preview-03-25", "gpt-4.1")
)


def alpaca_eval_rows() -> Sequence[Published]:
    """Scores `lc_win_rate` and `win_rate`, in percent."""
    return [
        Published(
            policy,
            _SOURCE.format(table=table),
            _JUDGES[table],
            {"lc_win_rate": controlled, "win_rate": plain},
        )
        for table, policy, controlled, plain, _, _ in _ROWS
    ]


def mixeval_rows(*, hard: bool) -> Sequence[Published]:
    """Score `overall` in [0, 1], of MixEval or of MixEval-Hard, 2024-06-01."""
    return [
        Published(policy, _SOURCE.format(table=table), _MIXEVAL_JUDGE, {"overall": overall})
        for table, policy, _, _, easy, difficult in _ROWS
        if (overall := difficult if hard else easy) is not None
    ]


def arena_hard_rows() -> Sequence[Published]:
    """Score `hard_prompt_style_controlled`, in percent, of open-weight models on Arena-Hard v2.0's own leaderboard."""
    return [
        Published(
            policy, "Arena-Hard-Auto, README of 2025-05-01", judge, {"hard_prompt_style_controlled": rates[place]}
        )
        for place, judge in enumerate(_ARENA_HARD_JUDGES)
        for policy, *rates in _ARENA_HARD
    ]
