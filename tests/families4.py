"""Model families by the names that transformers 4 and 5 both read, with numbers that show where one is lost."""

from typing import Any

SIZES: dict[str, Any] = {
    "vocab_size": 280,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 3,
}
_GEMMA = {**SIZES, "head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 4}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
_LONGROPE = {"type": "longrope", "short_factor": [1.0, 1.1, 1.2, 1.3], "long_factor": [2.0, 2.1, 2.2, 2.3]}
_YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}

FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {**SIZES, "rope_theta": 5e5}),
    "llama-3.1": ("llama", {**SIZES, "rope_theta": 5e5, "rope_scaling": LLAMA3}),
    "llama-linear": ("llama", {**SIZES, "rope_theta": 5e5, "rope_scaling": {"rope_type": "linear", "factor": 8.0}}),
    "smollm2": ("llama", {**SIZES, "rope_theta": 1e5, "tie_word_embeddings": True}),
    "smollm3": ("smollm3", {**SIZES, "rope_theta": 2e5}),
    "mistral": ("mistral", {**SIZES, "rope_theta": 1e6, "sliding_window": 4}),
    "qwen2": (
        "qwen2",
        {**SIZES, "rope_theta": 1e6, "use_sliding_window": True, "sliding_window": 4, "max_window_layers": 2},
    ),
    "qwen2-yarn": ("qwen2", {**SIZES, "rope_theta": 1e6, "rope_scaling": _YARN}),
    "qwen3": ("qwen3", {**SIZES, "rope_theta": 1e6, "head_dim": 8}),
    "gemma2": ("gemma2", {**_GEMMA, "rope_theta": 2e4, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 1.5}),
    "gemma3": (
        "gemma3_text",
        {
            **_GEMMA,
            "rope_theta": 1e6,
            "rope_local_base_freq": 5e3,
            "rope_scaling": {"rope_type": "linear", "factor": 8.0},
            "layer_types": ["sliding_attention", "full_attention"] * 2,
        },
    ),
    "phi3": ("phi3", {**SIZES, "rope_theta": 2e4, "partial_rotary_factor": 0.5}),
    "phi3-long": (
        "phi3",
        {**SIZES, "rope_theta": 2e4, "original_max_position_embeddings": 16, "rope_scaling": _LONGROPE},
    ),
    "cohere": ("cohere", {**SIZES, "rope_theta": 7.5e4, "logit_scale": 0.25}),
    "granite": ("granite", {**SIZES, "rope_theta": 7.5e4, "logits_scaling": 3.0}),
    "olmo2": ("olmo2", {**SIZES, "rope_theta": 5e5}),
    "gpt-neox": (
        "gpt_neox",
        {**{k: v for k, v in SIZES.items() if k != "num_key_value_heads"}, "rotary_pct": 0.5, "rotary_emb_base": 5e4},
    ),
}
