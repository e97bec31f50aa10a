"""Models of several families, tokenizers of several chat formats and tables, all small and made on the spot."""

import copy
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from families4 import SIZES
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    CohereConfig,
    Gemma2Config,
    Gemma3Config,
    Gemma3TextConfig,
    GraniteConfig,
    Llama4TextConfig,
    LlamaConfig,
    LlamaForSequenceClassification,
    MistralConfig,
    Phi3Config,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

from larpo_lib.config import ModelConfig
from larpo_lib.models.device import attention
from larpo_lib.schemas import prompt_id
from larpo_lib.tables import write_table

VOCABULARY = 61
_OWN = {"vocab_size": VOCABULARY, "num_hidden_layers": 2, "max_position_embeddings": 8192, "eos_token_id": 2}
_SIZES = {**SIZES, **_OWN}
_GEMMA = {"head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 4}
FAMILIES: dict[str, Callable[[], PretrainedConfig]] = {
    "llama": lambda: LlamaConfig(**_SIZES),
    "mistral": lambda: MistralConfig(**_SIZES, sliding_window=4),
    "qwen2": lambda: Qwen2Config(**_SIZES),
    "qwen3": lambda: Qwen3Config(**_SIZES, head_dim=8),
    "gemma2": lambda: Gemma2Config(**_SIZES, **_GEMMA, attn_logit_softcapping=2.0, final_logit_softcapping=1.5),
    "gemma3": lambda: Gemma3TextConfig(**_SIZES, **_GEMMA),
    "phi3": lambda: Phi3Config(**_SIZES),
    "cohere": lambda: CohereConfig(**_SIZES, logit_scale=0.25),
    "granite": lambda: GraniteConfig(**_SIZES, logits_scaling=3.0),
}
"""Families that differ in what they do to attention or logits; numbers are such that leaving it out would show."""
UNSHARED: dict[str, Callable[[], PretrainedConfig]] = {
    "llama4_text": lambda: Llama4TextConfig(
        **_SIZES, head_dim=8, intermediate_size_mlp=48, num_local_experts=2, attention_chunk_size=4
    )
}
"""Families that are trained with every response in a row of its own."""


def make_model(family: str, **changes: Any) -> PreTrainedModel:
    """A model of `family` with random weights, large enough that its logits differ by whole numbers."""
    config = (FAMILIES | UNSHARED)[family]()
    for name, value in changes.items():
        setattr(config, name, value)
    return random_model(config)


def random_model(config: PretrainedConfig) -> PreTrainedModel:
    """A model with such random weights."""
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(
        config, attn_implementation=attention(ModelConfig(), config)
    )
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.2)
    return model.eval()


def gemma3_with_images() -> PreTrainedModel:
    """Gemma 3 as its sizes from 4B on are: a language model with a vision tower."""
    text = _SIZES | _GEMMA | {"max_position_embeddings": 512, "num_hidden_layers": 3}
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = Gemma3Config(
        text_config=text,
        vision_config=vision | {"image_size": 28, "patch_size": 14},
        mm_tokens_per_image=4,
        boi_token_index=VOCABULARY - 1,
        eoi_token_index=VOCABULARY - 2,
        image_token_index=VOCABULARY - 3,
    )
    return random_model(config)


CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + ' ' + message['content'] + '<|im_end|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant ' }}{% endif %}"
)
LLAMA3 = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|start|>' + message['role'] + '<|end|>' + message['content'] + '<|eot_id|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start|>assistant<|end|>' }}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}{% for message in messages %}{% set role = 'model' if message['role'] == 'assistant' else 'user' %}"
    "{{ '<start_of_turn>' + role + ' ' + message['content'] + '<end_of_turn>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model ' }}{% endif %}"
)
THINKING = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + ' ' + message['content'] + '<|im_end|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant <think> </think>' }}{% endif %}"
)


def make_tokenizer(template: str, eos: str, specials: Sequence[str]) -> PreTrainedTokenizerFast:
    """A word-level tokenizer that, like Llama's, puts a bos token in front unless it is told not to."""
    words = ("user", "assistant", "model", "system", "hello", "world", "1", "2", "3", "?", "!")
    vocabulary = {word: i for i, word in enumerate(("<pad>", "<bos>", "<unk>", eos, *specials, *words))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing("<bos> $A", special_tokens=[("<bos>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<bos>",
        pad_token="<pad>",
        unk_token="<unk>",
        eos_token=eos,
        additional_special_tokens=list(specials),
        chat_template=template,
    )


def make_classifier(directory: Path, policy: Path, *, labels: int = 1, pad: int | None = None) -> None:
    """A reward model with the tokenizer of `policy` and scores of all sizes."""
    config = copy.deepcopy(AutoConfig.from_pretrained(policy))
    config.num_labels = labels
    if pad is not None:
        config.pad_token_id = pad
    torch.manual_seed(1)
    model = LlamaForSequenceClassification(config)
    torch.nn.init.normal_(model.score.weight, std=1.0)
    model.save_pretrained(directory)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(policy)
    tokenizer.save_pretrained(directory)


def break_token(directory: Path, policy: Path, token: str, value: float) -> None:
    """A copy of a policy that overflows, as half precision may: whoever reads `token` has hidden states of `value`."""
    shutil.copytree(policy, directory)
    model = AutoModelForCausalLM.from_pretrained(directory)
    number = PreTrainedTokenizerFast.from_pretrained(directory).convert_tokens_to_ids(token)
    with torch.no_grad():
        model.get_input_embeddings().weight[number] = value
    model.save_pretrained(directory)


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def write_prompts(directory: Path, questions: Sequence[tuple[str, str | None]]) -> Path:
    """An artifact-like directory with the given questions and references as prompts."""
    directory.mkdir(parents=True)
    rows = [
        {"prompt_id": prompt_id(user(text)), "messages": user(text), "reference": reference, "source": "test"}
        for text, reference in questions
    ]
    write_table(directory / "prompts.parquet", "prompts", rows)
    return directory
