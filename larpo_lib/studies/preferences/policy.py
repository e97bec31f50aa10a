"""The policy that a seed starts with: a byte-level BPE of its training part's texts, and random weights."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from larpo_lib.playground.policy import CHAT_TEMPLATE
from larpo_lib.studies.preferences.study import PolicyConfig

_PAD, _END = "<pad>", "<end>"
_ROLES = ("<user>", "<assistant>")


def make_tokenizer(texts: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE learnt from `texts`, with a chat template of two roles; it can write any text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[_PAD, _END, *_ROLES],
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=_PAD,
        eos_token=_END,
        additional_special_tokens=list(_ROLES),
        chat_template=CHAT_TEMPLATE,
        padding_side="left",
    )


def make_policy(directory: Path, texts: Iterable[str], config: PolicyConfig) -> None:
    """Write a policy with random weights, and its tokenizer, as a Hugging Face directory."""
    tokenizer = make_tokenizer(texts, config.vocabulary)
    settings = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=config.hidden,
        intermediate_size=2 * config.hidden,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.heads,
        max_position_embeddings=config.positions,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=False,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        policy = LlamaForCausalLM(settings)
    policy.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
