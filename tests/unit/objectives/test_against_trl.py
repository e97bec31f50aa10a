"""The objectives against the loss code of TRL's trainers, run on made-up model outputs."""

import math
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from list_batches import Response, batch_of, loss_and_gradient, loss_of
from torch import Tensor

from larpo_lib.config.load import check
from larpo_lib.objectives.mixture import MixtureConfig
from larpo_lib.testing import lists

PAIRS: list[list[Response]] = [
    [(-10.0, -14.0, 10, 1.0), (-30.0, -20.0, 20, 0.0)],
    [(-16.0, -17.0, 8, 1.0), (-15.0, -13.0, 5, 0.0)],
    [(-42.0, -20.0, 17, 1.0), (-21.0, -33.0, 12, 0.0)],
]


def _trainer(kind: type, **attributes: Any) -> Any:
    """A trainer as far as its loss code needs one; its __init__ would want a model and a data set."""
    trainer = kind.__new__(kind)
    accelerator = SimpleNamespace(device=torch.device("cpu"), gather=lambda x: x, gather_for_metrics=lambda x: x)
    trainer.__dict__.update(
        accelerator=accelerator,
        model=SimpleNamespace(training=True),
        aux_loss_enabled=False,
        _metrics=defaultdict(lambda: defaultdict(list)),
        _total_train_tokens=0,
        _tp_size=1,
        **attributes,
    )
    return trainer


def _outputs(logps: Tensor, lengths: Tensor) -> tuple[Any, dict[str, Tensor]]:
    """Model outputs with these log-probabilities, spread evenly over each response's tokens, and the inputs to them."""
    completion = torch.arange(int(lengths.max())) < lengths.unsqueeze(1)
    log_probs = torch.where(completion, (logps / lengths).unsqueeze(1), 0.0)
    prompt = torch.zeros(len(logps), 1, dtype=torch.long)
    inputs = {
        "input_ids": torch.zeros(len(logps), completion.shape[1] + 1, dtype=torch.long),
        "attention_mask": torch.cat([prompt + 1, completion.long()], dim=1),
        "completion_mask": torch.cat([prompt, completion.long()], dim=1),
    }
    return SimpleNamespace(
        log_probs=log_probs,
        entropy=torch.zeros_like(log_probs),
        mean_logits=torch.zeros_like(log_probs),
        is_top1=torch.zeros_like(completion),
    ), inputs


def _trl_dpo(
    loss_type: str, pairs: list[list[Response]], beta: float, label_smoothing: float = 0.0, **further: float
) -> Any:
    """DPOTrainer's mean loss, and its (B, 2) gradient with respect to the log-probabilities. `further`: weights."""
    from trl import DPOTrainer

    trainer = _trainer(
        DPOTrainer,
        ld_alpha=None,
        precompute_ref_logps=True,
        f_divergence_type="reverse_kl",
        loss_types=[loss_type, *further],
        loss_weights=[1.0, *further.values()],
        use_weighting=False,
        beta=beta,
        label_smoothing=label_smoothing,
    )
    batch = batch_of(pairs)
    logps = batch.policy_logps.requires_grad_()
    outputs, inputs = _outputs(logps.T.flatten(), batch.lengths.T.flatten())
    inputs["ref_chosen_logps"], inputs["ref_rejected_logps"] = batch.reference_logps.unbind(dim=1)
    loss = trainer._compute_loss(lambda **_: outputs, inputs, return_outputs=False)
    return loss.detach(), torch.autograd.grad(loss, logps)[0]


def _ours(name: str, pairs: list[list[Response]], **options: Any) -> Any:
    batch = batch_of(pairs)
    logps = batch.policy_logps.requires_grad_()
    loss = loss_of(name, batch, **options).mean()
    return loss.detach(), torch.autograd.grad(loss, logps)[0]


@pytest.mark.parametrize("beta", [0.01, 0.1, 0.5])
def test_dpo(beta: float) -> None:
    expected = _trl_dpo("sigmoid", PAIRS, beta)
    for name in ("dpo", "contrastive", "lambdarank", "listmle"):
        torch.testing.assert_close(_ours(name, PAIRS, beta=beta), expected)


@pytest.mark.parametrize("pair", PAIRS)
def test_dpo_with_label_smoothing(pair: list[Response]) -> None:
    """TRL's `aot` on a single pair, where there is nothing to sort, is conservative DPO."""
    expected = _trl_dpo("aot", [pair], 0.1, label_smoothing=0.2)
    torch.testing.assert_close(_ours("dpo", [pair], beta=0.1, label_smoothing=0.2), expected)


@pytest.mark.parametrize("pair", PAIRS)
def test_robust_listmle(pair: list[Response]) -> None:
    """Of two responses: conservative DPO where the policy orders them rightly, as in all but the last, and else DPO."""
    rho = 0.0 if pair is PAIRS[-1] else 0.2
    expected = _trl_dpo("aot", [pair], 0.1, label_smoothing=rho)
    torch.testing.assert_close(_ours("robust_listmle", [pair], beta=0.1, rho=0.2), expected)


@pytest.mark.parametrize("pair", PAIRS)
def test_target(pair: list[Response]) -> None:
    """Of two responses: conservative DPO, whose label smoothing is the worse one's share of the target."""
    smoothing = 1 / (1 + math.exp(1 / 0.7))
    expected = _trl_dpo("aot", [pair], 0.1, label_smoothing=smoothing)
    torch.testing.assert_close(_ours("target", [pair], beta=0.1, tau=0.7), expected)


@pytest.mark.parametrize("smoothing", [0.05, 0.2])
def test_reverse_target(smoothing: float) -> None:
    """Of two responses: TRL's `exo_pair`, whose target is 1 - label smoothing and label smoothing."""
    expected = _trl_dpo("exo_pair", PAIRS, 0.1, label_smoothing=smoothing)
    tau = 1 / math.log((1 - smoothing) / smoothing)
    torch.testing.assert_close(_ours("target", PAIRS, beta=0.1, tau=tau, direction="reverse"), expected)


def test_kto_without_drift() -> None:
    """Of two responses, with z0 = 0: half of TRL's `apo_zero`, which has no mean over the two."""
    loss, gradient = _trl_dpo("apo_zero", PAIRS, 0.1)
    batch = batch_of(PAIRS, kl=0.0)
    losses, slopes = loss_and_gradient("kto", batch, beta=0.1)
    torch.testing.assert_close((2 * losses.mean(), 2 * slopes / len(PAIRS)), (loss, gradient))


def test_mixture() -> None:
    """TRL's weighted `loss_type`s, as of MPO."""
    parts = [{"objective": {"type": "dpo"}}, {"weight": 0.3, "objective": {"type": "nca", "tau": 1e-3}}]
    parts.append({"weight": 0.2, "objective": {"type": "ipo", "length_normalized": True}})
    loss, gradient = lists.loss_and_gradient(check(MixtureConfig, {"parts": parts}).make(), batch_of(PAIRS))
    expected = _trl_dpo("sigmoid", PAIRS, 0.1, nca_pair=0.3, ipo=0.2)
    torch.testing.assert_close((loss.mean(), gradient / len(PAIRS)), expected)


@pytest.mark.parametrize("beta", [0.01, 0.1, 0.5])
def test_nca(beta: float) -> None:
    """TRL's `nca_pair` gives all of the target to the chosen response."""
    torch.testing.assert_close(_ours("nca", PAIRS, beta=beta, tau=1e-3), _trl_dpo("nca_pair", PAIRS, beta))
    assert _ours("nca", PAIRS[:1], tau=1e-3)[0].item() == pytest.approx(1.126154, abs=6e-7)


@pytest.mark.parametrize("tau", [0.01, 0.1, 1.0])
def test_ipo(tau: float) -> None:
    torch.testing.assert_close(_ours("ipo", PAIRS, tau=tau, length_normalized=True), _trl_dpo("ipo", PAIRS, tau))


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("name", ["dpo", "listmle", "lambdarank", "contrastive"])
def test_options(name: str, pair: list[Response]) -> None:
    """TRL has `sft` beside `sigmoid`, which is RPO, `robust` for noisy labels, and `sigmoid_norm` for length."""
    for options, expected in (
        ({"sft_weight": 0.7}, _trl_dpo("sigmoid", [pair], 0.1, sft=0.7)),
        ({"label_noise": 0.2}, _trl_dpo("robust", [pair], 0.1, label_smoothing=0.2)),
        ({"label_smoothing": 0.2}, _trl_dpo("aot", [pair], 0.1, label_smoothing=0.2)),
        ({"length_normalized": True}, _trl_dpo("sigmoid_norm", [pair], 0.1)),
    ):
        torch.testing.assert_close(_ours(name, [pair], beta=0.1, **options), expected)


