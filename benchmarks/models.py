"""Policies with random weights, and a tokenizer that turns words back into the token ids of `workloads`."""

import copy
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE, WordLevel
from tokenizers.pre_tokenizers import ByteLevel, WhitespaceSplit
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from benchmarks.workloads import END_ID, FIRST_WORD_ID, PAD_ID

PAD, END = "<pad>", "</s>"


@dataclass(frozen=True)
class Size:
    """The shape of a Llama model, and the precision of its weights on a GPU."""

    vocabulary: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    intermediate: int
    gpu_weights: torch.dtype = torch.float32
    gradient_checkpointing: bool = False


# The output layer of `small` is a quarter of the parameters that do work, as in models of one to two billion.
SIZES = {
    "tiny": Size(512, 64, 2, 4, 2, 192),
    "small": Size(8_192, 256, 8, 4, 2, 768),
    "wide": Size(262_144, 64, 2, 4, 2, 192),
    "1b": Size(128_256, 2_048, 16, 32, 8, 8_192),
    "8b": Size(128_256, 4_096, 32, 32, 8, 14_336, torch.bfloat16, gradient_checkpointing=True),
}
"""`tiny` for trials, `small` for speed and `wide` for memory on a CPU; `1b` and `8b` have the shapes of Llama 3."""


def random_policy(size: Size, seed: int, device: str) -> PreTrainedModel:
    """A Llama with random weights: equal seeds give equal weights. float32 on a CPU, else `size.gpu_weights`."""
    config = LlamaConfig(
        vocab_size=size.vocabulary,
        hidden_size=size.hidden,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.kv_heads,
        intermediate_size=size.intermediate,
        max_position_embeddings=8_192,
        tie_word_embeddings=False,
        pad_token_id=PAD_ID,
        bos_token_id=None,
        eos_token_id=END_ID,
        attn_implementation="sdpa",
    )
    torch.manual_seed(seed)
    with torch.device(device):
        model = LlamaForCausalLM(config)
    return model.to(torch.float32 if device == "cpu" else size.gpu_weights)


def words(ids: list[int]) -> str:
    """The text that `word_tokenizer` reads as these ids."""
    return " ".join({PAD_ID: PAD, END_ID: END}.get(token, f"w{token}") for token in ids)


def word_tokenizer(vocabulary: int) -> PreTrainedTokenizerFast:
    """One token a word: `w2`, `w3`, ... and the two special ones."""
    ids = {PAD: PAD_ID, END: END_ID} | {f"w{token}": token for token in range(FIRST_WORD_ID, vocabulary)}
    tokenizer = Tokenizer(WordLevel(ids, unk_token=PAD))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=PAD, eos_token=END)


def save_classifier(size: Size, seed: int, directory: Path) -> None:
    """Write a Llama with one random score a sequence, and a tokenizer whose chat is its messages, and an end."""
    config = copy.deepcopy(random_policy(size, seed, "meta").config)
    config.num_labels = 1
    torch.manual_seed(seed)
    LlamaForSequenceClassification(config).to(size.gpu_weights).save_pretrained(directory)
    tokenizer = word_tokenizer(size.vocabulary)
    tokenizer.chat_template = "{{ messages | map(attribute='content') | join(' ') }} " + END
    tokenizer.save_pretrained(directory)


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte; every turn of its chat template ends with a token that says so."""
    alphabet = sorted(ByteLevel.alphabet())
    ids = {PAD: PAD_ID, END: END_ID} | {letter: FIRST_WORD_ID + i for i, letter in enumerate(alphabet)}
    tokenizer = Tokenizer(BPE(ids, []))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevelDecoder()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=PAD, eos_token=END)
    fast.chat_template = (
        "{% for message in messages %}{{ message['role'] + ': ' + message['content'] + eos_token }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
    )
    return fast


def save_byte_models(size: Size, seed: int, policy: Path, classifier: Path) -> None:
    """Write a policy and a classifier for any text, one token a byte."""
    random_policy(size, seed, "cpu").save_pretrained(policy)
    save_classifier(size, seed, classifier)
    for directory in (policy, classifier):
        byte_tokenizer().save_pretrained(directory)
