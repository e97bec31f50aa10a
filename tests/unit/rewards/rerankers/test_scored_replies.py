"""Responses of models that think first: what rerankers get of them."""

from typing import Any

import pytest
from server_double import Reply, serve
from small_models import user
from tiny_pairrm import make_pairrm

from larpo_lib.config import ModelConfig
from larpo_lib.rewards.judges import make_judge
from larpo_lib.rewards.judges.verifier import VerifierJudgeConfig
from larpo_lib.rewards.rerankers import Scorable, make_reranker
from larpo_lib.rewards.rerankers.classifier import ClassifierConfig
from larpo_lib.rewards.rerankers.ensemble import EnsembleConfig, EnsembleMember
from larpo_lib.rewards.rerankers.http import HttpRerankerConfig
from larpo_lib.rewards.rerankers.pairrm import PairRmConfig
from larpo_lib.rewards.rerankers.verifier import VerifierConfig

PLAIN = ModelConfig(device="cpu")
THOUGHT = "<think>\n3 + 4 = 7\n</think>\n\nBen has 7 ."
BEGUN = "3 + 4 = 7\n</think>\n\nBen has 7 ."
"""Of a policy whose chat template opens <think> in the prompt."""
REPLY = "Ben has 7 ."
CUT = "<think>\n3 + 4 = 7 Ben has"


def _items(*responses: str, reference: str | None = None) -> list[Scorable]:
    return [Scorable("p", user("How many ?"), response, reference) for response in responses]


def test_a_classifier_reads_the_reply_without_its_thoughts(tiny_classifier):
    reranker = make_reranker(ClassifierConfig(path=str(tiny_classifier), model=PLAIN))
    plain = reranker.score(_items(REPLY, ""))
    assert plain[0] != plain[1]
    assert reranker.score(_items(THOUGHT, BEGUN, CUT)) == pytest.approx([plain[0], plain[0], plain[1]], abs=1e-5)
    assert reranker.name == "classifier-classifier"


def test_a_classifier_that_keeps_thoughts_reads_whole_blocks(tiny_classifier):
    kept = make_reranker(ClassifierConfig(path=str(tiny_classifier), model=PLAIN, thinking="keep"))
    scores = kept.score(_items(THOUGHT, BEGUN, CUT, REPLY))
    assert scores[0] == pytest.approx(scores[1], abs=1e-5)
    assert len({round(score, 4) for score in scores}) == 3
    text = kept._reranker._input.source(user("How many ?"), kept._seen(_items(BEGUN))[0].response)
    assert text == (f"<user>How many ?<assistant>{THOUGHT}<end>",)
    assert kept.name == "classifier-classifier with thoughts"


@pytest.mark.parametrize("thinking", ["strip", "keep"])
@pytest.mark.parametrize("api", ["vllm_pooling", "vllm_score", "tei_rerank"])
def test_a_server_is_sent_what_is_to_be_read(api, thinking):
    sent: list[str] = []

    def server(asked: Any) -> Reply:
        if asked.path in ("/info", "/v1/models"):
            return Reply({"model_id": "rm", "data": []})
        payload = asked.payload
        texts = payload.get("texts") or payload.get("text_2") or [payload.get("messages", [{}])[-1].get("content")]
        sent.extend(texts)
        ranks = [{"index": i, "score": 1.0} for i in range(len(texts))]
        if api == "tei_rerank":
            return Reply(ranks)
        return Reply({"data": ranks if api == "vllm_score" else [{"index": 0, "data": [1.0]}]})

    with serve(server) as running:
        settings = {"base_url": running.url, "api": api, "thinking": thinking}
        reranker = make_reranker(HttpRerankerConfig.model_validate(settings))
        assert reranker.score(_items(BEGUN, CUT)) == [1.0, 1.0]
    assert sorted(sent) == sorted([REPLY, ""] if thinking == "strip" else [THOUGHT, CUT])


def test_pairrm_compares_replies(tmp_path):
    reranker = make_reranker(PairRmConfig(path=str(make_pairrm(tmp_path)), model=PLAIN, max_response_tokens=24))
    others = ("hello", "you love the")
    assert reranker.score(_items(THOUGHT, *others)) == pytest.approx(reranker.score(_items(REPLY, *others)), abs=1e-5)
    assert reranker.cut(_items(THOUGHT * 9, *others)) == reranker.cut(_items(REPLY, *others))


def test_the_verifier_reads_the_answer_behind_the_thoughts():
    exact = make_reranker(VerifierConfig(mode="exact"))
    responses = ["<think>#### 7</think>\n8", "<think>#### 8</think>\n7", "#### 8\n</think>\n7", "<think>\n#### 7"]
    assert exact.score(_items(*responses, reference="#### 7")) == [0.0, 1.0, 1.0, 0.0]
    judge = make_judge(VerifierJudgeConfig())
    assert judge is not None
    assert judge.judge(_items(*responses, reference="#### 7")) == [False, True, True, False]
    graded = make_reranker(VerifierConfig())
    [score] = graded.score(_items("<think>3 + 4 = 7</think>\n3 + 4 = 8 #### 7", reference="#### 7"))
    assert score == pytest.approx(0.6 + 0.1)  # the equation of the thoughts is none of the reply's


def test_every_member_of_an_ensemble_reads_as_it_is_set(tiny_classifier):
    path = str(tiny_classifier)
    single = [ClassifierConfig(path=path, model=PLAIN), ClassifierConfig(path=path, model=PLAIN, thinking="keep")]
    items = _items(THOUGHT, REPLY, "7")
    stripped, kept = (make_reranker(config).score(items) for config in single)
    members = tuple(EnsembleMember(reranker=config, mean=0.0, std=1.0) for config in single)
    total = make_reranker(EnsembleConfig(members=members)).score(items)
    assert total == pytest.approx([one + other for one, other in zip(stripped, kept, strict=True)], abs=1e-5)
