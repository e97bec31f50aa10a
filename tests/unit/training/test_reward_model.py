import random
from itertools import combinations

import pytest
import torch
from small_models import FAMILIES
from torch.nn.functional import logsigmoid
from transformers import AutoModelForSequenceClassification, BertConfig, BertForSequenceClassification

from larpo_lib.config import LoraConfig, ModelConfig, RewardModelConfig
from larpo_lib.errors import ModelError
from larpo_lib.models.device import attention
from larpo_lib.models.layout import packed_layout, padded_layout
from larpo_lib.models.model_dir import ModelDir
from larpo_lib.objectives import ListBatch
from larpo_lib.training.arguments import training_arguments
from larpo_lib.training.collator import Collator, TrainingList
from larpo_lib.training.encode import EncodedList
from larpo_lib.training.fit import TrainingSession, fit
from larpo_lib.training.ranks import Ranks
from larpo_lib.training.reward_model import (
    LOSSES,
    RewardModelTrainer,
    attach_scores,
    choose_reward_layout,
    load_trainable_reward_model,
    with_last_tokens,
)

PAD = 0
PLAIN = ModelConfig(device="cpu")
CONFIG = RewardModelConfig(
    model=PLAIN,
    learning_rate=1e-3,
    weight_decay=0.01,
    schedule="constant",
    warmup_ratio=0.0,
    epochs=3,
    batch_size=4,
    micro_batch_tokens=60,
    max_prompt_tokens=32,
    max_tokens=64,
)
LAYOUTS = {"padded": padded_layout, "packed": packed_layout}
WITH_CLASSIFIER = [name for name in FAMILIES if name not in ("cohere", "granite")]


def _lists(count):
    """Lists of two to four conversations with falling rewards, of which those of four tie two."""
    rng = random.Random(0)

    def tokens(shortest, longest):
        return [rng.randint(5, 50) for _ in range(rng.randint(shortest, longest))]

    sizes = [2 + i % 3 for i in range(count)]
    return [
        EncodedList(f"p{i}", tokens(1, 6), [tokens(0, 8) for _ in range(size)], [3.0, 1.0, 1.0, 0.0][:size])
        for i, size in enumerate(sizes)
    ]


def _score(model, ids):
    """Of one conversation alone, by the model's own forward pass."""
    return model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, 0]


def _scores(model, lists):
    return [torch.stack([_score(model, item.prompt + response) for response in item.responses]) for item in lists]


def _loaded(path, config=CONFIG):
    return load_trainable_reward_model(ModelDir(path, config.model), config)


def _make_classifier(family, **changes):
    config = FAMILIES[family]()
    for name, value in {"num_labels": 1, **changes}.items():
        setattr(config, name, value)
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config, attn_implementation=attention(ModelConfig(), config))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.2)
    return model


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("family", WITH_CLASSIFIER)
def test_scores_and_gradients_are_those_of_conversations_alone(family, layout):
    model, lists = _make_classifier(family), _lists(4)
    expected = torch.cat(_scores(model, lists))
    weights = torch.linspace(-1.0, 2.0, len(expected))
    (expected * weights).sum().backward()
    gradients = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()

    rows = with_last_tokens(LAYOUTS[layout](PAD))([item.tokens for item in lists])
    scores = attach_scores(model)(**rows)
    (scores * weights).sum().backward()
    assert expected.std() > 0.05
    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=1e-4)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name], atol=1e-4, rtol=1e-3)


