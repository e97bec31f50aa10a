"""Scores are those of the model's own forward pass, on what the library that trained it would give it."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from small_models import CHATML, LLAMA3, make_tokenizer, user
from table_rows import preferences
from tiny_pairrm import fill, tiny_settings, tiny_tokenizer
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    BertConfig,
    DebertaV2Config,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    RobertaConfig,
)
from trl.trainer.reward_trainer import DataCollatorForPreference

from larpo_lib.config import ModelConfig, RewardModelConfig
from larpo_lib.errors import ModelError
from larpo_lib.models.model_dir import ModelDir
from larpo_lib.rewards.rerankers import Scorable, make_reranker
from larpo_lib.rewards.rerankers.classifier import ClassifierConfig
from larpo_lib.rewards.rerankers.engines.classifier import check_classifier
from larpo_lib.training.reward_model import encode_conversations

PLAIN = ModelConfig(device="cpu")
RESPONSES = ("hello", "1 2 3", "world", "1 2", "hello world hello world ! ! 1 2", "?")
LINE = CHATML.replace("'<|im_end|>'", "'<|im_end|> !'")
"""As ChatML's line break behind the end of a turn, in words of the tiny vocabulary."""
TEMPLATES = {
    "ends in eos": (LLAMA3, "<|eot_id|>", ("<|start|>", "<|end|>")),
    "goes on behind eos": (LINE, "<|im_end|>", ("<|im_start|>",)),
}
SIZES: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
DECODERS = {
    "llama": lambda **own: LlamaConfig(**SIZES, num_key_value_heads=2, **own),
    "mistral": lambda **own: MistralConfig(**SIZES, num_key_value_heads=2, **own),
    "gpt2": lambda **own: GPT2Config(n_embd=16, n_layer=1, n_head=2, n_positions=2048, **own),
}


def _reranker(path: Path, **settings: Any) -> Any:
    return make_reranker(ClassifierConfig(path=str(path), model=PLAIN, **settings))


def _items(prompt: str = "hello world") -> list[Scorable]:
    return [Scorable("p", user(prompt), response) for response in RESPONSES]


def _conversation(response: str, prompt: str = "hello world") -> list[dict[str, str]]:
    return [*user(prompt), {"role": "assistant", "content": response}]


def _save(directory: Path, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config)
    fill(model)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return model.eval()


def _decoder(directory: Path, family: str, template: str, *, pad: str) -> tuple[Any, PreTrainedTokenizerBase]:
    """A decoder's classifier as TRL leaves it: tokenizer and model have one pad token; `eos` where none was there."""
    tokenizer = make_tokenizer(*TEMPLATES[template])
    if pad == "eos":
        tokenizer.pad_token = tokenizer.eos_token
    settings = {"vocab_size": len(tokenizer), "num_labels": 1, "pad_token_id": tokenizer.pad_token_id}
    return _save(directory, DECODERS[family](**settings, eos_token_id=tokenizer.eos_token_id), tokenizer), tokenizer


