import copy
import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_models import FAMILIES, user
from transformers import AutoModelForSequenceClassification, LlamaForSequenceClassification, PreTrainedTokenizerFast

from larpo_lib import batches
from larpo_lib.config import ModelConfig
from larpo_lib.models.attention import use_sdpa_in_parts
from larpo_lib.models.device import attention
from larpo_lib.models.layout import PROMPT_SHARING_FAMILIES
from larpo_lib.models.packing import packed_tokens
from larpo_lib.rewards.rerankers import Scorable, make_reranker
from larpo_lib.rewards.rerankers.classifier import ClassifierConfig
from larpo_lib.rewards.rerankers.engines.sharing import can_share, shared_lists, shared_scores, worth_sharing

SHARED = [family for family in FAMILIES if family in PROMPT_SHARING_FAMILIES]
CONVERSATIONS = st.lists(
    st.tuples(st.sampled_from("abc"), st.lists(st.integers(1, 3), min_size=1, max_size=8)), max_size=9
)


def _classifier(family):
    config = copy.deepcopy(FAMILIES[family]())
    config.num_labels = 1
    config.pad_token_id = 0
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config, attn_implementation=attention(ModelConfig(), config))
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, 0, 0.2)
    use_sdpa_in_parts(model)
    return model.eval()


def _conversations():
    """Of four prompts, with one to four responses each; no token is the pad token."""
    draw = random.Random(0)
    sequences, prompts = [], []
    for number, count in enumerate((3, 1, 4, 2)):
        begins = [draw.randrange(2, 20) for _ in range(draw.randrange(5, 12))]
        for _ in range(count):
            sequences.append(begins + [draw.randrange(2, 20) for _ in range(draw.randrange(1, 9))])
            prompts.append(f"p{number}")
    return sequences, prompts


@pytest.mark.parametrize("budget", [10, 60, 4096])
@pytest.mark.parametrize("family", SHARED)
def test_shared_prompts_give_the_models_own_scores(family, budget):
    model = _classifier(family)
    assert can_share(model)
    sequences, prompts = _conversations()
    with torch.no_grad():
        expected = [model(input_ids=torch.tensor([ids])).logits.item() for ids in sequences]
    assert torch.tensor(expected).std() > 0.05
    grouped = shared_lists(sequences, prompts, budget)
    found = shared_scores(model, [item for _, item in grouped], 0, budget)
    scores = {}
    for (places, _), own in zip(grouped, found, strict=True):
        scores.update(zip(places, own, strict=True))
    assert [scores[i] for i in range(len(sequences))] == pytest.approx(expected, abs=1e-5)


def test_other_families_do_not_share():
    model = _classifier("llama")
    model.config.model_type = "granite"
    assert not can_share(model)


@given(CONVERSATIONS, st.integers(1, 30))
def test_every_conversation_is_in_one_list_and_whole(conversations, budget):
    prompts = [prompt for prompt, _ in conversations]
    sequences = [ids for _, ids in conversations]
    grouped = shared_lists(sequences, prompts, budget)
    assert sorted(place for places, _ in grouped for place in places) == list(range(len(sequences)))
    for places, (begins, rests) in grouped:
        assert len({prompts[place] for place in places}) == 1
        assert [begins + rest for rest in rests] == [sequences[place] for place in places]
        assert all(rests)
        assert len(places) == 1 or packed_tokens((begins, [[*rest, 0] for rest in rests])) <= budget


def test_sharing_is_worth_it_by_what_it_saves():
    assert worth_sharing([([5] * 10, [[6] * 5] * 4)])
    assert not worth_sharing([([5], [[6] * 20] * 2)])
    assert not worth_sharing([([5] * 10, [[6] * 5] * 4), ([], [[6]])])  # nothing in common


@pytest.mark.parametrize(("first", "second"), [(95, 45), (45, 95), (75, 45), (95, 25), (25, 95)])
def test_a_stop_takes_no_rewards_of_others_if_batch_tokens_is_changed_behind_it(
    tiny_classifier, tmp_path, monkeypatch, first, second
):
    """Lists are cut by batch_tokens, which is no part of the fingerprint: each number of a list is of others then."""
    items = [
        Scorable(prompt, user(" ".join([prompt, "plus 3 is what ?"] * 3)), f"{i} is {i + 10} plus {i} .")
        for prompt, count in (("2", 8), ("3", 4))
        for i in range(count)
    ]
    model = LlamaForSequenceClassification.from_pretrained(tiny_classifier).eval()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tiny_classifier)
    texts = [f"<user>{item.messages[0]['content']}<assistant>{item.response}<end>" for item in items]
    own = [model(tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids).logits for text in texts]

    def score(batch_tokens):
        config = ClassifierConfig(path=str(tiny_classifier), model=ModelConfig(device="cpu"), batch_tokens=batch_tokens)
        with batches.kept_in(tmp_path / "part.batches", lambda _share: None):
            return make_reranker(config).score(items)

    def stop():
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(batches, "mark", stop)  # the first batch is kept
        with pytest.raises(KeyboardInterrupt):
            score(first)
    assert (tmp_path / "part.batches").stat().st_size
    assert score(second) == pytest.approx([logits.item() for logits in own], abs=1e-5)
