"""Whether the back end `hf` takes the settings by which responses are generated, told before the policy is loaded."""

from collections.abc import Mapping
from typing import Any

import torch
from lm_eval.models.utils import normalize_gen_kwargs
from transformers import GenerationConfig, GPT2Config, GPT2LMHeadModel

from larpo_lib.errors import ConfigError

_OURS = ("until", "max_gen_toks")
"""What lm-eval itself reads."""


def check_generation(name: str, settings: Mapping[str, Any], vocabulary: int) -> None:
    """Let a model of two numbers for each token generate one token, since transformers says only then what it refuses.

    Args:
        name: of the task.
        settings: its `generation_kwargs`.
        vocabulary: number of tokens, which settings may name.

    Raises:
        ConfigError: transformers or lm-eval refuse them.
    """
    tiny = GPT2Config(
        vocab_size=vocabulary, n_embd=2, n_head=1, n_layer=1, n_positions=8, bos_token_id=0, eos_token_id=0
    )
    model = GPT2LMHeadModel(tiny).eval()  # type: ignore[no-untyped-call]
    model.generation_config = GenerationConfig(eos_token_id=0)  # type: ignore[no-untyped-call]
    try:
        told = {key: value for key, value in normalize_gen_kwargs(dict(settings)).items() if key not in _OURS}
        if not told.get("do_sample") and not told.get("temperature"):
            told.pop("temperature", None)  # as lm-eval does
        told["max_length"] = 2
        model.generate(input_ids=torch.zeros((1, 1), dtype=torch.long), pad_token_id=0, **told)
    except (TypeError, ValueError) as error:
        said = str(error).strip().partition("\n")[0][:300]
        raise ConfigError(
            f"{name}: its responses cannot be generated: {said}", remedy="Change lm_eval.gen_kwargs"
        ) from error