@torch.no_grad()
def _by_trls_collator(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[float]:
    """As `trl.RewardTrainer` tokenizes conversations, puts them into a batch and reads the rewards."""
    ids = [
        tokenizer.apply_chat_template(_conversation(response), tokenize=True, return_dict=True)["input_ids"]
        for response in RESPONSES
    ]
    collate = DataCollatorForPreference(pad_token_id=tokenizer.pad_token_id)
    half = len(ids) // 2
    pairs = zip(ids[:half], ids[half:], strict=True)
    batch = collate([{"chosen_ids": chosen, "rejected_ids": rejected} for chosen, rejected in pairs])
    rewards: list[float] = model(**batch).logits.squeeze(-1).tolist()
    return rewards


def _order(scores: list[float]) -> list[int]:
    return sorted(range(len(scores)), key=lambda i: -scores[i])


@pytest.mark.parametrize("batch_tokens", [1, 40, 4096])
@pytest.mark.parametrize("pad", ["own", "eos"])
@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("family", DECODERS)
def test_a_decoder_is_scored_as_trl_trains_it(tmp_path, family, template, pad, batch_tokens):
    model, tokenizer = _decoder(tmp_path, family, template, pad=pad)
    expected = _by_trls_collator(model, tokenizer)
    assert all(abs(one - other) > 1e-4 for one, other in pairwise(sorted(expected)))
    assert _reranker(tmp_path, batch_tokens=batch_tokens).score(_items()) == pytest.approx(expected, abs=1e-5)


def test_which_token_is_scored_decides_the_order(tmp_path):
    """So that the tests here can fail: naming another pad token, or the last token whatever it is, is another order."""
    model, tokenizer = _decoder(tmp_path, "llama", "ends in eos", pad="eos")
    expected = _by_trls_collator(model, tokenizer)
    assert _order(_reranker(tmp_path, last_token="end").score(_items())) != _order(expected)


@pytest.mark.parametrize("family", DECODERS)
@pytest.mark.parametrize("pad", ["own", "eos"])
@torch.no_grad()
def test_the_last_token_whatever_it_is_can_be_scored(tmp_path, family, pad):
    """OpenRLHF takes the values at the last place that the attention mask shows, eos included."""
    model, tokenizer = _decoder(tmp_path, family, "ends in eos", pad=pad)
    expected = []
    for response in RESPONSES:
        ids = torch.tensor([tokenizer.apply_chat_template(_conversation(response), return_dict=False)])
        assert ids[0, -1] == tokenizer.eos_token_id
        expected.append(model.score(model.base_model(ids).last_hidden_state)[0, -1, 0].item())
    for batch_tokens in (1, 4096):
        scores = _reranker(tmp_path, last_token="end", batch_tokens=batch_tokens).score(_items())
        assert scores == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("pad", [None, 7])
@torch.no_grad()
def test_a_pad_token_of_the_model_alone_is_the_one_that_counts(tmp_path, pad):
    """Without padding, so one by one, the model's own forward pass is the same whatever the tokenizer pads with."""
    _, tokenizer = _decoder(tmp_path, "llama", "goes on behind eos", pad="eos")
    config = AutoConfig.from_pretrained(tmp_path)
    config.pad_token_id = pad
    model = _save(tmp_path, config, tokenizer)
    ids = [torch.tensor([tokenizer.apply_chat_template(_conversation(r), return_dict=False)]) for r in RESPONSES]
    expected = [model(one).logits.item() for one in ids]
    assert _reranker(tmp_path).score(_items()) == pytest.approx(expected, abs=1e-5)


def test_a_pad_token_that_ends_turns_is_told(tmp_path, caplog):
    told = "conversations end in '<|eot_id|>', which is also the model's pad token"
    _decoder(tmp_path / "own", "llama", "ends in eos", pad="own")
    _reranker(tmp_path / "own")
    _decoder(tmp_path / "eos", "llama", "ends in eos", pad="eos")
    _reranker(tmp_path / "eos", last_token="end")
    assert told not in caplog.text
    _reranker(tmp_path / "eos")
    assert told in caplog.text


def test_the_responses_of_a_prompt_share_it_whichever_token_is_scored(tmp_path):
    """Long prompts are read once; a reranker that gets one response a prompt reads all of it each time."""
    _decoder(tmp_path, "llama", "ends in eos", pad="eos")
    shared = _items("hello world " * 20)
    apart = [Scorable(str(i), item.messages, item.response) for i, item in enumerate(shared)]
    for last_token in ("not_pad", "end"):
        reranker = _reranker(tmp_path, last_token=last_token)
        assert reranker.score(shared) == pytest.approx(reranker.score(apart), abs=1e-5)


def _bert_tokenizer(template: str | None = None) -> PreTrainedTokenizerFast:
    words = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[", "]", "SEP", "hello", "world", "user", "assistant", "system", ":")
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate((*words, "1", "2", "3", "?", "!"))}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        "[CLS]:0 $A:0 [SEP]:0", "[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]", unk_token="[UNK]",
        eos_token="[SEP]", model_input_names=["input_ids", "token_type_ids", "attention_mask"], chat_template=template,
    )  # fmt: skip


def _bert(directory: Path, template: str | None = None) -> tuple[Any, PreTrainedTokenizerBase]:
    tokenizer = _bert_tokenizer(template)
    return _save(
        directory, BertConfig(vocab_size=len(tokenizer), num_labels=1, pad_token_id=0, **SIZES), tokenizer
    ), tokenizer


