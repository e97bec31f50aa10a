"""What Arena-Hard's protocol fixes: prompts, labels, and what counts as style."""

import hashlib

import arena_hard_games as games
import pytest

from larpo_lib.evaluation.arena_hard.prompts import judging, label
from larpo_lib.evaluation.arena_hard.style import difference, metadata

# sha256 of system_prompt in utils/judge_utils.py, and of prompt_template in config/arena-hard-v2.0.yaml, of the
# official repository at commit 196f6b8
SYSTEM = {
    "hard_prompt": "03f68010febd7a6405102ef882b4dd5a9700c56b2e1ff286d3b38f5d3a929bbf",
    "creative_writing": "171489efbca7f19fb520e1b3c23783c76af7c723e770fe897a55f391684aa358",
}
TEMPLATE = "80fb20ab2eaae6d38a19f707f3f051f0456bcb977b0086bebe15f9bd23ce45f8"


@pytest.mark.parametrize("category", SYSTEM)
def test_prompts_are_the_official_ones(category):
    system, user = judging(category, "{QUESTION}", "{ANSWER_A}", "{ANSWER_B}")
    assert (system["role"], user["role"]) == ("system", "user")
    assert hashlib.sha256(system["content"].encode()).hexdigest() == SYSTEM[category]
    assert hashlib.sha256(user["content"].encode()).hexdigest() == TEMPLATE


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("First [[B>A]], but on the whole [[A>>B]].", "A>>B"),
        ("my final verdict is [[a=b]]", "A=B"),
        ("[[A>B]] and then only [B>A]", "A>B"),  # double brackets go before single ones
        ("final: [B>>A]", "B>>A"),
        ("[[A]]", None),
        ("[[A>B>A]]", None),
        ("A>B", None),
        ("", None),
        ("<think>\nAt first sight [[A>>B]]?\n</think>\n\nMy final verdict is [[B>A]]", "B>A"),
        ("<think>\nAt first sight [[A>>B]]? But the code of A does not compile, so", None),  # cut in its thoughts
        ("At first sight [[A>>B]].\n</think>\n\nI cannot decide.", None),
    ],
)
def test_labels(text, expected):
    assert label(text) == expected


def test_style_is_that_of_the_published_answers(shared_data):
    published = games.read(shared_data("arena_hard/o3-mini-2025-01-31.answers.v2.jsonl.gz"))
    assert len(published) == 750
    for row in published:
        assert metadata(row["messages"][-1]["content"]["answer"]) == row["metadata"]


def test_style_by_hand():
    text = "# Title\n\n1. one\n - **two**, __three__\n\n```\n# code\n- code\n```\n\nword # no header\n####### seven"
    found = metadata(text)
    assert found["header_count"] == {"h1": 1, "h2": 0, "h3": 0, "h4": 0, "h5": 0, "h6": 0}
    assert found["list_count"] == {"ordered": 1, "unordered": 1}
    assert found["bold_count"] == {"**": 1, "__": 1}
    # tokens of o200k_base: "hello world" is 2, the name of a special token is plain text of 7
    assert [metadata(each)["token_len"] for each in ("", "hello world", "<|endoftext|>")] == [0, 2, 7]


def test_differences_in_style_by_hand():
    # tokens (30 - 10) / 40; headers (3 / 31, 0); lists (0, 2 / 11); bold (31 / 31, 11 / 11)
    found = difference((30, 3, 0, 31), (10, 0, 2, 11))
    assert found == pytest.approx((0.5, (3 / 31) / (3 / 31 + 1), -(2 / 11) / (2 / 11 + 1), 0.0))
    assert difference((0, 0, 0, 0), (0, 0, 0, 0)) == (0.0, 0.0, 0.0, 0.0)
