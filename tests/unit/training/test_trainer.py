import json
import math

import pytest
import torch
import training_lists
from training_lists import PLAIN, SETTINGS, finetune, random_lists, train, with_reference
from transformers.models.llama.modeling_llama import LlamaForCausalLM, LlamaMLP

from larpo_lib.errors import ModelError
from larpo_lib.models.layout import packed_layout, padded_layout
from larpo_lib.models.model_dir import ModelDir
from larpo_lib.training.trainer import BROKEN_BATCH

BETA = 0.1
CHECKED = 2 * 2
"""Passes of layers in training mode before a training: a row is scored twice."""


@pytest.fixture(scope="module")
def lists(tiny_policy):
    """Ten: with four a step, the last step of an epoch has two."""
    return with_reference(tiny_policy, random_lists(10))


def _assert_same_weights(one, other):
    for (name, a), b in zip(one.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=2e-5, rtol=1e-4, msg=lambda text, name=name: f"{name}: {text}")


def _assert_same(one, other):
    assert [row.keys() for row in one.history] == [row.keys() for row in other.history]
    for a, b in zip(one.history, other.history, strict=True):
        assert a == pytest.approx(b, rel=1e-4, abs=1e-6)
    _assert_same_weights(one.model, other.model)


def _passes(fitted):
    """How many forward passes the last step took."""
    return len(fitted.trainer.rank_batch.micro_batches)


@pytest.mark.parametrize("objective", ["listmle", "kto", "simpo"])
def test_micro_batch_tokens_change_neither_losses_nor_weights(tiny_policy, lists, tmp_path, objective):
    """Seven lists, four a step: the last step has three."""
    whole = train(tiny_policy, lists[:7], tmp_path / "whole", objective)
    assert (len(whole.history), _passes(whole)) == (4, 1)
    for budget, passes in ((90, 2), (1, 3)):
        cut = train(tiny_policy, lists[:7], tmp_path / str(budget), objective, micro_batch_tokens=budget)
        assert _passes(cut) == passes
        _assert_same(cut, whole)


def test_micro_batch_tokens_do_not_change_fine_tuning(tiny_policy, tmp_path):
    """The mean is over all tokens of the step, not a mean of the passes' means."""
    demonstrations = random_lists(7, sizes=(1,))
    whole = finetune(tiny_policy, demonstrations, tmp_path / "whole")
    assert (len(whole.history), _passes(whole)) == (4, 1)
    for budget, passes in ((20, 2), (1, 3)):
        cut = finetune(tiny_policy, demonstrations, tmp_path / str(budget), micro_batch_tokens=budget)
        assert _passes(cut) == passes
        _assert_same(cut, whole)


def test_gradient_checkpointing_computes_layers_again_and_changes_nothing(tiny_policy, lists, tmp_path, monkeypatch):
    calls = []
    forward = LlamaMLP.forward
    monkeypatch.setattr(LlamaMLP, "forward", lambda self, x: calls.append(self.training) or forward(self, x))
    plain = train(tiny_policy, lists, tmp_path / "plain", "listmle", max_steps=2)
    in_training, _ = sum(calls), calls.clear()
    again = train(tiny_policy, lists, tmp_path / "again", "listmle", max_steps=2, gradient_checkpointing=True)
    assert sum(calls) - CHECKED == 2 * (in_training - CHECKED) == 2 * 2 * 2  # steps of one pass, layers
    _assert_same(again, plain)


def test_lists_longer_than_micro_batches_are_computed_again_and_give_the_same_bits(
    tiny_policy, lists, tmp_path, monkeypatch
):
    calls = []
    forward = LlamaMLP.forward
    monkeypatch.setattr(LlamaMLP, "forward", lambda self, x: calls.append(self.training) or forward(self, x))
    fitted = {}
    for name, supported in (("again", True), ("kept", False)):
        monkeypatch.setattr(LlamaForCausalLM, "supports_gradient_checkpointing", supported)
        calls.clear()
        fitted[name] = train(tiny_policy, lists, tmp_path / name, "listmle", max_steps=2, micro_batch_tokens=1)
        assert sum(calls) - CHECKED == 2 * 4 * 2 * (1 + supported)  # steps, passes, layers
        assert not fitted[name].model.is_gradient_checkpointing
    assert fitted["again"].history == fitted["kept"].history
    weights = fitted["kept"].model.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in fitted["again"].model.state_dict().items())