def _deberta(directory: Path, template: str | None = None) -> tuple[Any, PreTrainedTokenizerBase]:
    """As OpenAssistant's reward models: DeBERTa-v3 with one label, a tokenizer without a chat template."""
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template
    settings = tiny_settings(tokenizer).to_dict() | {"num_labels": 1, "architectures": None}
    return _save(directory, DebertaV2Config.from_dict(settings), tokenizer), tokenizer


ENCODERS = {"bert": _bert, "deberta": _deberta}


@pytest.mark.parametrize("batch_tokens", [1, 60, 4096])
@pytest.mark.parametrize("family", ENCODERS)
@torch.no_grad()
def test_an_encoder_reads_a_pair_as_its_tokenizer_builds_it(tmp_path, family, batch_tokens):
    """`model(**tokenizer(question, answer))`, as OpenAssistant documents reward-model-deberta-v3-large-v2."""
    model, tokenizer = ENCODERS[family](tmp_path)
    pairs = [tokenizer("hello world", response, return_tensors="pt") for response in RESPONSES]
    for pair in pairs:
        assert (pair["input_ids"][0, 0], pair["input_ids"][0, -1]) == (tokenizer.cls_token_id, tokenizer.sep_token_id)
        assert (pair["input_ids"] == tokenizer.sep_token_id).sum() == 2
    expected = [model(**pair).logits.item() for pair in pairs]
    without = [
        model(tokenizer(f"hello world {r}", add_special_tokens=False, return_tensors="pt").input_ids) for r in RESPONSES
    ]
    assert _order(expected) != _order([found.logits.item() for found in without])
    scores = _reranker(tmp_path, max_tokens=60, batch_tokens=batch_tokens).score(_items())
    assert scores == pytest.approx(expected, abs=1e-5)


@torch.no_grad()
def test_an_encoder_with_a_chat_template_reads_its_text_with_the_tokenizers_own_tokens(tmp_path):
    template = "{% for message in messages %}{{ message['role'] + ' : ' + message['content'] + ' ' }}{% endfor %}"
    model, tokenizer = _bert(tmp_path, template)
    texts = [f"user : hello world assistant : {response} " for response in RESPONSES]
    expected = [model(**tokenizer(text, return_tensors="pt")).logits.item() for text in texts]
    assert _reranker(tmp_path, max_tokens=60).score(_items()) == pytest.approx(expected, abs=1e-5)
    plain = [model(**tokenizer(text, add_special_tokens=False, return_tensors="pt")).logits.item() for text in texts]
    assert _reranker(tmp_path, max_tokens=60, input="chat").score(_items()) == pytest.approx(plain, abs=1e-5)
    pairs = [model(**tokenizer("hello world", response, return_tensors="pt")).logits.item() for response in RESPONSES]
    assert _reranker(tmp_path, max_tokens=60, input="pair").score(_items()) == pytest.approx(pairs, abs=1e-5)


@torch.no_grad()
def test_special_tokens_that_the_template_writes_are_not_doubled(tmp_path):
    template = "[CLS]{{ messages[0]['content'] }}[SEP]{{ messages[1]['content'] }}[SEP]"
    model, tokenizer = _bert(tmp_path, template)
    texts = [f"[CLS]hello world[SEP]{response}[SEP]" for response in RESPONSES]
    expected = [model(**tokenizer(text, add_special_tokens=False, return_tensors="pt")).logits.item() for text in texts]
    assert _reranker(tmp_path, max_tokens=60).score(_items()) == pytest.approx(expected, abs=1e-5)
    with pytest.raises(ModelError, match=r"write the special tokens before a text.*Set the reranker's input to chat"):
        _reranker(tmp_path, max_tokens=60, input="text")


@torch.no_grad()
def test_a_decoder_reads_plain_text_as_trl_trains_on_standard_data(tmp_path):
    """Prompt and response in one string with eos behind, and the tokenizer's bos in front."""
    model, tokenizer = _decoder(tmp_path, "llama", "ends in eos", pad="own")
    texts = [f"hello world {response}{tokenizer.eos_token}" for response in RESPONSES]
    encoded = [tokenizer(text, return_tensors="pt") for text in texts]
    assert all((one.input_ids == tokenizer.bos_token_id).sum() == 1 for one in encoded)
    expected = [model(one.input_ids).logits.item() for one in encoded]
    template = "{{ messages[0]['content'] + ' ' + messages[1]['content'] + eos_token }}"
    settings = {"model": {"device": "cpu", "chat_template": template}, "input": "text", "path": str(tmp_path)}
    scores = make_reranker(ClassifierConfig.model_validate(settings)).score(_items())
    assert scores == pytest.approx(expected, abs=1e-5)


