"""Tokenizers as published models have them, trained on the spot, with the chat templates that go with them."""

import functools
from dataclasses import dataclass
from importlib import resources

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

TEXT = (
    "Ann has three pens and Ben has nine bags of coins. How many coins does Ben have?",
    "The answer is 42, since 6 times 7 is 42.\n\nSo Ben has 42 coins.",
    "I think: first count the bags, then the coins.\nSure! Here is what I found:\n- one\n- two\n",
    "hello world, hello there! What is the capital of France? Paris is the capital of France.",
    "def add(a, b):\n    return a + b  # a sum\n\n\nWhat does <|im_end|> mean? And </s>, <eos>, <|eot_id|>?",
    "[INST] user assistant [/INST] system model answer question ### Response: ### Instruction:",
)
MISTRAL = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ '[INST] ' + message['content'] + ' [/INST]' }}{% elif message['role'] == 'assistant' %}"
    "{{ ' ' + message['content'] + eos_token }}{% else %}{{ raise_exception('Only user and assistant') }}{% endif %}"
    "{% endfor %}"
)
LLAMA2 = (
    "{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ bos_token + '[INST] ' + message['content'].strip() + ' [/INST]' }}{% else %}"
    "{{ ' '  + message['content'].strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)
ZEPHYR = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\n' + message['content'] + eos_token + '\n' }}"
    "{% if loop.last and add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}{% endfor %}"
)
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
VICUNA = (
    "{% for message in messages %}{% if message['role'] == 'user' %}{{ 'USER: ' + message['content'] + ' ' }}"
    "{% else %}{{ 'ASSISTANT: ' + message['content'] + eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
ALPACA = (
    "{% for message in messages %}{% if message['role'] == 'user' %}{{ '### Instruction:\n' + message['content'] }}"
    "{% else %}{{ '\n\n### Response:\n' + message['content'] + '\n\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '\n\n### Response:\n' }}{% endif %}"
)
SPACED = (
    "{% for message in messages %}{{ message['role'] + ': ' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)
"""Ends its generation prompt in a space, which tokenizers merge with the word behind it."""
_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
"""As Llama 3 and Qwen split text."""


def published(name: str) -> str:
    """A published model's chat template, as TRL carries it."""
    return resources.files("trl").joinpath("chat_templates", f"{name}.jinja").read_text("utf-8")


def sentencepiece(how: str) -> Tokenizer:
    """BPE on `▁` for spaces, with bytes to fall back on, as Llama 2, Mistral and Gemma have it.

    Args:
        how: `legacy`: a `▁` goes before the text between any two special tokens. `first`: only before the whole text.
            `never`: as Gemma's. `prepend`: `legacy` by a normalizer, as Llama 2's tokenizer.json has it.
    """
    learner = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    learner.pre_tokenizer = pre_tokenizers.Metaspace()
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=640, special_tokens=names, show_progress=False)
    learner.train_from_iterator([text.replace("\n", " ") for text in TEXT], trainer)
    tokenizer = Tokenizer(learner.model)  # without the bytes as tokens that text is searched for
    if how == "prepend":
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        scheme = {"legacy": "always", "first": "first", "never": "never"}[how]
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(parts)
    return tokenizer


def byte_level() -> Tokenizer:
    """Byte-level BPE, as GPT-2, Llama 3 and Qwen have it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(_SPLIT), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=640, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(TEXT, trainer)
    return tokenizer


@dataclass(frozen=True)
class Kind:
    """A tokenizer with its template.

    Attributes:
        how: `bytes`, or how a SentencePiece-like one treats spaces.
        template: Jinja.
        eos: the tokenizer's.
        special: further special tokens.
        end: the token that the template ends a turn with.
        tail: what it writes behind that.
    """

    how: str
    template: str
    eos: str
    special: tuple[str, ...]
    end: str
    tail: str = ""


_TURNS = ("<start_of_turn>", "<end_of_turn>")
_IM = ("<|im_start|>", "<|im_end|>")
_HEADERS = ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
KINDS = {
    "mistral": Kind("legacy", MISTRAL, "</s>", (), "</s>"),
    "mistral, not legacy": Kind("first", MISTRAL, "</s>", (), "</s>"),
    "llama 2": Kind("prepend", LLAMA2, "</s>", (), "</s>"),
    "zephyr": Kind("legacy", ZEPHYR, "</s>", (), "</s>", "\n"),
    "zephyr, not legacy": Kind("first", ZEPHYR, "</s>", (), "</s>", "\n"),
    "vicuna": Kind("legacy", VICUNA, "</s>", (), "</s>"),
    "chatml on sentencepiece": Kind("legacy", CHATML, "</s>", _IM, "<|im_end|>", "\n"),
    "gemma": Kind("never", published("gemma"), "<eos>", ("<bos>", *_TURNS), "<end_of_turn>", "\n"),
    "llama 3": Kind("bytes", published("llama3"), "<|end_of_text|>", _HEADERS, "<|eot_id|>"),
    "qwen 2.5": Kind("bytes", published("qwen2_5"), "<|endoftext|>", _IM, "<|im_end|>", "\n"),
    "qwen 3": Kind("bytes", published("qwen3"), "<|endoftext|>", _IM, "<|im_end|>", "\n"),
    "chatml": Kind("bytes", CHATML, "<|endoftext|>", _IM, "<|im_end|>", "\n"),
    "phi 3": Kind(
        "bytes", published("phi3"), "<|endoftext|>", ("<|user|>", "<|assistant|>", "<|end|>"), "<|end|>", "\n"
    ),
}


@functools.cache
def _backend(how: str) -> str:
    return (byte_level() if how == "bytes" else sentencepiece(how)).to_str()


def real_tokenizer(kind: Kind, **options: object) -> PreTrainedTokenizerFast:
    """The tokenizer of a kind, new at every call."""
    backend = Tokenizer.from_str(_backend(kind.how))
    names = dict.fromkeys(["<pad>", "<unk>", "<s>", "</s>", kind.eos, *kind.special])
    if kind.how == "bytes":
        names = dict.fromkeys(["<pad>", kind.eos, *kind.special])
    backend.add_special_tokens([AddedToken(name, normalized=False, special=True) for name in names])
    bos = next((name for name in kind.special if "b" in name and ("bos" in name or "begin" in name)), None)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=bos or ("<s>" if kind.how != "bytes" else None),
        eos_token=kind.eos,
        pad_token="<pad>",
        unk_token="<unk>" if kind.how != "bytes" else None,
        chat_template=kind.template,
        **options,
    )