def test_passes_within_the_budget_are_not_computed_again(tiny_policy, lists, tmp_path, monkeypatch):
    calls = []
    forward = LlamaMLP.forward
    monkeypatch.setattr(LlamaMLP, "forward", lambda self, x: calls.append(self.training) or forward(self, x))
    train(tiny_policy, lists, tmp_path, "listmle", max_steps=1)
    assert sum(calls) - CHECKED == 2  # layers


def _logp(model, prompt, response):
    logits = model(input_ids=torch.tensor([prompt + response]), use_cache=False).logits[0]
    logps = logits.log_softmax(-1)[len(prompt) - 1 : -1]
    return logps[torch.arange(len(response)), torch.tensor(response)].sum()


def _listmle(model, lists, top=None):
    losses = []
    for item in lists:
        g = [
            BETA * (_logp(model, item.encoded.prompt, response) - reference)
            for response, reference in zip(item.encoded.responses, item.reference_logps, strict=True)
        ]
        losses.append(sum(torch.stack(g[i:]).logsumexp(0) - g[i] for i in range(len(g))[:top]))
    return sum(losses) / len(losses)


def _kto(model, lists):
    with torch.no_grad():
        drifts = [_logp(model, item.encoded.prompt, item.mismatched) - item.mismatched_reference_logp for item in lists]
    z0 = max(0.0, float(sum(drifts)) / len(drifts))
    losses = []
    for item in lists:
        d = [
            _logp(model, item.encoded.prompt, response) - reference
            for response, reference in zip(item.encoded.responses, item.reference_logps, strict=True)
        ]
        best = 1 - torch.sigmoid(BETA * (d[0] - z0))
        others = [1 - torch.sigmoid(BETA * (z0 - value)) for value in d[1:]]
        losses.append((best + sum(others)) / len(d))
    return sum(losses) / len(losses)


def _nll(model, lists):
    logps = [_logp(model, item.prompt, item.responses[0]) for item in lists]
    return -sum(logps) / sum(len(item.responses[0]) for item in lists)


def _by_hand(policy, loss_of, lists, steps):
    """The loop as one would write it without a trainer: full batches, AdamW, clipped gradients."""
    model = ModelDir(policy, PLAIN).load_policy()
    decayed = [p for name, p in model.named_parameters() if "norm" not in name]
    others = [p for name, p in model.named_parameters() if "norm" in name]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": SETTINGS["weight_decay"]}, {"params": others, "weight_decay": 0.0}],
        lr=SETTINGS["learning_rate"],
    )
    losses, norms = [], []
    for _ in range(steps):
        loss = loss_of(model, lists)
        optimizer.zero_grad()
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0).item())
        optimizer.step()
        losses.append(loss.item())
    return model, losses, norms


CONSTANT = {"schedule": "constant", "warmup_ratio": 0.0, "epochs": 3, "micro_batch_tokens": 90}


@pytest.mark.parametrize("count", [4, 3])
@pytest.mark.parametrize(
    ("objective", "loss_of", "layout"),
    [("listmle", _listmle, padded_layout), ("listmle", _listmle, packed_layout), ("kto", _kto, padded_layout)],
)
def test_training_is_the_hand_written_loop(tiny_policy, lists, tmp_path, objective, loss_of, layout, count):
    """With no more lists than a batch holds every step sees all of them, whatever their order."""
    few = lists[:count]
    fitted = train(tiny_policy, few, tmp_path, objective, layout=layout, **CONSTANT)
    by_hand, losses, norms = _by_hand(tiny_policy, loss_of, few, 3)
    assert [row["loss"] for row in fitted.history] == pytest.approx(losses, rel=1e-5)
    assert [row["grad_norm"] for row in fitted.history] == pytest.approx(norms, rel=1e-4)
    assert losses[0] > losses[2]
    _assert_same_weights(fitted.model, by_hand)


def test_a_scheduled_top_picks_one_response_more_in_each_of_three_steps(tiny_policy, lists, tmp_path):
    tops = iter([1, 2, 3])
    fitted = train(tiny_policy, lists[:4], tmp_path, "listmle of a growing top", **CONSTANT)
    by_hand, losses, _ = _by_hand(tiny_policy, lambda model, few: _listmle(model, few, next(tops)), lists[:4], 3)
    assert [row["loss"] for row in fitted.history] == pytest.approx(losses, rel=1e-5)
    _assert_same_weights(fitted.model, by_hand)


def test_fine_tuning_is_the_hand_written_loop(tiny_policy, tmp_path):
    demonstrations = random_lists(4, sizes=(1,))
    assert len({len(item.responses[0]) for item in demonstrations}) > 1
    fitted = finetune(tiny_policy, demonstrations, tmp_path, **CONSTANT)
    by_hand, losses, norms = _by_hand(tiny_policy, _nll, demonstrations, 3)
    assert [row["loss"] for row in fitted.history] == pytest.approx(losses, rel=1e-5)
    assert [row["grad_norm"] for row in fitted.history] == pytest.approx(norms, rel=1e-4)
    _assert_same_weights(fitted.model, by_hand)


def test_kto_estimates_its_baseline_over_the_global_batch(tiny_policy, lists):
    """The guard of the tests above: the baseline is neither 0 nor the same in every forward pass."""
    model = ModelDir(tiny_policy, PLAIN).load_policy()
    with torch.no_grad():
        drifts = [
            float(_logp(model, item.encoded.prompt, item.mismatched)) - item.mismatched_reference_logp
            for item in lists[:4]
        ]
    assert sum(drifts) / 4 > 0.1
    assert abs(drifts[0] - drifts[1]) > 0.1


def test_history_has_one_row_a_step_and_the_logger_sees_each(tiny_policy, lists, tmp_path):
    seen = []
    fitted = train(tiny_policy, lists, tmp_path, "listmle", lambda row, step: seen.append((step, dict(row))))
    history = fitted.history
    assert [row["step"] for row in history] == [1, 2, 3, 4, 5, 6]
    assert [step for step, _ in seen] == [1, 2, 3, 4, 5, 6]
    assert [row["loss"] for _, row in seen] == [row["loss"] for row in history]
    names = {"loss", "grad_norm", "learning_rate", "margin", "ranking_accuracy", "kl", "chosen_logp_drift"}
    assert all(names <= row.keys() for row in history)
    assert all(math.isfinite(value) for row in history for value in row.values())
    assert [row["epoch"] for row in history] == pytest.approx([1 / 3, 2 / 3, 1, 4 / 3, 5 / 3, 2], abs=0.01)


@pytest.mark.parametrize("budget", [1000, 1])
def test_the_largest_lists_share_of_the_gradient_is_that_of_the_formula(tiny_policy, lists, tmp_path, budget):
    """ListMLE by hand; the first step takes all lists, in one forward pass or in many."""
    fitted = train(tiny_policy, lists, tmp_path, "listmle", max_steps=1, batch_size=10, micro_batch_tokens=budget)
    model, pulls = ModelDir(tiny_policy, PLAIN).load_policy(), []
    for item in lists:
        with torch.no_grad():
            logps = [_logp(model, item.encoded.prompt, response) for response in item.encoded.responses]
        d = torch.stack(logps) - torch.tensor(item.reference_logps)
        d.requires_grad_()
        sum((BETA * d[i:]).logsumexp(0) - BETA * d[i] for i in range(len(d))).backward()
        pulls.append(float(d.grad.abs().sum()))
    assert max(pulls) / sum(pulls) > 0.11
    assert fitted.history[0]["top_list_gradient_share"] == pytest.approx(max(pulls) / sum(pulls), rel=1e-4)