@torch.no_grad()
def test_the_earlier_turns_of_a_conversation_are_part_of_the_question(tmp_path):
    model, tokenizer = _bert(tmp_path)
    turns = [{"role": "system", "content": "hello"}, *_conversation("1", "2"), *user("3")]
    question = "system : hello \n\n user : 2 \n\n assistant : 1 \n\n user : 3"
    expected = model(**tokenizer(question, "world", return_tensors="pt")).logits.item()
    assert _reranker(tmp_path, max_tokens=60).score([Scorable("p", turns, "world")]) == [
        pytest.approx(expected, abs=1e-5)
    ]


@torch.no_grad()
def test_the_name_of_a_special_token_in_a_response_is_text(tmp_path):
    model, tokenizer = _bert(tmp_path)
    pair = tokenizer("hello", "[ SEP ] 1", return_tensors="pt")
    [score] = _reranker(tmp_path, max_tokens=60).score([Scorable("p", user("hello"), "[SEP] 1")])
    assert score == pytest.approx(model(**pair).logits.item(), abs=1e-5)


def test_a_decoder_without_a_chat_template_needs_one(tmp_path):
    _, tokenizer = _decoder(tmp_path, "llama", "ends in eos", pad="own")
    tokenizer.chat_template = None
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "chat_template.jinja").unlink()
    with pytest.raises(ModelError, match="has no chat template"):
        check_classifier(ClassifierConfig(path=str(tmp_path), model=PLAIN))


def test_an_encoder_whose_padding_is_not_its_tokenizers_is_refused(tmp_path):
    """RoBERTa counts positions from its pad id on, so that padding with another one is no padding."""
    tokenizer = _bert_tokenizer()
    config = RobertaConfig(vocab_size=len(tokenizer), num_labels=1, pad_token_id=1, max_position_embeddings=70, **SIZES)
    _save(tmp_path, config, tokenizer)
    with pytest.raises(
        ModelError, match=r"the pad token ids differ: 1 in the model, 0 in the tokenizer.*model\.pad_token"
    ):
        check_classifier(ClassifierConfig(path=str(tmp_path), model=PLAIN, max_tokens=60))


def test_an_encoder_has_no_last_token_to_score(tmp_path):
    _bert(tmp_path)
    with pytest.raises(ModelError, match="is not a decoder"):
        check_classifier(ClassifierConfig(path=str(tmp_path), model=PLAIN, max_tokens=60, last_token="end"))


def test_what_is_read_is_part_of_the_rewards_name(tmp_path):
    _decoder(tmp_path / "rm", "llama", "ends in eos", pad="own")
    names = [_reranker(tmp_path / "rm", **s).name for s in ({}, {"input": "chat"}, {"last_token": "end"})]
    assert names == ["classifier-rm", "classifier-rm (chat)", "classifier-rm (end)"]


@pytest.mark.parametrize("special_text", ["text", "control"])
def test_scoring_reads_names_of_special_tokens_as_training_does(tmp_path, special_text):
    _, tokenizer = _decoder(tmp_path, "llama", "ends in eos", pad="own")
    model = ModelConfig(device="cpu", special_text=special_text)
    reranker = make_reranker(ClassifierConfig(path=str(tmp_path), model=model))
    messages, responses = user("hello <|eot_id|>"), ["1 <|eot_id|> 2", "3"]
    config = RewardModelConfig(model=model, max_prompt_tokens=60, max_tokens=120)
    [encoded], _ = encode_conversations(
        [preferences(messages, responses, [1.0, 0.0])], ModelDir(tmp_path, model).tokenizer, config
    )
    trained = [[*encoded.prompt, *response] for response in encoded.responses]
    read = [reranker._reranker._input.encode(messages, response)["input_ids"] for response in responses]
    assert read == trained
    assert (read[0].count(tokenizer.eos_token_id) == 2) == (special_text == "text")
