import torch
from small_models import user

from larpo_lib.config import ModelConfig
from larpo_lib.models.chat import conversation_text, decode, prompt_ids
from larpo_lib.models.model_dir import ModelDir
from larpo_lib.models.turns import turn_end
from larpo_lib.playground.policy import make_policy, make_tokenizer

PLAIN = ModelConfig(device="cpu")


def _bytes(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        torch.rand(3)  # what else was drawn does not matter
        make_policy(tmp_path / name, ["one", "two"], seed, hidden=16, layers=1, heads=2)
    assert _bytes(tmp_path / "a") == _bytes(tmp_path / "b")
    assert _bytes(tmp_path / "a") != _bytes(tmp_path / "c")


def test_making_a_policy_leaves_the_random_state_alone(tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    make_policy(tmp_path, ["one"], 0, hidden=16, layers=1, heads=2)
    assert torch.equal(torch.rand(3), expected)


def test_a_policy_loads_with_one_token_a_word(tmp_path):
    make_policy(tmp_path, ["one", "two"], 0, hidden=16, layers=1, heads=2)
    model, tokenizer = ModelDir(tmp_path, PLAIN).load_policy(), ModelDir(tmp_path, PLAIN).tokenizer
    assert model.config.vocab_size == len(tokenizer) == 7
    ids = prompt_ids(tokenizer, user("one two unheard"))
    assert tokenizer.convert_ids_to_tokens(ids) == ["<user>", "one", "two", "<unk>", "<assistant>"]
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    assert turn_end(tokenizer, ModelDir(tmp_path, PLAIN).stop_ids).token == tokenizer.eos_token_id


def test_conversations_of_several_turns_mark_every_turn():
    messages = [*user("one"), {"role": "assistant", "content": "two"}, *user("one")]
    text = conversation_text(make_tokenizer(["one", "two"]), messages, "two")
    assert text == "<user>one<assistant>two<end><user>one<assistant>two<end>"


def test_words_are_put_together_as_they_are_written() -> None:
    tokenizer = make_tokenizer(("####", "7", "is", ".", "?"))
    text = "7 is 7. #### 7"
    ids = tokenizer(text).input_ids
    assert decode(tokenizer, [*ids, tokenizer.eos_token_id]) == text
