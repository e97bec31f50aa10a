"""How many tokens and positions a model has, by its config.json."""

from transformers import PretrainedConfig

_POSITIONS_BEHIND_PADDING = {
    "roberta",
    "xlm-roberta",
    "xlm-roberta-xl",
    "camembert",
    "roberta-prelayernorm",
    "longformer",
}
"""Families whose first position is the one behind the padding id, so that so many fewer are left."""


_MOST = {
    "vocab_size": 2**31,
    "max_position_embeddings": 2**31,
    "num_hidden_layers": 10_000,
    "num_attention_heads": 10_000,
    "hidden_size": 10**6,
    "intermediate_size": 10**7,
}


_BY_LAYER = {"intermediate_size"}
"""Sizes that may be a list with one for each layer, as of Gemma 3n."""


def check_sizes(config: PretrainedConfig) -> None:
    """Raise ValueError if a size is none, or one that no model has: making it would not end."""
    text = config.get_text_config()
    for name, most in _MOST.items():
        size = getattr(text, name, None)
        sizes = size if isinstance(size, list | tuple) and name in _BY_LAYER and size else [size]
        if size is not None and any(type(one) is not int or not 0 < one <= most for one in sizes):
            raise ValueError(f"{name} is {size!r}")
    context_length(config)


def context_length(config: PretrainedConfig) -> int | None:
    """Tokens that a model takes in one sequence, by its config.json; None if that does not say.

    Linear and dynamic scaling of its rotary embeddings count; other scalings are in the number already.
    """
    config = config.get_text_config()
    positions = getattr(config, "max_position_embeddings", None)
    if positions is None:
        return None
    if config.model_type in _POSITIONS_BEHIND_PADDING:
        positions -= config.pad_token_id + 1
    rope = getattr(config, "rope_parameters", None) or {}
    factor = rope.get("factor", 1.0) if rope.get("rope_type") in ("linear", "dynamic") else 1.0
    return int(positions * factor)
