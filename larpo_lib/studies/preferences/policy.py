"""The policy that a seed starts with: a byte-level BPE of its training part's texts, and random weights."""

from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from larpo_lib.playground.policy import CHAT_TEMPLATE, write_policy
from larpo_lib.studies.preferences.study import PolicyConfig

_PAD, _END = "<pad>", "<end>"
ASSISTANT = "<assistant>"
"""What stands before a response."""
_ROLES = ("<user>", ASSISTANT)


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
    shape = {"hidden": config.hidden, "layers": config.layers, "heads": config.heads, "positions": config.positions}
    write_policy(directory, make_tokenizer(texts, config.vocabulary), config.seed, **shape)