def test_kto() -> None:
    from trl import KTOTrainer

    responses: list[Response] = [
        (-10.0, -14.0, 10, 1.0),
        (-9.0, -8.0, 3, 1.0),
        (-15.0, -13.0, 5, 0.3),
        (-30.0, -20.0, 20, 0.0),
    ]
    mismatched, mismatched_reference = torch.tensor([-50.0, -61.0]), torch.tensor([-53.0, -60.5])
    batch = batch_of([responses], kl=(mismatched - mismatched_reference).mean().item())
    options = {"beta": 0.1, "desirable_weight": 1.5, "undesirable_weight": 0.8}
    trainer = _trainer(KTOTrainer, calculate_KL=True, precompute_ref_logps=True, loss_type="kto", **options)
    logps = batch.policy_logps.requires_grad_()
    outputs, inputs = _outputs(logps[0], batch.lengths[0])
    mismatched_outputs, mismatched_inputs = _outputs(mismatched, torch.tensor([4, 6]))
    inputs |= {f"KL_{key}": value for key, value in mismatched_inputs.items()}
    inputs |= {
        "label": batch.rewards[0] == 1.0,
        "ref_logps": batch.reference_logps[0],
        "ref_KL_logps": mismatched_reference,
    }

    def model(input_ids: Tensor, **_: Any) -> Any:
        return outputs if len(input_ids) == len(responses) else mismatched_outputs

    expected = trainer._compute_loss(model, inputs, return_outputs=False)
    (gradient,) = torch.autograd.grad(expected, logps)
    torch.testing.assert_close(loss_and_gradient("kto", batch, **options), (expected.detach().unsqueeze(0), gradient))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("name", "options", "trl_options"),
    [
        ("cpo", {"beta": 0.1, "sft_weight": 0.7}, {"loss_type": "sigmoid", "beta": 0.1, "cpo_alpha": 0.7}),
        ("simpo", {"beta": 2.5, "gamma": 0.3}, {"loss_type": "simpo", "beta": 2.5, "simpo_gamma": 0.3}),
        ("simpo", {"beta": 2.0, "gamma": 1.6}, {"loss_type": "simpo", "beta": 2.0, "simpo_gamma": 1.6}),
        ("slic_hf", {"delta": 1.0, "sft_weight": 0.0}, {"loss_type": "hinge", "beta": 1.0}),
        (
            "simpo",
            {"beta": 2.0, "gamma": 1.6, "sft_weight": 0.7},
            {"loss_type": "simpo", "beta": 2.0, "simpo_gamma": 1.6, "cpo_alpha": 0.7},
        ),
        (
            "listmle",
            {"beta": 0.1, "reference_free": True, "label_smoothing": 0.2, "sft_weight": 0.7},
            {"loss_type": "sigmoid", "beta": 0.1, "label_smoothing": 0.2, "cpo_alpha": 0.7},
        ),
        (
            "ipo",
            {"tau": 0.5, "reference_free": True, "length_normalized": True},
            {"loss_type": "ipo", "beta": 0.5},
        ),
    ],
)
def test_cpo_trainer_from_logits(name: str, options: dict[str, float], trl_options: dict[str, Any], seed: int) -> None:
    """From logits on: TRL's log-probabilities, averages and negative log-likelihood are its own."""
    from trl.experimental.cpo import CPOTrainer

    generator = torch.Generator().manual_seed(seed)
    vocabulary, prompt, lengths = 11, 3, (6, 4)
    settings = {"cpo_alpha": 0.0, "alpha": 0.0, "simpo_gamma": 0.0, "label_smoothing": 0.0, **trl_options}
    trainer = _trainer(CPOTrainer, is_encoder_decoder=False, pad_token_id=0, **settings)
    width = prompt + max(lengths)
    logits = 3 * torch.randn(2, width, vocabulary, generator=generator, dtype=torch.float64)
    ids = [torch.randint(1, vocabulary, (1, prompt + n), generator=generator) for n in lengths]
    labels = [torch.cat([torch.full((1, prompt), -100), row[:, prompt:]], dim=1) for row in ids]
    batch = {}
    for side, row, label in zip(("chosen", "rejected"), ids, labels, strict=True):
        batch |= {f"{side}_input_ids": row, f"{side}_labels": label, f"{side}_attention_mask": torch.ones_like(row)}
    expected, _ = trainer.get_batch_loss_metrics(lambda *_, **__: SimpleNamespace(logits=logits), batch)

    logps = [
        logits[i, prompt - 1 : prompt - 1 + n].log_softmax(-1).gather(-1, ids[i][:, prompt:].T).sum().item()
        for i, n in enumerate(lengths)
    ]
    pair: list[Response] = [(logps[0], 0.0, lengths[0], 1.0), (logps[1], 0.0, lengths[1], 0.0)]
    torch.testing.assert_close(loss_of(name, batch_of([pair]), **options).sum(), expected)
