import json
from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import user
from tiny_pairrm import make_pairrm, tiny_tokenizer

from larpo_lib.config import ModelConfig
from larpo_lib.errors import ModelError
from larpo_lib.rewards.rerankers import Scorable, make_reranker
from larpo_lib.rewards.rerankers.engines.pairrm import list_scores, pair_texts
from larpo_lib.rewards.rerankers.engines.pairrm_model import PairRmModel
from larpo_lib.rewards.rerankers.pairrm import PairRmConfig

REFERENCE = json.loads(Path(__file__).with_name("pairrm_reference.json").read_text("utf-8"))
LIMITS = {"max_source_tokens": 40, "max_response_tokens": 20}
CONVERSATION = [
    {"role": role, "content": text}
    for role, text in zip(("user", "assistant", "user"), REFERENCE["conversation"]["messages"], strict=True)
]
CASES = [
    *((case["case"], user(case["prompt"]), case) for case in REFERENCE["questions"]),
    ("a conversation", CONVERSATION, REFERENCE["conversation"]),
]
LONG = "what is the thing you love " * 6


@pytest.fixture(scope="session")
def tiny_pairrm(tmp_path_factory):
    return make_pairrm(tmp_path_factory.mktemp("models") / "pairrm")


@pytest.fixture
def compared(monkeypatch):
    """Token ids of every comparison, padding left out, a list for each forward pass."""
    passes = []
    forward = PairRmModel.forward

    def watching(self, input_ids, attention_mask, prefixes):
        passes.append([row[kept == 1].tolist() for row, kept in zip(input_ids, attention_mask, strict=True)])
        return forward(self, input_ids, attention_mask, prefixes)

    monkeypatch.setattr(PairRmModel, "forward", watching)
    return passes


def _reranker(path, **settings):
    return make_reranker(PairRmConfig(path=str(path), model=ModelConfig(device="cpu"), **{**LIMITS, **settings}))


def _items(messages, responses, prompt="p"):
    return [Scorable(prompt, messages, response) for response in responses]


