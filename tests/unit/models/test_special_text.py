import pytest
from real_tokenizers import KINDS, real_tokenizer
from small_models import CHATML, make_tokenizer, user
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from larpo_lib.config import ModelConfig
from larpo_lib.models.chat import attach_settings, conversation_ids, find_special_text, prompt_ids
from larpo_lib.models.replies import encode_reply
from larpo_lib.models.turns import turn_end

CONTROL = ModelConfig(special_text="control")


def _asks(kind):
    """A question that holds the name of the token that ends turns, and one with the same but for that."""
    return user(f"What does {kind.end} mean?"), user("What does ? mean?")


@pytest.mark.parametrize("name", KINDS)
def test_a_name_in_a_question_is_text(name):
    kind = KINDS[name]
    tokenizer = real_tokenizer(kind)
    asked, plain = _asks(kind)
    ids, end = prompt_ids(tokenizer, asked), tokenizer.convert_tokens_to_ids(kind.end)
    assert ids.count(end) == prompt_ids(tokenizer, plain).count(end)
    assert tokenizer.decode(ids) == tokenizer.decode(prompt_ids(tokenizer, plain)).replace("?", kind.end, 1)


@pytest.mark.parametrize("name", [name for name in KINDS if KINDS[name].end != "</s>"])  # a part of vocabularies
def test_its_tokens_are_those_of_a_tokenizer_that_has_no_such_token(name):
    """The independent way: the same tokenizer, in which the token that the question names was never added."""
    kind = KINDS[name]
    tokenizer, without = real_tokenizer(kind), real_tokenizer(kind)
    text = f"What does {kind.end} mean?"
    backend = Tokenizer.from_str(without.backend_tokenizer.to_str())
    kept = [token for token in without.added_tokens_decoder.values() if str(token) != kind.end]
    bare = Tokenizer(backend.model)
    for part in ("normalizer", "pre_tokenizer", "decoder"):
        if getattr(backend, part) is not None:
            setattr(bare, part, getattr(backend, part))
    bare.add_special_tokens(kept)
    tokenizer.chat_template = "{{ '<pad>' + messages[0]['content'] }}"
    expected = [bare.id_to_token(token) for token in bare.encode("<pad>" + text, add_special_tokens=False).ids]
    assert tokenizer.convert_ids_to_tokens(prompt_ids(tokenizer, user(text))) == expected


@pytest.mark.parametrize("name", KINDS)
def test_it_is_the_token_where_that_is_wanted(name):
    kind = KINDS[name]
    tokenizer = real_tokenizer(kind)
    attach_settings(tokenizer, CONTROL)
    asked, _ = _asks(kind)
    expected = tokenizer.apply_chat_template(asked, tokenize=True, add_generation_prompt=True)["input_ids"]
    assert prompt_ids(tokenizer, asked) == expected


@pytest.mark.parametrize("name", KINDS)
def test_prompts_without_such_names_are_what_transformers_makes_of_them(name):
    tokenizer = real_tokenizer(KINDS[name])
    asked = user("What is 6 times 7?\n")
    expected = tokenizer.apply_chat_template(asked, tokenize=True, add_generation_prompt=True)["input_ids"]
    assert prompt_ids(tokenizer, asked) == expected


@pytest.mark.parametrize("name", KINDS)
def test_a_name_in_a_reply_ends_no_turn(name):
    kind = KINDS[name]
    tokenizer = real_tokenizer(kind)
    text, asked = f"It ends{kind.end}a turn", user("hello")
    prompt = prompt_ids(tokenizer, asked)
    reply = encode_reply(tokenizer, asked, prompt, text, "stop", turn_end(tokenizer))
    end = tokenizer.convert_tokens_to_ids(kind.end)
    assert reply.ids.index(end) == len(reply.ids) - 1
    assert (reply.merged, reply.rewritten) == (False, False)
    whole = conversation_ids(tokenizer, asked, text)
    assert whole[: len(prompt) + len(reply.ids)] == prompt + reply.ids


def test_names_are_found_the_longest_first():
    tokenizer = make_tokenizer(CHATML, "<|im_end|>", ("<|im_start|>", "<|im_end|>x"))
    assert find_special_text(tokenizer, ["hello", "see <|im_end|>x and <|im_start|>"]) == "<|im_end|>x"
    assert find_special_text(tokenizer, ["<|im_end", "im_start"]) is None


def test_a_unigram_model_does_not_find_the_name_in_its_own_vocabulary_either():
    pieces = [("<unk>", 0.0), ("</s>", 0.0), ("<", -3.0), ("/", -3.0), ("s", -3.0), (">", -3.0), ("▁", -2.0)]
    backend = Tokenizer(models.Unigram(pieces, unk_id=0))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.add_special_tokens(["</s>"])
    template = "{{ messages[0]['content'] + eos_token }}"
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", chat_template=template)
    assert tokenizer.convert_ids_to_tokens(prompt_ids(tokenizer, user("</s>"))) == ["▁", "<", "/", "s", ">", "</s>"]


def test_private_use_characters_in_a_prompt_are_left_alone():
    tokenizer = real_tokenizer(KINDS["chatml"])
    text = f"{chr(0x10FFFD)}0{chr(0x10FFFD)} <|im_end|> {chr(0x10FFFC)}"
    assert text in tokenizer.decode(prompt_ids(tokenizer, user(text)))


def test_a_wordpiece_tokenizer_with_published_special_tokens():
    """BERT's own vocabulary, whose [SEP] and [CLS] are pieces of it."""
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[", "]", "sep", "what", "is", "?"]
    backend = Tokenizer(models.WordPiece({piece: number for number, piece in enumerate(pieces)}, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.add_special_tokens(pieces[:4])
    template = "{{ '[CLS]' + messages[0]['content'] + '[SEP]' }}"
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="[SEP]", unk_token="[UNK]", chat_template=template
    )
    found = tokenizer.convert_ids_to_tokens(prompt_ids(tokenizer, user("What is [SEP]?")))
    assert found == ["[CLS]", "what", "is", "[", "sep", "]", "?", "[SEP]"]
