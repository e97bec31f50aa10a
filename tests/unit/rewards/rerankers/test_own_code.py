"""Classifiers with code of their own, which `trust_remote_code` allows."""

import json
import shutil

import pytest
import torch
from small_models import user
from transformers import LlamaForSequenceClassification, PreTrainedTokenizerFast

from larpo_lib.config import ModelConfig
from larpo_lib.errors import ModelError
from larpo_lib.rewards.rerankers import Scorable, make_reranker
from larpo_lib.rewards.rerankers.classifier import ClassifierConfig

CODE = """
from transformers import LlamaForSequenceClassification

class Bounded(LlamaForSequenceClassification):
    def forward(self, *arguments, **options):
        found = super().forward(*arguments, **options)
        found.logits = found.logits.sigmoid() * 10 - 5
        return {returned}
"""


@pytest.fixture
def own(tiny_classifier, tmp_path, monkeypatch):
    """Of a classifier, one that scores from -5 to 5 and returns what is asked for."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))

    def make(name, returned):
        copy = tmp_path / name
        shutil.copytree(tiny_classifier, copy)
        (copy / "bounded.py").write_text(CODE.format(returned=returned))
        settings = json.loads((copy / "config.json").read_text())
        auto_map = {"AutoModelForSequenceClassification": "bounded.Bounded"}
        (copy / "config.json").write_text(json.dumps(settings | {"auto_map": auto_map}))
        model = ModelConfig(device="cpu", trust_remote_code=True)
        return make_reranker(ClassifierConfig(path=str(copy), model=model))

    return make


ITEMS = [Scorable("p", user("2 plus 3 is what ? " * 4), f"{i} is {i + 10} plus {i} .") for i in range(6)]


def test_the_models_own_forward_pass_scores_also_responses_to_one_prompt(own, tiny_classifier):
    model = LlamaForSequenceClassification.from_pretrained(tiny_classifier).eval()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tiny_classifier)
    texts = [f"<user>{item.messages[0]['content']}<assistant>{item.response}<end>" for item in ITEMS]
    with torch.no_grad():
        own_scores = [model(**tokenizer(text, add_special_tokens=False, return_tensors="pt")) for text in texts]
    expected = [10 / (1 + torch.exp(-found.logits).item()) - 5 for found in own_scores]
    reranker = own("bounded_together", "found")
    assert reranker.score(ITEMS) == pytest.approx(expected, abs=1e-4)
    assert [reranker.score([item])[0] for item in ITEMS] == pytest.approx(expected, abs=1e-4)


def test_a_model_that_returns_no_logits_by_name_is_refused(own):
    with pytest.raises(ModelError, match=r"Bounded returns a tuple without logits\. Let its forward return"):
        own("bounded_tuple", "(found.logits,)").score(ITEMS)
