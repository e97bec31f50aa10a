"""PairRM's network: DeBERTa reads a prompt and two responses at once and says how much better the first one is.

Jiang, Ren and Lin 2023 (arXiv 2306.02561), in the layout of the hub's `llm-blender/PairRM-hf`.
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import DebertaV2Config, DebertaV2Model, PretrainedConfig, PreTrainedTokenizerBase
from transformers.models.deberta_v2.modeling_deberta_v2 import DebertaV2PreTrainedModel

from larpo_lib.errors import ModelError
from larpo_lib.models.model_dir import ModelDir
from larpo_lib.parsing import parse_json
from larpo_lib.rewards.rerankers.pairrm import PairRmConfig

SOURCE, FIRST, SECOND = "<|source|>", "<|candidate1|>", "<|candidate2|>"
"""What stands in front of the prompt, of the first and of the second response, as tokens of their own."""

PREFIX_IDS = {SOURCE: "source_prefix_id", FIRST: "cand1_prefix_id", SECOND: "cand2_prefix_id"}
"""Where a model's config.json names their ids."""

_REMEDY = "Use llm-blender/PairRM-hf of the Hugging Face hub, or a directory in its layout"


class PairRmModel(DebertaV2PreTrainedModel):
    """DeBERTa with PairRM's head; the modules are named as in the published weights."""

    base_model_prefix = "pretrained_model"

    def __init__(self, config: DebertaV2Config) -> None:
        super().__init__(config)
        self.pretrained_model = DebertaV2Model(config)
        self.head_layer = nn.Sequential(
            nn.Dropout(config.drop_out),
            nn.Linear(2 * config.hidden_size, config.hidden_size),
            nn.Tanh(),
            nn.Dropout(config.drop_out),
            nn.Linear(config.hidden_size, config.n_tasks),
        )
        self.post_init()

    def forward(self, input_ids: Tensor, attention_mask: Tensor, prefixes: Tensor) -> Tensor:
        """By how much the first response of each row beats the second, (B,).

        Args:
            input_ids: (B, L).
            attention_mask: (B, L), 0 on padding.
            prefixes: (B, 3), where SOURCE, FIRST and SECOND stand; their last hidden states are what is scored.
        """
        hidden = self.pretrained_model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        rows = torch.arange(len(input_ids), device=input_ids.device)
        source, first, second = (hidden[rows, prefixes[:, place]] for place in range(3))
        left = self.head_layer(torch.cat([source, first], dim=-1))
        right = self.head_layer(torch.cat([source, second], dim=-1))
        difference: Tensor = (left - right).mean(dim=-1)
        return difference


def load_pairrm_tokenizer(source: ModelDir, config: PairRmConfig) -> PreTrainedTokenizerBase:
    """The tokenizer of a directory that, but for its weights, is known to be a PairRM.

    Raises:
        ModelError: it is none.
    """
    path = source.path
    _refuse_older_layout(path)
    settings = source.config
    _check_settings(path, settings)
    tokenizer = source.plain_tokenizer
    for token, name in PREFIX_IDS.items():
        known = tokenizer.get_vocab().get(token)
        if known != getattr(settings, name):
            raise ModelError(
                f"{path}: {name} is {getattr(settings, name)}, but {token} is"
                f" {'no token' if known is None else f'token {known}'} of its tokenizer",
                remedy=_REMEDY,
            )
    for name in ("cls_token", "sep_token"):
        if getattr(tokenizer, name) is None:
            raise ModelError(f"{path}: the tokenizer has no {name}", remedy=_REMEDY)
    longest = config.max_source_tokens + 2 * config.max_response_tokens
    if settings.position_biased_input and longest > settings.max_position_embeddings:
        raise ModelError(
            f"{path}: has {settings.max_position_embeddings} absolute positions, but inputs can have up to "
            f"{longest} tokens",
            remedy="Reduce the reranker's max_source_tokens and max_response_tokens",
        )
    return tokenizer


def _refuse_older_layout(path: Path) -> None:
    """The hub's `llm-blender/PairRM` holds the same weights, but settings that no library but llm_blender reads."""
    file = path / "config.json"
    try:
        found = parse_json(file.read_text("utf-8")) if file.is_file() else None
    except ValueError:
        return  # told by whoever reads it next
    if isinstance(found, dict) and "ranker_type" in found:
        raise ModelError(f"{path}: is in the layout of the llm_blender package", remedy=_REMEDY)


def _check_settings(path: Path, settings: PretrainedConfig) -> None:
    if settings.model_type != "deberta-v2":
        raise ModelError(f"{path}: is a {settings.model_type} model, but PairRM is a deberta-v2 model", remedy=_REMEDY)
    for name in ("n_tasks", "drop_out", *PREFIX_IDS.values()):
        if not hasattr(settings, name):
            raise ModelError(f"{path}: config.json has no {name}, so this DeBERTa model is not PairRM", remedy=_REMEDY)