def test_the_last_tokens_state_is_what_is_scored(tiny_policy):
    model = _loaded(tiny_policy)
    ids = [2, 7, 8, 9, 4]
    with torch.no_grad():
        states = model.base_model(input_ids=torch.tensor([ids])).last_hidden_state[0]
        by_place = (states @ model.score.weight[0]).tolist()
        found = {
            name: model(**with_last_tokens(layout(PAD))([(ids[:2], [ids[2:], [5]])])).tolist()[0]
            for name, layout in LAYOUTS.items()
        }
    assert len({round(score, 3) for score in by_place}) == 5
    assert found == pytest.approx(dict.fromkeys(LAYOUTS, by_place[-1]), abs=1e-5)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_nothing_is_dropped_out_in_training(layout):
    """A resumed training could not go on with the random numbers of the one that was stopped."""
    model, lists = _make_classifier("phi3", attention_dropout=0.5, resid_pdrop=0.5), _lists(2)
    expected = torch.cat(_scores(model.eval(), lists))
    assert not torch.allclose(torch.cat(_scores(model.train(), lists)), expected, atol=1e-3)
    rows = with_last_tokens(LAYOUTS[layout](PAD))([item.tokens for item in lists])
    torch.testing.assert_close(attach_scores(model).train()(**rows), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_in_bfloat16_scores_are_those_of_a_head_in_float64(layout):
    model, seen = attach_scores(_make_classifier("llama")), []
    model.score.register_forward_hook(lambda head, inputs, output: seen.append((head.weight, inputs[0], output)))
    rows = with_last_tokens(LAYOUTS[layout](PAD))([item.tokens for item in _lists(3)])
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        scores = model(**rows)
    [(weight, states, found)] = seen
    torch.testing.assert_close(found.double(), states.double() @ weight.double().T, rtol=1e-5, atol=1e-6)
    assert (scores != scores.bfloat16()).any()


def test_rows_hold_all_of_a_conversation_and_nothing_behind_it():
    lists = [([7, 8], [[9], [], [10, 11]])]
    rows = with_last_tokens(padded_layout(PAD))(lists)
    assert rows["input_ids"].tolist() == [[7, 8, 9, PAD], [7, 8, PAD, PAD], [7, 8, 10, 11]]
    assert rows["attention_mask"].sum(1).tolist() == [3, 2, 4]
    layout = with_last_tokens(packed_layout(PAD))
    assert layout(lists)["input_ids"].tolist() == [[7, 8, 9, 10, 11]]
    assert layout.cost(lists) == 5
    assert with_last_tokens(padded_layout(PAD)).cost(lists) == 3 * 4


def _batch(scores, rewards):
    shape = (len(rewards), max(map(len, rewards)))
    tensors = {name: torch.zeros(shape, dtype=torch.float64) for name in ("scores", "rewards")}
    mask = torch.zeros(shape, dtype=torch.bool)
    for i, (given, reward) in enumerate(zip(scores, rewards, strict=True)):
        tensors["scores"][i, : len(given)] = torch.tensor(given)
        tensors["rewards"][i, : len(given)] = torch.tensor(reward)
        mask[i, : len(given)] = True
    return ListBatch(tensors["scores"], torch.zeros(shape), torch.ones(shape), tensors["rewards"], mask)


def test_the_pairwise_loss_is_trls_reward_loss_averaged_over_a_lists_pairs():
    """`-logsigmoid(rewards_chosen - rewards_rejected).mean()`, as `trl.RewardTrainer.compute_loss` has it."""
    scores, rewards = [[0.3, -1.2], [2.0, 0.5, -0.7, 0.1]], [[1.0, 0.0], [3.0, 1.0, 1.0, 0.0]]
    expected = []
    for given, reward in zip(scores, rewards, strict=True):
        pairs = [(i, j) for i, j in combinations(range(len(given)), 2) if reward[i] > reward[j]]
        chosen, rejected = (torch.tensor([given[pair[k]] for pair in pairs], dtype=torch.float64) for k in (0, 1))
        expected.append((-logsigmoid(chosen - rejected)).mean())
    torch.testing.assert_close(LOSSES["pairwise"](_batch(scores, rewards)), torch.stack(expected), atol=1e-7, rtol=0)


def test_the_listwise_loss_is_plackett_luces_negative_log_likelihood():
    scores = [2.0, 0.5, -0.7]
    weights = torch.tensor(scores, dtype=torch.float64).exp()
    probability = 1.0
    for i in range(3):
        probability *= float(weights[i] / weights[i:].sum())
    loss = LOSSES["listwise"](_batch([scores], [[3.0, 2.0, 1.0]]))
    assert loss.exp().reciprocal().tolist() == pytest.approx([probability], abs=1e-7)


def test_on_pairs_both_losses_are_bradley_terry():
    batch = _batch([[0.3, -1.2], [-0.4, 2.0]], [[1.0, 0.0], [5.0, -5.0]])
    torch.testing.assert_close(LOSSES["listwise"](batch), LOSSES["pairwise"](batch))


def _train(policy, lists, layout, loss, log=lambda _row, _step: None, config=CONFIG):
    model = _loaded(policy, config)
    session = TrainingSession(config, training_arguments(config), Ranks(), None, log)
    collate = Collator(with_last_tokens(LAYOUTS[layout](PAD)), PAD)

    def complete():
        return [TrainingList(item, [0.0] * len(item.responses)) for item in lists]

    return fit(session, RewardModelTrainer, model, {"loss": LOSSES[loss]}, lists, collate, complete)


def _pairwise(scores, rewards):
    pairs = [(i, j) for i, j in combinations(range(len(rewards)), 2) if rewards[i] > rewards[j]]
    return sum(-logsigmoid(scores[i] - scores[j]) for i, j in pairs) / len(pairs)


def _listwise(scores, rewards):
    worse = [[j for j in range(len(rewards)) if rewards[j] < rewards[i]] for i in range(len(rewards))]
    return sum(scores[[i, *others]].logsumexp(0) - scores[i] for i, others in enumerate(worse))


def _plain(policy):
    """The untrained model, with its own forward pass."""
    model = AutoModelForSequenceClassification.from_pretrained(policy, num_labels=1, pad_token_id=PAD)
    model.load_state_dict(_loaded(policy).state_dict())
    return model


def _by_hand(policy, lists, loss_of, steps):
    """The loop as one would write it without a trainer: each conversation alone, AdamW, clipped gradients."""
    model = _plain(policy)
    named = list(model.named_parameters())
    groups = [
        {"params": [p for name, p in named if "norm" not in name], "weight_decay": CONFIG.weight_decay},
        {"params": [p for name, p in named if "norm" in name], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=CONFIG.learning_rate)
    losses, norms = [], []
    for _ in range(steps):
        scores = _scores(model, lists)
        loss = sum(loss_of(one, item.rewards) for one, item in zip(scores, lists, strict=True)) / len(lists)
        optimizer.zero_grad()
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0).item())
        optimizer.step()
        losses.append(loss.item())
    return model, losses, norms


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("loss", "loss_of"), [("pairwise", _pairwise), ("listwise", _listwise)])
def test_training_is_the_hand_written_loop(tiny_policy, loss, loss_of, layout):
    """With no more lists than a batch holds every step sees all of them, in several forward passes."""
    lists = _lists(4)
    fitted = _train(tiny_policy, lists, layout, loss)
    by_hand, losses, norms = _by_hand(tiny_policy, lists, loss_of, 3)
    assert [row["loss"] for row in fitted.history] == pytest.approx(losses, rel=1e-5)
    assert [row["grad_norm"] for row in fitted.history] == pytest.approx(norms, rel=1e-4)
    assert losses[0] > losses[2]
    for (name, value), other in zip(fitted.model.named_parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(value, other, atol=2e-5, rtol=1e-4, msg=lambda text, name=name: f"{name}: {text}")


def test_the_history_tells_how_the_scores_order_the_responses(tiny_policy):
    lists, seen = _lists(2), []
    history = _train(tiny_policy, lists, "packed", "pairwise", lambda row, _step: seen.append(row)).history
    with torch.no_grad():
        scores = [one.tolist() for one in _scores(_plain(tiny_policy), lists)]
    assert history[0]["margin"] == pytest.approx(sum(one[0] - one[-1] for one in scores) / 2, abs=1e-5)
    right = [scores[0][0] > scores[0][1], *(scores[1][i] > scores[1][j] for i, j in ((0, 1), (0, 2)))]
    assert history[0]["ranking_accuracy"] == pytest.approx((right[0] + (right[1] + right[2]) / 2) / 2)
    assert {"kendall_tau", "ndcg"} <= history[0].keys()
    assert not {"kl", "chosen_logp_drift"} & history[0].keys()
    assert seen[0]["tokens_per_s"] > 0


def test_a_policys_body_gets_a_head_that_the_seed_decides(tiny_policy):
    model, again, other = (_loaded(tiny_policy, CONFIG.model_copy(update={"seed": seed})) for seed in (0, 0, 1))
    policy = ModelDir(tiny_policy, PLAIN).load_policy()
    for name, value in policy.base_model.state_dict().items():
        assert torch.equal(model.base_model.state_dict()[name], value), name
    assert torch.equal(model.score.weight, again.score.weight)
    assert not torch.equal(model.score.weight, other.score.weight)
    assert float(model.score.weight.detach().std()) == pytest.approx(1 / 33**0.5, rel=0.3)  # of 32 draws
    assert (model.config.num_labels, model.config.pad_token_id) == (1, PAD)


def test_only_a_policy_may_lack_the_head(tiny_classifier, tiny_policy, tmp_path):
    """A directory that says it is a reward model and has no head is broken, and so is a policy without its body."""
    broken = AutoModelForSequenceClassification.from_pretrained(tiny_classifier)
    ModelDir(tiny_classifier, PLAIN).tokenizer.save_pretrained(tmp_path)
    weights = broken.state_dict()
    broken.save_pretrained(tmp_path, state_dict={k: v for k, v in weights.items() if k != "score.weight"})
    with pytest.raises(ModelError, match=r"the weights have no score.weight\."):
        _loaded(tmp_path)
    policy = ModelDir(tiny_policy, PLAIN).load_policy()
    weights = {k: v for k, v in policy.state_dict().items() if k != "model.norm.weight"}
    policy.save_pretrained(tmp_path / "policy", state_dict=weights)
    ModelDir(tiny_policy, PLAIN).tokenizer.save_pretrained(tmp_path / "policy")
    with pytest.raises(ModelError, match=r"the weights have no model.norm.weight\."):
        _loaded(tmp_path / "policy")


def test_a_classifier_without_a_score_head_is_refused(tiny_policy, tmp_path):
    tokenizer = ModelDir(tiny_policy, PLAIN).tokenizer
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    encoder = BertForSequenceClassification(BertConfig(vocab_size=len(tokenizer), num_labels=1, **sizes))
    encoder.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="models of type 'bert' cannot be trained as a reward model"):
        _loaded(tmp_path)


