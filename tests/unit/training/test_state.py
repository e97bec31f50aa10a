from types import SimpleNamespace

import pytest
import torch

from larpo_lib.training.ranks import Ranks
from larpo_lib.training.state import ReplicatedState, training_state


def _model():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.LayerNorm(4), torch.nn.Linear(4, 2))
    model[1].bias.requires_grad_(False)
    return model


def _adamw(model, fused):
    weights = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() == 1 and p.requires_grad]
    groups = [{"params": weights, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=1e-2, fused=fused)


def _steps(model, optimizer, first, last):
    """Optimiser steps on data that their number decides."""
    for step in range(first, last):
        generator = torch.Generator().manual_seed(step)
        loss = (model(torch.randn(5, 3, generator=generator)) - torch.randn(5, 2, generator=generator)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def _kept(model, optimizer):
    return {name: tensor.clone() for name, tensor in training_state(model, optimizer).tensors()}


@pytest.mark.parametrize("fused", [False, True])
def test_a_run_goes_on_as_if_it_had_not_been_stopped(fused):
    """Weights, moments and the number of steps, which corrects the moments' bias: early on all of them count."""
    whole = _model()
    optimizer = _adamw(whole, fused)
    _steps(whole, optimizer, 0, 3)
    kept = _kept(whole, optimizer)
    resumed = _model()
    with torch.no_grad():
        for parameter in resumed.parameters():
            if parameter.requires_grad:
                parameter.fill_(float("nan"))
    again = _adamw(resumed, fused)
    training_state(resumed, again).load(kept.__getitem__, Ranks(), 3)
    _steps(whole, optimizer, 3, 6)
    _steps(resumed, again, 3, 6)
    for one, other in zip(resumed.parameters(), whole.parameters(), strict=True):
        assert torch.equal(one, other)


def test_every_trained_parameter_has_weights_and_both_moments():
    model = _model()
    optimizer = _adamw(model, fused=False)
    _steps(model, optimizer, 0, 1)
    kept = _kept(model, optimizer)
    trained = ["0.weight", "0.bias", "1.weight", "2.weight", "2.bias"]  # the frozen one needs no keeping
    assert list(kept) == [f"{kind}/{name}" for name in trained for kind in ("weights", "exp_avg", "exp_avg_sq")]
    gradient = model[0].weight.grad
    torch.testing.assert_close(kept["exp_avg/0.weight"], 0.1 * gradient)
    torch.testing.assert_close(kept["exp_avg_sq/0.weight"], 0.001 * gradient.square())
    assert torch.equal(kept["weights/0.weight"], model[0].weight)


def test_a_wrapped_optimizer_is_looked_into():
    """As accelerate wraps the one it prepares."""
    model = _model()
    optimizer = _adamw(model, fused=False)
    _steps(model, optimizer, 0, 1)
    wrapped = SimpleNamespace(optimizer=SimpleNamespace(optimizer=optimizer))
    state = training_state(model, wrapped)
    assert isinstance(state, ReplicatedState)
    assert {name: tensor.sum().item() for name, tensor in state.tensors()} == {
        name: tensor.sum().item() for name, tensor in _kept(model, optimizer).items()
    }
