"""A tiny PairRM whose weights follow from a formula, so that they are the same in every version of every library."""

from pathlib import Path
from typing import Any

import torch
from transformers import DebertaV2Config, DebertaV2Tokenizer

PREFIXES = ("<|source|>", "<|candidate1|>", "<|candidate2|>", "<|candidate|>")
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_PIECES = ("▁", "▁the", "▁a", "▁hello", "▁what", "▁is", "▁love", "▁you", "▁not", "▁yes", "▁no", "er", "ing", "th", "in")
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:;!?<>|[]-+=()'\n"


def tiny_tokenizer() -> DebertaV2Tokenizer:
    pieces = [*_PIECES, *_LETTERS.replace("\n", "")]
    vocabulary = [(token, 0.0) for token in _SPECIAL]
    vocabulary += [(piece, -2.0 - 0.05 * i) for i, piece in enumerate(dict.fromkeys(pieces))]
    tokenizer = DebertaV2Tokenizer(vocab=vocabulary, unk_id=1, bos_token="[CLS]", eos_token="[SEP]")
    tokenizer.add_tokens(list(PREFIXES))
    return tokenizer


def tiny_settings(tokenizer: DebertaV2Tokenizer, **changes: Any) -> DebertaV2Config:
    vocabulary = tokenizer.get_vocab()
    settings: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "relative_attention": True,
        "position_buckets": 16,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_biased_input": False,
        "max_position_embeddings": 64,
        "max_relative_positions": -1,
        "type_vocab_size": 0,
        "layer_norm_eps": 1e-7,
        "pad_token_id": tokenizer.pad_token_id,
        "sep_token_id": tokenizer.sep_token_id,
        "n_tasks": 1,
        "drop_out": 0.05,
        "source_prefix_id": vocabulary["<|source|>"],
        "cand1_prefix_id": vocabulary["<|candidate1|>"],
        "cand2_prefix_id": vocabulary["<|candidate2|>"],
        "cand_prefix_id": vocabulary["<|candidate|>"],
        "architectures": ["DebertaV2PairRM"],
    }
    return DebertaV2Config(**{**settings, **changes})


@torch.no_grad()
def fill(model: torch.nn.Module) -> None:
    """The digits of a sine far behind the point, in [-0.5, 0.5]: as good as random, and large enough to tell."""
    for place, (name, parameter) in enumerate(sorted(model.named_parameters())):
        waves = torch.sin(torch.arange(parameter.numel(), dtype=torch.float64) * 12.9898 + 78.233 * place)
        noise = (waves * 43758.5453) % 1.0 - 0.5
        scaled = 1 + 0.1 * noise if name.endswith("LayerNorm.weight") else noise
        parameter.copy_(scaled.reshape(parameter.shape))


def make_pairrm(directory: Path, **changes: Any) -> Path:
    """Write one to `directory`, with `changes` to its config.json."""
    from larpo_lib.rewards.rerankers.engines.pairrm_model import PairRmModel

    tokenizer = tiny_tokenizer()
    model = PairRmModel(tiny_settings(tokenizer, **changes))
    fill(model)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory
