import math

import pytest
import torch
from our_objectives import OURS
from pydantic import BaseModel, TypeAdapter, ValidationError

from larpo_lib.config import ObjectiveConfig
from larpo_lib.objectives import ListBatch

CLASSES: tuple[type[BaseModel], ...] = tuple(OURS.values())
ADAPTER: TypeAdapter[BaseModel] = TypeAdapter(ObjectiveConfig)


def pair() -> ListBatch:
    """Responses 1 and 4 of the method's fixture."""
    return ListBatch(
        policy_logps=torch.tensor([[-10.0, -30.0]], dtype=torch.float64),
        reference_logps=torch.tensor([[-14.0, -20.0]], dtype=torch.float64),
        lengths=torch.tensor([[10, 20]]),
        rewards=torch.tensor([[1.0, 0.0]], dtype=torch.float64),
        mask=torch.tensor([[True, True]]),
        kl_baseline=torch.tensor(0.4, dtype=torch.float64),
    )


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_type_alone_chooses_the_class_and_its_fields_are_the_functions_arguments(kind: type[BaseModel]) -> None:
    config = ADAPTER.validate_python({"type": kind.model_fields["type"].default})
    assert type(config) is kind
    assert math.isfinite(config.loss(pair()).item())  # type: ignore[arg-type]


def test_published_defaults() -> None:
    defaults = {kind.model_fields["type"].default: kind() for kind in CLASSES}
    betas = {name: config.beta for name, config in defaults.items() if hasattr(config, "beta")}
    assert betas.pop("simpo") == 2.0
    assert set(betas.values()) == {0.1}
    assert defaults["dpo"].loss(pair()).item() == pytest.approx(0.220, abs=5e-4)
    assert defaults["ipo"].loss(pair()).item() == pytest.approx(81.0)
    assert defaults["simpo"].loss(pair()).item() == pytest.approx(1.037, abs=5e-4)
    assert defaults["cpo"].loss(pair()).item() == pytest.approx(1.127, abs=5e-4)


@pytest.mark.parametrize(
    "wrong",
    [
        {"type": "dpo", "beta": 0},
        {"type": "listmle", "beta": -0.1},
        {"type": "dpo", "label_smoothing": 0.5},
        {"type": "ipo", "tau": 0},
        {"type": "lambdarank", "top": 0},
        {"type": "listmle", "reduction": "max"},
        {"type": "slic_hf", "sft_weight": -1},
        {"type": "r_dpo", "alpha": -1},
        {"type": "dpo", "tau": 0.1},
        {"type": "listmle", "top": 0},
        {"type": "robust_listmle", "rho": 0.5},
        {"type": "lambdaloss", "weights": "ndcg3"},
        {"type": "target", "tau": 0},
        {"type": "nca", "direction": "reverse"},
        {"type": "ppo"},
        {"beta": 0.1},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ADAPTER.validate_python(wrong)
