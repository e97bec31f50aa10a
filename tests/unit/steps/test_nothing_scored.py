import pytest

from larpo_lib.steps.rerank import nothing_scored

DROPPED = {"candidates": 6, "ranked": 0, "too_long_to_score_dropped": 6, "responses_with_thoughts": 6}


@pytest.mark.parametrize(
    ("counts", "why"),
    [
        ({"judge_unread": 6, "judge_too_long": 0}, r" \(judge_unread = 6\)"),
        (
            {"thoughts_unfinished": 2, "ifeval_out_of_time_dropped": 4},
            r" \(th\w+ed = 2, ifeval_out_of_time_dropped = 4\)",
        ),
        ({}, ""),  # as of a classifier, and of a function
    ],
)
def test_what_the_reranker_counts_is_told_where_nothing_is_scored(counts, why):
    with pytest.raises(Exception, match=rf"^none{why}\. Increase the reranker's max_tokens, if"):
        raise nothing_scored("none", {**DROPPED, **counts})
