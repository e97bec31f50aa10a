from __future__ import annotations

import math

import pytest
import torch
from training_lists import PLAIN, SETTINGS, finetune, random_lists, train, with_reference

from larpo_lib.errors import ModelError
from larpo_lib.policies.load import load_policy

BETA = 0.1


@pytest.fixture(scope="module")
def lists(tiny_policy):
    """Ten: with four a step, the last step of an epoch has two."""
    return with_reference(tiny_policy, random_lists(10))


def _assert_same_weights(one, other):
    for (name, a), b in zip(one.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=2e-5, rtol=1e-4, msg=lambda text, name=name: f"{name}: {text}")


def _assert_same_history(one, other):
    assert [row.keys() for row in one] == [row.keys() for row in other]
    for a, b in zip(one, other, strict=True):
        assert a | {"epoch": 0} == pytest.approx(b | {"epoch": 0}, rel=1e-4, abs=1e-6)  # it counts micro-batches


@pytest.mark.parametrize("objective", ["listmle", "kto"])
def test_the_micro_batch_size_changes_neither_losses_nor_weights(tiny_policy, lists, tmp_path, objective):
    whole, history = train(tiny_policy, lists, tmp_path / "4", objective)
    assert len(history) == 6
    for size in (1, 2):
        model, rows = train(tiny_policy, lists, tmp_path / str(size), objective, micro_batch_size=size)
        _assert_same_history(rows, history)
        _assert_same_weights(model, whole)


def test_the_micro_batch_size_does_not_change_fine_tuning(tiny_policy, tmp_path):
    demonstrations = random_lists(10, sizes=(1,))
    whole, history = finetune(tiny_policy, demonstrations, tmp_path / "4")
    assert len(history) == 6
    for size in (1, 2):
        model, rows = finetune(tiny_policy, demonstrations, tmp_path / str(size), micro_batch_size=size)
        _assert_same_history(rows, history)
        _assert_same_weights(model, whole)


def test_gradient_checkpointing_changes_nothing(tiny_policy, lists, tmp_path):
    plain, history = train(tiny_policy, lists, tmp_path / "plain", "listmle")
    model, rows = train(tiny_policy, lists, tmp_path / "checkpointed", "listmle", gradient_checkpointing=True)
    _assert_same_history(rows, history)
    _assert_same_weights(model, plain)


def _logp(model, prompt, response):
    logits = model(input_ids=torch.tensor([prompt + response]), use_cache=False).logits[0]
    logps = logits.log_softmax(-1)[len(prompt) - 1 : -1]
    return logps[torch.arange(len(response)), torch.tensor(response)].sum()


def _listmle(model, lists):
    losses = []
    for item in lists:
        g = [
            BETA * (_logp(model, item.encoded.prompt, response) - reference)
            for response, reference in zip(item.encoded.responses, item.reference_logps, strict=True)
        ]
        losses.append(sum(torch.stack(g[i:]).logsumexp(0) - g[i] for i in range(len(g))))
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
    model = load_policy(policy, PLAIN)
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


CONSTANT = {"schedule": "constant", "warmup_ratio": 0.0, "epochs": 3, "micro_batch_size": 2}


@pytest.mark.parametrize("count", [4, 3])
@pytest.mark.parametrize(("objective", "loss_of"), [("listmle", _listmle), ("kto", _kto)])
def test_training_is_the_hand_written_loop(tiny_policy, lists, tmp_path, objective, loss_of, count):
    """With no more lists than a batch holds every step sees all of them, whatever their order."""
    few = lists[:count]
    model, history = train(tiny_policy, few, tmp_path, objective, **CONSTANT)
    by_hand, losses, norms = _by_hand(tiny_policy, loss_of, few, 3)
    assert [row["loss"] for row in history] == pytest.approx(losses, rel=1e-5)
    assert [row["grad_norm"] for row in history] == pytest.approx(norms, rel=1e-4)
    assert losses[0] > losses[2]
    _assert_same_weights(model, by_hand)


def test_fine_tuning_is_the_hand_written_loop(tiny_policy, tmp_path):
    demonstrations = random_lists(4, sizes=(1,))
    assert len({len(item.responses[0]) for item in demonstrations}) > 1
    model, history = finetune(tiny_policy, demonstrations, tmp_path, **CONSTANT)
    by_hand, losses, norms = _by_hand(tiny_policy, _nll, demonstrations, 3)
    assert [row["loss"] for row in history] == pytest.approx(losses, rel=1e-5)
    assert [row["grad_norm"] for row in history] == pytest.approx(norms, rel=1e-4)
    _assert_same_weights(model, by_hand)


def test_kto_estimates_its_baseline_over_the_global_batch(tiny_policy, lists, tmp_path):
    """The guard of the tests above: the baseline is neither 0 nor the same in every micro-batch."""
    model = load_policy(tiny_policy, PLAIN)
    with torch.no_grad():
        drifts = [
            float(_logp(model, item.encoded.prompt, item.mismatched)) - item.mismatched_reference_logp
            for item in lists[:4]
        ]
    assert sum(drifts) / 4 > 0.1
    assert abs(drifts[0] - drifts[1]) > 0.1


def test_history_has_one_row_a_step_and_the_logger_sees_each(tiny_policy, lists, tmp_path):
    seen = []
    _, history = train(tiny_policy, lists, tmp_path, "listmle", lambda row, step: seen.append((step, dict(row))))
    assert [row["step"] for row in history] == [1, 2, 3, 4, 5, 6]
    assert [step for step, _ in seen] == [1, 2, 3, 4, 5, 6]
    assert [row["loss"] for _, row in seen] == [row["loss"] for row in history]
    names = {"loss", "grad_norm", "learning_rate", "margin", "ranking_accuracy", "kl", "chosen_logp_drift"}
    assert all(names <= row.keys() for row in history)
    assert all(math.isfinite(value) for row in history for value in row.values())
    assert history[-1]["epoch"] == 2


def test_max_steps_bounds_training(tiny_policy, lists, tmp_path):
    _, history = train(tiny_policy, lists, tmp_path, "listmle", max_steps=2)
    assert [row["step"] for row in history] == [1, 2]


def test_the_learning_rate_warms_up_and_falls(tiny_policy, lists, tmp_path):
    _, history = train(tiny_policy, lists, tmp_path, "listmle", epochs=4, warmup_ratio=0.25)
    rates = [row["learning_rate"] for row in history]
    assert len(rates) == 12
    assert max(rates) == pytest.approx(SETTINGS["learning_rate"])
    assert rates.index(max(rates)) == 3
    assert rates[:4] == sorted(rates[:4])
    assert rates[3:] == sorted(rates[3:], reverse=True)


@pytest.mark.parametrize(("learning_rate", "what"), [(1e10, "loss"), (1e30, "gradient norm")])
def test_training_that_breaks_down_is_stopped(tiny_policy, lists, tmp_path, learning_rate, what):
    """Even in the last step: nothing comes after it that would notice."""
    message = rf"the {what} became nan at step 2\. Lower train.learning_rate"
    with pytest.raises(ModelError, match=message):
        train(
            tiny_policy,
            lists,
            tmp_path,
            "listmle",
            learning_rate=learning_rate,
            warmup_ratio=0.0,
            schedule="constant",
            max_steps=2,
        )


def test_the_seed_orders_the_lists(tiny_policy, lists, tmp_path):
    losses = [
        [row["loss"] for row in train(tiny_policy, lists, tmp_path / name, "listmle", seed=seed)[1]]
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    assert losses[0] == losses[1] != losses[2]
