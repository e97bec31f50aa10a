"""A tiny Llama-style policy and its tokenizer, with random weights."""

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from larpo_lib.models.published import write_older_keys

SPECIAL_TOKENS = ("<pad>", "<unk>", "<user>", "<assistant>", "<end>")
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<' + message['role'] + '>' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ '<end>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
)


def make_tokenizer(words: Sequence[str]) -> PreTrainedTokenizerFast:
    """A tokenizer with one token for each of `words`, and a chat template of two roles."""
    vocabulary = {word: i for i, word in enumerate((*SPECIAL_TOKENS, *words))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))  # noqa: S106
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    # Words with spaces between them, but none before a full stop. No word goes on from the one before (prefix).
    tokenizer.decoder = decoders.WordPiece(prefix=" ", cleanup=True)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",  # noqa: S106
        unk_token="<unk>",  # noqa: S106
        eos_token="<end>",  # noqa: S106
        additional_special_tokens=["<user>", "<assistant>"],
        chat_template=CHAT_TEMPLATE,
        padding_side="left",
        model_max_length=8192,
    )


def make_policy(
    directory: Path, words: Sequence[str], seed: int, *, hidden: int = 128, layers: int = 4, heads: int = 4
) -> None:
    """Write a policy with random weights as a Hugging Face directory; the same seed gives the same bytes."""
    write_policy(directory, make_tokenizer(words), seed, hidden=hidden, layers=layers, heads=heads, positions=8192)
    write_older_keys(directory)


def write_policy(
    directory: Path,
    tokenizer: PreTrainedTokenizerFast,
    seed: int,
    *,
    hidden: int,
    layers: int,
    heads: int,
    positions: int,
) -> None:
    """Write a Llama with random weights for a tokenizer, and that, as a Hugging Face directory."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=positions,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=False,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        policy = LlamaForCausalLM(config)
    policy.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