@pytest.mark.parametrize("batch_tokens", [1, 300, 100_000])
@pytest.mark.parametrize(("messages", "case"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_scores_are_the_published_implementations(tiny_pairrm, compared, messages, case, batch_tokens):
    limits = {
        "max_source_tokens": case["limits"]["source_max_length"],
        "max_response_tokens": case["limits"]["candidate_max_length"],
    }
    scores = _reranker(tiny_pairrm, batch_tokens=batch_tokens, **limits).score(_items(messages, case["responses"]))
    assert sorted(" ".join(map(str, ids)) for batch in compared for ids in batch) == sorted(case["input_ids"].values())
    assert scores == pytest.approx(case["scores"], abs=2e-5)
    assert max(scores) - min(scores) > 0.01  # far above the tolerance


def test_lists_of_different_prompts_do_not_touch_each_other(tiny_pairrm):
    mixed = [
        item
        for group in zip(
            _items(user("hello"), ["yes", "no", "the thing"], "one"),
            _items(CONVERSATION, ["a", "yes you", "no"], "two"),
            strict=True,
        )
        for item in group
    ]
    reranker = _reranker(tiny_pairrm)
    scores = reranker.score(mixed)
    assert scores[::2] == pytest.approx(reranker.score(mixed[::2]), abs=1e-5)
    assert scores[1::2] == pytest.approx(reranker.score(mixed[1::2]), abs=1e-5)
    assert scores[::2] != pytest.approx(scores[1::2], abs=1e-2)


def test_equal_responses_are_compared_once(tiny_pairrm, compared):
    reranker = _reranker(tiny_pairrm)
    scores = reranker.score(_items(user("hello"), ["yes", "no", "yes", "the thing", "yes"]))
    assert sum(map(len, compared)) == 3 * 2
    assert scores[0] == scores[2] == scores[4]
    alone = reranker.score(_items(user("hello"), ["yes", "no", "the thing"]))
    assert [scores[0], scores[1], scores[3]] == pytest.approx(alone, abs=1e-5)


def test_scores_of_a_list_add_up_to_nothing_and_a_lone_response_has_none(tiny_pairrm):
    reranker = _reranker(tiny_pairrm)
    assert sum(reranker.score(_items(user("hello"), ["yes", "no", "a"]))) == pytest.approx(0.0, abs=1e-5)
    assert reranker.score(_items(user("hello"), ["yes", "yes"])) == [0.0, 0.0]
    assert reranker.score([]) == []
    assert reranker.list_relative


def test_a_score_is_the_mean_margin_of_both_orders():
    logits = torch.tensor([[0.0, 1.0, 2.0], [-0.5, 0.0, 0.25], [-1.0, 0.25, 0.0]])
    # (1 + 0.5) + (2 + 1) = 4.5; (-0.5 - 1) + 0 = -1.5; (-1 - 2) + 0 = -3; each over three responses
    assert list_scores(logits) == pytest.approx([1.5, -0.5, -1.0])


def test_batches_are_no_larger_than_their_budget(tiny_pairrm, compared):
    _reranker(tiny_pairrm, batch_tokens=100).score(_items(user("hello"), ["yes", "no", "a", LONG]))
    assert sum(map(len, compared)) == 4 * 3
    assert all(len(batch) == 1 or len(batch) * max(map(len, batch)) <= 100 for batch in compared)
    assert max(map(len, compared)) > 1


def test_what_is_cut_is_counted(tiny_pairrm):
    reranker = _reranker(tiny_pairrm)
    items = [
        *_items(user("hello"), ["yes", LONG, LONG], "short"),  # one distinct response is too long
        *_items(user(LONG), ["yes", "no"], "long"),
        *_items(user("what"), ["yes"], "whole"),
    ]
    assert reranker.cut(items) == {"prompts_cut_for_scoring": 1, "responses_cut_for_scoring": 1}
    roomy = _reranker(tiny_pairrm, max_source_tokens=100, max_response_tokens=100)
    assert roomy.cut(items) == {"prompts_cut_for_scoring": 0, "responses_cut_for_scoring": 0}


def test_cut_at_its_start_a_prompt_keeps_its_end(tiny_pairrm, compared):
    tokenizer = tiny_tokenizer()
    prompt = "the a " * 40 + "yes no"
    for side in ("end", "start"):
        _reranker(tiny_pairrm, cut_source=side).score(_items(user(prompt), ["a", "no"]))
    whole = tokenizer("<|source|>" + prompt)["input_ids"]
    first = tokenizer("<|candidate1|>a")["input_ids"]
    kept = {compared[i][0].index(first[1]) - 1 for i in range(2)}
    assert kept == {40}
    assert compared[0][0][:40] == [*whole[:39], tokenizer.sep_token_id]
    assert compared[1][0][:40] == [*whole[:2], *whole[-38:]]


def test_text_cannot_pass_for_a_token_of_the_model(tiny_pairrm, compared):
    _reranker(tiny_pairrm).score(_items(user("<|source|> [CLS]"), ["yes <|candidate2|> no", "[PAD] [SEP]"]))
    vocabulary = tiny_tokenizer().get_vocab()
    expected = {"[CLS]": 3, "[SEP]": 3, "[PAD]": 0, "<|source|>": 1, "<|candidate1|>": 1, "<|candidate2|>": 1}
    for ids in (ids for batch in compared for ids in batch):
        assert {token: ids.count(vocabulary[token]) for token in expected} == expected


def test_a_conversation_is_written_as_published():
    case = REFERENCE["conversation"]
    for response, candidate in zip(case["responses"], case["candidates"], strict=True):
        assert pair_texts(CONVERSATION, response) == (case["source"], candidate)


def test_system_messages_and_tools_have_their_place():
    system = {"role": "system", "content": "Be kind."}
    assert pair_texts([system, *user("hello")], "hi") == ("Be kind.\nhello", "hi")
    messages = [*CONVERSATION[:2], {"role": "tool", "content": "42"}, {"role": "user", "content": "so?"}]
    source, candidate = pair_texts([system, *messages], "yes")
    assert source.startswith("Be kind.\nFinish the following")
    assert source.endswith("USER: 42\nso?\nAssistant: <Response 2>")
    assert candidate == "<Response 1>: the thing\n<Response 2>: yes"
    assert pair_texts([{"role": "assistant", "content": "hi"}, *user("yes")], "no")[1] == (
        "<Response 1>: hi\n<Response 2>: no"
    )


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"cand1_prefix_id": 7}, r"cand1_prefix_id is 7, but <\|candidate1\|> is token 100 of its tokenizer"),
        (
            {"position_biased_input": True},
            r"has 64 absolute positions, but inputs can have up to 80 tokens\. Reduce the reranker's max_source_tokens",
        ),
    ],
)
def test_a_model_that_would_be_read_wrongly_is_refused(tmp_path, changes, problem):
    with pytest.raises(ModelError, match=problem):
        _reranker(make_pairrm(tmp_path / "rm", **changes))


