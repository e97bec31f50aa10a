"""Whether larpo gives a test row the log-probabilities that the model gives it, and the same ones in training."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from larpo_lib.device_memory import ran_out
from larpo_lib.errors import LarpoError, ModelError

_EXACT, _ROUNDINGS = 1e-4, 8
"""Of numbers of order one: what float32 may cost, and how many roundings a lower precision may."""
_LARGE = 300.0
"""Logits this large are beyond every cap: 30 of Gemma, 15 of nanochat. Those of a small model are not."""
_LARGEST_SCALE = 1e4

_OTHER_FAMILY = "Use a model of another family"


@dataclass(frozen=True)
class OwnScores:
    """What a model itself says of the test row.

    Attributes:
        scale: factor of the states that the output layer gets.
        logps: (N,) of the row's response tokens, in nats.
        largest: absolute value of a logit.
    """

    scale: float
    logps: Tensor
    largest: float


def own_scores(model: PreTrainedModel, rows: Mapping[str, Tensor]) -> list[OwnScores]:
    """By the model's own forward pass: as it is, and with logits so large that a cap must show.

    Raises:
        ModelError: they are not finite, or the forward pass fails.
    """
    plain = _own_scores(model, rows, 1.0)
    total = float(plain.logps.sum())
    if not abs(total) < float("inf"):
        raise ModelError(
            f"{model.name_or_path}: the model's log-probability of a test input is {total}",
            remedy="Set model.dtype to float32, or check the model's weights",
        )
    scale = min(_LARGE / max(plain.largest, _LARGE / _LARGEST_SCALE), _LARGEST_SCALE)
    return [plain, _own_scores(model, rows, scale)]


def check_scores(model: PreTrainedModel, rows: Mapping[str, Tensor], expected: list[OwnScores]) -> None:
    """Check a model with a scorer attached, token by token.

    Raises:
        ModelError: it gives other numbers than the model itself did, or others in training.
    """
    tokens = len(rows["targets"])
    apart = {**rows, "owners": torch.arange(tokens, device=model.device), "num_responses": torch.tensor(tokens)}
    for own in expected:
        with _forward_passes(model), _states_times(model, own.scale):
            found = model(**apart)
        difference = (found - own.logps).abs()
        if not float(difference.max()) <= _tolerance(model) * max(1.0, own.largest):
            worst = int(difference.argmax())
            raise ModelError(
                f"{_unsupported(model)}: larpo's log-probability of a test input"
                f"{'' if own.scale == 1.0 else ' with large logits'} is {float(found[worst]):.4f}, but the model's own "
                f"is {float(own.logps[worst]):.4f}",
                remedy=f"{_OTHER_FAMILY}, or add its output layer to larpo_lib.models.logprobs",
            )
    check_training_mode(model, apart)


def check_training_mode(model: PreTrainedModel, rows: Mapping[str, Tensor]) -> None:
    """Check that `model(**rows)` is the same in training and evaluation mode, and at every call.

    Else the first log-ratios are not 0, and a resumed training cannot go on with the same numbers.

    Raises:
        ModelError: it is not.
    """
    with _forward_passes(model):
        evaluated = model(**rows)
    bound = _tolerance(model) * max(1.0, float(evaluated.abs().max()))
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices), _forward_passes(model, training=True):
        for _ in range(2):
            difference = float((model(**rows) - evaluated).abs().max())
            if not difference <= bound:
                raise ModelError(
                    f"{_unsupported(model)}: their scores in training mode are random or differ from those in "
                    f"evaluation mode, by {difference:.2g} for a test input",
                    remedy=_OTHER_FAMILY,
                )


def _own_scores(model: PreTrainedModel, rows: Mapping[str, Tensor], scale: float) -> OwnScores:
    with _forward_passes(model), _states_times(model, scale):
        outputs = model(input_ids=rows["input_ids"], attention_mask=rows["attention_mask"], use_cache=False)
    logits = outputs.logits.float().flatten(0, 1)[rows["predictors"]]
    logps = logits.log_softmax(-1).gather(-1, rows["targets"][:, None])[:, 0]
    return OwnScores(scale, logps, float(logits.abs().max()))


@contextmanager
def _forward_passes(model: PreTrainedModel, *, training: bool = False) -> Iterator[None]:
    """Forward passes without gradients, in one of the modes; whatever fails there is a reason to refuse the model.

    Weights of several precisions, such as a head and adapters beside frozen ones, work together under autocast alone,
    which a training brings along later.
    """
    before = [(module, module.training) for module in model.modules()]
    mixed = len({weight.dtype for weight in model.parameters() if weight.is_floating_point()}) > 1
    model.train(training)
    try:
        with torch.no_grad(), torch.autocast(model.device.type, torch.bfloat16, enabled=mixed):
            yield
    except LarpoError:
        raise
    except Exception as error:  # a family may fail in any way
        if ran_out(error) is not None:
            raise
        why = (str(error).strip().splitlines() or [""])[0][:300]
        raise ModelError(
            f"{_unsupported(model)}: scoring a test input fails: {type(error).__name__}: {why}", remedy=_OTHER_FAMILY
        ) from error
    finally:
        for module, mode in before:
            module.training = mode


@contextmanager
def _states_times(model: PreTrainedModel, scale: float) -> Iterator[None]:
    """Give the output layer `scale` times what it would get."""

    def multiplied(_layer: torch.nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return inputs[0] * scale, *inputs[1:]

    output_layer: torch.nn.Module = model.get_output_embeddings()
    handle = output_layer.register_forward_pre_hook(multiplied)
    try:
        yield
    finally:
        handle.remove()


def _tolerance(model: PreTrainedModel) -> float:
    return max(_EXACT, _ROUNDINGS * torch.finfo(model.dtype).eps)


def _unsupported(model: PreTrainedModel) -> str:
    return f"models of type '{model.config.model_type}' are not supported"
