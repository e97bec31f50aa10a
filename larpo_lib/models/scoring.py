"""Rows of tokens, and a policy whose forward pass gives the log-probability of each response in them.

A row is what the model attends over at once. How responses are laid out in rows (one each, or many behind a shared
prompt) is the collator's choice; scoring only needs to know which hidden state predicts which response token.
"""

import inspect
from types import MethodType
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from larpo_lib.errors import ModelError
from larpo_lib.models.attention import SDPA_IN_PARTS, long_enough_for_parts, parts_of, use_sdpa_in_parts
from larpo_lib.models.chunk_size import default_chunk_tokens
from larpo_lib.models.dropout import disable_dropout
from larpo_lib.models.logprobs import logit_transform, token_logps
from larpo_lib.models.packing import attention_masks
from larpo_lib.models.self_check import check_scores, own_scores

TokenRows = dict[str, Tensor]
"""Keys, for R rows of S tokens that hold P responses with N tokens in all:

- input_ids (R, S), attention_mask (R, S), position_ids (R, S): int64
- predictors (N,): index into the flattened (R * S) hidden states that predicts each response token
- targets (N,): the response tokens
- owners (N,): which of the P responses each token belongs to, non-decreasing
- num_responses (): P
"""


def padded_rows(prompts: list[list[int]], responses: list[list[int]], pad_id: int) -> TokenRows:
    """Lay out one response a row, behind its own prompt, padded on the right.

    A response's last token predicts nothing and is left out.

    Args:
        prompts: P prompts as token ids, at least one token each.
        responses: P responses as token ids.
        pad_id: stands where there is nothing.
    """
    rows = [prompt + response[:-1] for prompt, response in zip(prompts, responses, strict=True)]
    longest = max(len(tokens) for tokens in rows)
    input_ids = torch.full((len(rows), longest), pad_id)
    attention_mask = torch.zeros(len(rows), longest, dtype=torch.long)
    predictors, targets, owners = [], [], []
    for row, (tokens, prompt, response) in enumerate(zip(rows, prompts, responses, strict=True)):
        input_ids[row, : len(tokens)] = torch.tensor(tokens)
        attention_mask[row, : len(tokens)] = 1
        first = row * longest + len(prompt) - 1  # the prompt's last token predicts the response's first
        predictors.append(torch.arange(first, first + len(response)))
        targets.append(torch.tensor(response, dtype=torch.long))
        owners.append(torch.full((len(response),), row))
    return {
        "input_ids": input_ids,
        "attention_mask": attention_mask,
        "position_ids": (attention_mask.cumsum(-1) - 1).clamp(min=0),
        "predictors": torch.cat(predictors),
        "targets": torch.cat(targets),
        "owners": torch.cat(owners),
        "num_responses": torch.tensor(len(responses)),
    }


def attach_scorer(model: PreTrainedModel, chunk_tokens: int | None) -> PreTrainedModel:
    """Make `model(**rows)` return the (P,) summed log-probability of each response in `rows`, in nats.

    The forward pass itself is replaced, since data-parallel and sharded wrappers hook their gradient exchange there.
    With other inputs than rows it is still the model's own: an attached model generates as before.
    Dropout is switched off: the reference is scored without, and the first log-ratios must be 0.

    Args:
        model: a causal language model.
        chunk_tokens: tokens whose logits exist at one time; None for `default_chunk_tokens`.

    Raises:
        ModelError: the model computes its logits in a way that is not known here, they are not finite, or its forward
            pass is another one in training.
    """
    output_layer = _output_layer(model)
    rows = probe_rows(model)
    expected = own_scores(model, rows)
    disable_dropout(model)
    use_sdpa_in_parts(model)
    _score_in_output_layer(model, output_layer, chunk_tokens)

    own_forward = type(model).forward

    def forward(self: PreTrainedModel, *args: Any, **rows: Any) -> Any:
        if "predictors" not in rows:
            return own_forward(self, *args, **rows)
        hidden = hidden_states(self, rows)
        predicting = hidden.flatten(0, 1)[rows["predictors"]]
        logps = self.get_output_embeddings()(predicting, rows["targets"])
        total = torch.zeros(int(rows["num_responses"]), dtype=logps.dtype, device=logps.device)
        return total.index_add(0, rows["owners"], logps)

    forward.__signature__ = inspect.signature(own_forward)  # type: ignore[attr-defined] # generation looks at it
    model.forward = MethodType(forward, model)
    check_scores(model, rows, expected)
    return model


def probe_rows(model: PreTrainedModel, tokens: int = 8) -> TokenRows:
    """A response of so many tokens, behind a prompt of one, on the model's device."""
    vocabulary = model.config.get_text_config().vocab_size
    return to_device(model.device, padded_rows([[0]], [[number % vocabulary for number in range(tokens)]], 0))


def _output_layer(model: PreTrainedModel) -> torch.nn.Linear:
    found = model.get_output_embeddings()
    if type(found) is not torch.nn.Linear:
        raise ModelError(
            f"models of type '{model.config.model_type}' are not supported with an output layer of type"
            f" {type(found).__name__}",
            remedy="Use a model with a linear output layer, and remove it from lora.targets",
        )
    return found


def _score_in_output_layer(model: PreTrainedModel, output_layer: torch.nn.Linear, chunk_tokens: int | None) -> None:
    """Make the output layer take targets and return their log-probabilities.

    In its forward pass, since that is where ZeRO-3 has its weights whole: once for all chunks.
    """
    transform = logit_transform(model)

    def forward(self: torch.nn.Linear, hidden: Tensor, targets: Tensor | None = None) -> Tensor:
        if targets is None:
            return torch.nn.Linear.forward(self, hidden)
        chunk = chunk_tokens or default_chunk_tokens(self.out_features, hidden.device.type)
        return token_logps(hidden, self, targets, transform, chunk)

    output_layer.forward = MethodType(forward, output_layer)  # type: ignore[method-assign]


def to_device(device: torch.device, rows: TokenRows) -> TokenRows:
    """The same rows on a device."""
    return {name: value.to(device) for name, value in rows.items()}


def get_decoder(model: PreTrainedModel) -> torch.nn.Module:
    """The part of a causal language model that gives hidden states.

    `get_decoder` gives the model itself where it does not know: of Llama 4, which keeps its decoder where most keep it.
    Of ModernBERT's it gives the output layer, which is called so there.

    Raises:
        ModelError: there is none that is known.
    """
    found: Any = model.get_decoder()
    if found is model or found is model.get_output_embeddings():
        found = getattr(model, "model", None)
    if not isinstance(found, torch.nn.Module):
        raise ModelError(
            f"models of type '{model.config.model_type}' are not supported: larpo cannot find their decoder",
            remedy="Use a model of another family",
        )
    return found


def hidden_states(model: PreTrainedModel, rows: TokenRows) -> Tensor:
    """(R, S, H) last hidden states of a model's decoder for rows, packed or padded."""
    packed = "groups" in rows
    mask: Any = attention_masks(model.config, rows, model.dtype) if packed else rows["attention_mask"]
    in_parts = packed and model.config._attn_implementation == SDPA_IN_PARTS and long_enough_for_parts(rows)
    outputs: Any = get_decoder(model)(
        input_ids=rows["input_ids"],
        attention_mask=mask,
        position_ids=rows["position_ids"],
        use_cache=False,
        **({"parts": parts_of(rows)} if in_parts else {}),
    )
    hidden: Tensor = outputs.last_hidden_state
    return hidden