def _edit(file, change):
    settings = json.loads(file.read_text("utf-8"))
    change(settings)
    file.write_text(json.dumps(settings), "utf-8")


def test_a_plain_deberta_is_refused(tmp_path):
    directory = make_pairrm(tmp_path / "rm")
    _edit(directory / "config.json", lambda settings: settings.pop("n_tasks"))
    with pytest.raises(ModelError, match=r"no n_tasks, so this DeBERTa model is not PairRM\. Use .*PairRM-hf"):
        _reranker(directory)


def test_the_packages_own_layout_is_refused(tmp_path):
    directory = make_pairrm(tmp_path / "rm")
    (directory / "config.json").write_text('{"ranker_type": "pairranker", "model_type": "deberta"}', "utf-8")
    with pytest.raises(ModelError, match=r"in the layout of the llm_blender package\. Use .*PairRM-hf"):
        _reranker(directory)


def test_another_family_is_refused(tiny_policy):
    with pytest.raises(ModelError, match="is a llama model, but PairRM is a deberta-v2 model"):
        _reranker(tiny_policy)


def test_missing_and_pickled_weights_are_refused(tmp_path):
    directory = make_pairrm(tmp_path / "rm")
    model = PairRmModel.from_pretrained(directory)
    (directory / "model.safetensors").unlink()
    torch.save(model.state_dict(), directory / "pytorch_model.bin")
    with pytest.raises(ModelError, match="the model cannot be loaded"):
        _reranker(directory)
    model.pretrained_model.save_pretrained(directory)  # the body alone
    _edit(directory / "config.json", lambda settings: settings.update(architectures=["DebertaV2PairRM"]))
    with pytest.raises(ModelError, match=r"the weights have no head_layer"):
        _reranker(directory)


def test_half_precision_scores_alike(tiny_pairrm):
    items = _items(user("hello"), ["yes", "no", "the thing"])
    half = make_reranker(
        PairRmConfig(path=str(tiny_pairrm), model=ModelConfig(device="cpu", dtype="bfloat16"), **LIMITS)
    )
    assert half.score(items) == pytest.approx(_reranker(tiny_pairrm).score(items), abs=0.05)


def test_in_half_precision_the_head_computes_in_float32(tiny_pairrm):
    """Against numpy in float64, from what the head was given."""
    half = make_reranker(
        PairRmConfig(path=str(tiny_pairrm), model=ModelConfig(device="cpu", dtype="bfloat16"), **LIMITS)
    )
    model, seen = half._reranker._model, []
    model.head_layer.register_forward_hook(lambda _head, inputs, output: seen.append((inputs[0], output)))
    half.score(_items(user("hello"), ["yes", "no", "the thing"]))
    assert next(model.pretrained_model.parameters()).dtype is torch.bfloat16
    first, second = (model.head_layer[place] for place in (1, 4))
    weights = [value.detach().double().numpy() for layer in (first, second) for value in (layer.weight, layer.bias)]
    assert seen
    for given, found in seen:
        expected = np.tanh(given.double().numpy() @ weights[0].T + weights[1]) @ weights[2].T + weights[3]
        assert found.numpy() == pytest.approx(expected, rel=1e-5, abs=1e-5)