def test_with_adapters_the_head_is_trained_and_has_none(tiny_policy):
    model = _loaded(tiny_policy, CONFIG.model_copy(update={"lora": LoraConfig(r=2)}))
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert "score.weight" in trained
    assert all(".lora_" in name for name in trained - {"score.weight"})
    assert len(trained) == 1 + 2 * 7 * 2  # two matrices beside each of the seven linear layers of two blocks


def test_adapters_beside_weights_in_bfloat16_are_scored_as_the_training_scores_them(tiny_policy):
    """Frozen weights are bfloat16, adapters and head float32; adapters that start at 0 change nothing."""
    bfloat16 = PLAIN.model_copy(update={"dtype": "bfloat16"})
    rows = with_last_tokens(padded_layout(PAD))([([7, 8], [[9, 10]])])
    found = []
    for lora in (None, LoraConfig(r=2)):
        model = _loaded(tiny_policy, CONFIG.model_copy(update={"lora": lora, "model": bfloat16}))
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            found.append(model(**rows).item())
    assert found[1] == pytest.approx(found[0], abs=0.02)


def test_prompts_are_shared_where_that_saves_enough(tiny_policy):
    model = _loaded(tiny_policy)
    long = [EncodedList("p", [7] * 20, [[8], [9], [10]], [2.0, 1.0, 0.0])]
    short = [EncodedList("p", [7], [[8] * 20, [9] * 20], [1.0, 0.0])]
    assert choose_reward_layout(model, long, PAD).name == "packed"
    assert choose_reward_layout(model, short, PAD).name == "padded"
