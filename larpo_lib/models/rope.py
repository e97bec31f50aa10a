"""Rotary embeddings that change with the longest sequence of a forward pass."""

from transformers import PretrainedConfig

from larpo_lib.errors import ConfigError
from larpo_lib.models.model_dir import ModelDir


def batched_length(config: PretrainedConfig) -> int | None:
    """Tokens up to which a sequence is computed alike whatever else is in its forward pass; None if that is any number.

    `transformers` takes the frequencies of a pass by its longest sequence (`dynamic_rope_update`): longrope has others
    for more than its original length, and dynamic scaling (NTK) ones that grow with it, and stay so in later passes.
    """
    text = config.get_text_config()
    rope = getattr(text, "rope_parameters", None) or {}
    lengths = []
    for each in (rope, *(nested for nested in rope.values() if isinstance(nested, dict))):  # by kinds of layers
        if each.get("rope_type") == "longrope":
            lengths.append(each.get("original_max_position_embeddings"))
        elif "dynamic" in str(each.get("rope_type")):
            lengths.append(text.max_position_embeddings)
    return min((length for length in lengths if isinstance(length, int)), default=None)


def check_scorable(source: ModelDir, tokens: int, settings: str) -> None:
    """Check that a model takes sequences of `tokens` tokens, and scores each whatever else is in its batch.

    Args:
        source: the model.
        tokens: length of the longest sequence that it will be given.
        settings: what says so, for the message, such as "max_tokens = 2048".

    Raises:
        ConfigError: it does not.
    """
    source.check_context(tokens, settings)
    batched = batched_length(source.config)
    if batched is not None and tokens > batched:
        raise ConfigError(
            f"{settings}: sequences of up to {tokens} tokens, but beyond {batched} tokens the rotary embeddings of "
            f"{source.path} change those of all other sequences in a batch (rope_parameters)",
            remedy=f"Reduce them to at most {batched} tokens together",
        )
