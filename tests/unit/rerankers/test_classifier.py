from __future__ import annotations

import random

import pytest
import torch
from small_models import make_classifier, user
from transformers import LlamaForSequenceClassification, PreTrainedTokenizerFast

from larpo_lib.config import ClassifierConfig, ModelConfig
from larpo_lib.errors import ModelError
from larpo_lib.playground.problems import demonstrate, make_problems
from larpo_lib.rerankers import Scorable, make_reranker

PLAIN = ModelConfig(device="cpu")
END = 4


def _reranker(path, **settings):
    return make_reranker(ClassifierConfig(path=str(path), model=PLAIN, **settings))


def _items(count):
    rng = random.Random(0)
    problems = make_problems(count, rng)
    return [Scorable(f"p{i}", user(p.question), demonstrate(p, rng)) for i, p in enumerate(problems)]


@pytest.fixture
def scored_rows(monkeypatch):
    """How many rows each forward pass of a classifier had."""
    rows = []
    forward = LlamaForSequenceClassification.forward

    def counting(self, input_ids, **options):
        rows.append(len(input_ids))
        return forward(self, input_ids=input_ids, **options)

    monkeypatch.setattr(LlamaForSequenceClassification, "forward", counting)
    return rows


def test_scores_are_the_models_own_one_by_one(tiny_classifier):
    items = _items(20)
    model = LlamaForSequenceClassification.from_pretrained(tiny_classifier).eval()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tiny_classifier)
    expected = []
    for item in items:
        text = f"<user>{item.messages[0]['content']}<assistant>{item.response}<end>"
        ids = tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids
        assert ids[0, -1] == END
        expected.append(model(ids).logits.item())
    assert torch.tensor(expected).std() > 0.1
    for batch_tokens in (1, 30, 4096):
        assert _reranker(tiny_classifier, batch_tokens=batch_tokens).score(items) == pytest.approx(expected, abs=1e-5)


def test_the_order_of_items_does_not_matter(tiny_classifier):
    items = _items(12)
    reranker = _reranker(tiny_classifier, batch_tokens=40)
    assert reranker.score(items[::-1]) == reranker.score(items)[::-1]


def test_equal_conversations_are_scored_once(tiny_classifier, scored_rows):
    one, other = _items(2)
    again = Scorable("another id", one.messages, one.response)
    scores = _reranker(tiny_classifier).score([one, other, again, one])
    assert sum(scored_rows) == 2
    assert scores[0] == scores[2] == scores[3] != scores[1]


def test_batches_are_no_larger_than_their_limit(tiny_classifier, scored_rows):
    same = [Scorable(f"p{i}", user("How"), f"many {word}") for i, word in enumerate(("are", "is", "do", "does", "in"))]
    longest = len(["<user>", "How", "<assistant>", "many", "are", "<end>"])
    _reranker(tiny_classifier, batch_tokens=2 * longest).score(same)
    assert sum(scored_rows) == 5
    assert max(scored_rows) == 2


def test_too_long_conversations_are_not_scored(tiny_classifier):
    short, long = Scorable("p", user("How"), "many"), Scorable("p", user("How"), "many " * 20)
    fitting = len(["<user>", "How", "<assistant>", "many", "<end>"])
    reranker = _reranker(tiny_classifier, max_tokens=fitting)
    scores = reranker.score([long, short])
    assert scores[0] is None
    assert scores[1] == pytest.approx(_reranker(tiny_classifier).score([short])[0])
    assert _reranker(tiny_classifier, max_tokens=fitting - 1).score([long, short]) == [None, None]


def test_nothing_to_score_gives_no_scores(tiny_classifier):
    assert _reranker(tiny_classifier).score([]) == []


def test_the_name_is_the_directorys(tiny_classifier):
    assert _reranker(tiny_classifier).name == "classifier-classifier"
    assert not _reranker(tiny_classifier).list_relative


def test_several_labels_are_refused(tiny_policy, tmp_path):
    make_classifier(tmp_path / "rm", tiny_policy, labels=3)
    with pytest.raises(ModelError, match="rm: has 3 labels; a reward model has one"):
        _reranker(tmp_path / "rm")


def test_different_pad_tokens_of_model_and_tokenizer_are_refused(tiny_policy, tmp_path):
    make_classifier(tmp_path / "rm", tiny_policy, pad=7)
    with pytest.raises(ModelError, match=r"model 7, tokenizer 0, end of sequence 4; the wrong token would be scored"):
        _reranker(tmp_path / "rm")


def test_a_pad_token_that_is_also_eos_is_refused(tiny_policy, tmp_path):
    make_classifier(tmp_path / "rm", tiny_policy, pad=END)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tmp_path / "rm")
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(tmp_path / "rm")
    with pytest.raises(ModelError, match="one that is not the eos token"):
        _reranker(tmp_path / "rm")


def test_a_model_without_a_scoring_head_is_refused(tiny_policy):
    with pytest.raises(ModelError, match=r"the weights lack score.weight"):
        _reranker(tiny_policy)