def test_speed_and_memory_are_logged_but_are_no_history(tiny_policy, lists, tmp_path):
    """They differ from run to run, and a published history must not."""
    seen = []
    fitted = train(tiny_policy, lists, tmp_path, "listmle", lambda row, _step: seen.append(dict(row)), max_steps=2)
    figures = {"seconds", "tokens_per_s", "memory_gib"}
    for row in seen:
        assert figures <= row.keys()
        assert 0 < row["seconds"] < 60
        assert 0.05 < row["memory_gib"] < 100
    assert seen[-1]["tokens_per_s"] * seen[-1]["seconds"] == pytest.approx(fitted.trainer.rank_batch.tokens)
    assert all(row.keys().isdisjoint({*figures, "mfu", "total_flos"}) for row in fitted.history)


def test_a_training_of_one_step_trains(tiny_policy, lists, tmp_path):
    """With the default warm-up. AdamW's first step moves every weight that has a gradient by the rate."""
    fitted = train(tiny_policy, lists, tmp_path, "listmle", max_steps=1, weight_decay=0.0)
    assert fitted.history[0]["learning_rate"] == SETTINGS["learning_rate"]
    before = ModelDir(tiny_policy, PLAIN).load_policy().get_output_embeddings().weight
    moved = (fitted.model.get_output_embeddings().weight - before).abs()
    assert moved.max().item() == pytest.approx(SETTINGS["learning_rate"], rel=1e-2)


@pytest.mark.parametrize(
    ("learning_rate", "what", "first"),
    [(1e10, "loss", r", first for a response to prompt p\d"), (1e30, "gradient norm", "")],
)
@pytest.mark.parametrize("max_steps", [2, 3])
def test_training_that_breaks_down_is_stopped(
    tiny_policy, lists, tmp_path, monkeypatch, learning_rate, what, first, max_steps
):
    """Even in the last step: nothing comes after it that would notice."""
    shown = []

    class Recorder(training_lists.Collator):
        def __call__(self, lists):
            shown.append(sorted(item.encoded.prompt_id for item in lists))
            return super().__call__(lists)

    monkeypatch.setattr(training_lists, "Collator", Recorder)
    with pytest.raises(
        ModelError,
        match=rf"the {what} became nan at step 2{first} \(its prompts are in (.*)\)\. Reduce the .* "
        r"and run `larpo --discard-partial \.\.\.`: this training cannot be continued",
    ) as told:
        train(
            tiny_policy,
            lists,
            tmp_path,
            "listmle",
            learning_rate=learning_rate,
            warmup_ratio=0.0,
            schedule="constant",
            max_steps=max_steps,
        )
    assert str(tmp_path / BROKEN_BATCH) in str(told.value)
    stated = json.loads((tmp_path / BROKEN_BATCH).read_text("utf-8"))
    assert (stated["step"], stated[what]) == (2, "nan")
    assert sorted(stated["prompt_ids"]) == shown[1]
    assert len(stated["prompt_ids"]) == SETTINGS["batch_size"]


def test_a_kl_estimate_that_breaks_down_is_not_taken_for_none(tiny_policy, lists, tmp_path):
    """The estimate is at least 0, and the larger one of 0 and nan is 0."""
    with pytest.raises(ModelError, match="the estimate of the KL divergence became nan at step 2"):
        train(tiny_policy, lists, tmp_path, "kto", learning_rate=1e10, warmup_ratio=0.0, schedule="constant")


def test_a_broken_step_is_not_kept_as_a_checkpoint(tiny_policy, lists, tmp_path):
    with pytest.raises(ModelError, match="at step 2"):
        train(
            tiny_policy,
            lists,
            tmp_path,
            "listmle",
            learning_rate=1e10,
            warmup_ratio=0.0,
            schedule="constant",
            save_steps=1,
        )
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-000000001"]


def test_the_seed_orders_the_lists(tiny_policy, lists, tmp_path):
    losses = [
        [row["loss"] for row in train(tiny_policy, lists, tmp_path / name, "listmle", seed=seed, epochs=1).history]
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    assert losses[0] == losses[1] != losses[2]
