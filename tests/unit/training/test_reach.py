"""Weights that texts do not reach are frozen, those of experts are not, and a training with either can be continued."""

import pytest
import torch
from small_models import FAMILIES, gemma3_with_images, make_model
from torch import nn
from training_lists import Killed, kill_at, random_lists, train
from transformers import TrainerState, TrainingArguments

from larpo_lib.models.scoring import attach_scorer, probe_rows
from larpo_lib.training.collator import TrainingList
from larpo_lib.training.reach import ZeroGradients, freeze_unreached, reached_by
from larpo_lib.training.state import training_state


def _with_gradients(model):
    """Names of weights that a backward pass gives a gradient."""
    model.zero_grad()
    model(**probe_rows(model, 64)).sum().backward()
    return {name for name, weight in model.named_parameters() if weight.grad is not None}


def _trained(model):
    return {name for name, weight in model.named_parameters() if weight.requires_grad}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_weight_of_a_text_model_is_reached(family):
    """Also of those families that training takes this of without looking."""
    model = attach_scorer(make_model(family), 64)
    assert reached_by(model, 1) == {id(weight) for weight in model.parameters()}
    assert _with_gradients(model) == {name for name, _ in model.named_parameters()}
    assert not freeze_unreached(model, told=True)
    assert _trained(model) == {name for name, _ in model.named_parameters()}


def test_a_vision_tower_is_frozen_and_said_to_be(caplog):
    caplog.set_level("INFO")
    model = attach_scorer(gemma3_with_images(), 64)
    everything, reached = _trained(model), _with_gradients(model)
    assert not freeze_unreached(model, told=True)
    assert _trained(model) == reached
    left = everything - reached
    assert left
    assert all(name.startswith(("model.vision_tower.", "model.multi_modal_projector.")) for name in left)
    expected = f"train: {len(left)} of {len(everything)} weight tensors stay as they are, since no text reaches them: "
    assert expected + "model.vision_tower, model.multi_modal_projector" in caplog.text


class _Experts(nn.Module):
    """Sends every token but those of a row of one to the last expert, and never asks the judge."""

    def __init__(self, width):
        super().__init__()
        self.experts = nn.ModuleList(nn.Sequential(nn.Linear(width, width), nn.ReLU()) for _ in range(4))
        self.judge = nn.Linear(width, width)

    def forward(self, states):
        return self.experts[3 if states.shape[1] > 1 else 0](states)


def test_experts_that_no_token_is_sent_to_are_not_frozen():
    model = make_model("cohere")
    model.model.layers[1].mlp = _Experts(32)
    attach_scorer(model, 64)
    everything = _trained(model)
    assert freeze_unreached(model, told=False)  # which experts a row reaches differs from row to row
    assert everything - _trained(model) == {"model.layers.1.mlp.judge.weight", "model.layers.1.mlp.judge.bias"}


def test_a_weight_that_a_step_did_not_reach_has_moments_of_zeros(tmp_path):
    model = nn.ModuleList(nn.Linear(2, 2, bias=False) for _ in range(3))
    model[2].requires_grad_(False)
    optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], weight_decay=0.0)
    before = model[1].weight.clone()
    model[0](torch.ones(1, 2)).sum().backward()
    ZeroGradients().on_pre_optimizer_step(TrainingArguments(tmp_path), TrainerState(), None, model=model)
    optimizer.step()
    kept = dict(training_state(model, optimizer).tensors())
    assert len(kept) == 6
    assert not kept["exp_avg/1.weight"].any()
    assert not kept["exp_avg_sq/1.weight"].any()
    assert kept["exp_avg/0.weight"].all()
    assert torch.equal(kept["weights/1.weight"], before)
    assert model[2].weight.grad is None


def test_a_training_of_a_model_with_a_vision_tower_goes_on_after_a_kill(tmp_path):
    policy = tmp_path / "policy"
    gemma3_with_images().save_pretrained(policy)
    before = gemma3_with_images().state_dict()
    lists = [TrainingList(item, [0.0] * len(item.responses)) for item in random_lists(8)]
    whole = train(policy, lists, tmp_path / "whole", "simpo", max_steps=3, save_steps=1)
    with pytest.raises(Killed):
        train(policy, lists, tmp_path / "killed", "simpo", log=kill_at(2), max_steps=3, save_steps=1)
    resumed = train(policy, lists, tmp_path / "killed", "simpo", max_steps=3, save_steps=1)
    assert resumed.history == whole.history
    for name, weight in resumed.model.state_dict().items():
        assert torch.equal(weight, whole.model.state_dict()[name])
        assert torch.equal(weight, before[name]) == ("vision_tower" in name or "multi_modal" in name), name
