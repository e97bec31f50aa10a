import gzip
import json

import pytest
from small_models import user

from larpo_lib.errors import LarpoError
from larpo_lib.rewards.answers import Scorable
from larpo_lib.rewards.judges import make_judge
from larpo_lib.rewards.judges.verifier import VerifierJudgeConfig

PUBLISHED_ACCURACY = {
    "6b_finetuning": 21.683,
    "6b_verification": 39.045,
    "175b_finetuning": 34.723,
    "175b_verification": 56.255,
}


def _item(response, reference="#### 5"):
    return Scorable("p", user("?"), response, reference)


def test_published_solutions_are_judged_as_published(shared_data):
    with gzip.open(shared_data("gsm8k/example_model_solutions.jsonl.gz"), "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    judge = make_judge(VerifierJudgeConfig())
    for model, accuracy in PUBLISHED_ACCURACY.items():
        judgements = judge.judge([_item(row[model]["solution"], row["ground_truth"]) for row in rows])
        assert judgements == [row[model]["is_correct"] for row in rows]
        assert round(100 * sum(judgements) / len(rows), 3) == accuracy


def test_the_verifier_decides_every_response_in_order():
    judge = make_judge(VerifierJudgeConfig())
    assert judge.judge([_item("#### 55"), _item("so 5"), _item("no number"), _item("")]) == [False, True, False, False]
    assert judge.name == "verifier"


def test_a_reference_without_number_is_refused():
    with pytest.raises(LarpoError, match="prompt p: the verifier needs a reference that contains a number"):
        make_judge(VerifierJudgeConfig()).judge([_item("#### 5", None)])


def test_nobody_judges_unless_asked_to():
    assert make_judge(None) is None


def test_answers_may_be_mathematics():
    judge = make_judge(VerifierJudgeConfig(mode="math"))
    items = [_item(r"\boxed{\sqrt{18}}", r"3\sqrt{2}"), _item(r"\boxed{2\sqrt{3}}", r"3\sqrt{2}"), _item("", "x+1")]
    assert judge.judge(items) == [True, False, False]
    assert judge.name == "verifier-math"
    with pytest.raises(LarpoError, match="the verifier needs a reference with an answer that it can read, not None"):
        judge.judge([_item("5", None)])
