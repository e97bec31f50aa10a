"""The trainer against TRL's and against the step `train`, and what users of `transformers.Trainer` expect of it."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from preference_data import (
    Rows,
    as_pairs,
    assert_same_weights,
    conversations,
    history,
    load,
    make_trainer,
    moved,
    text_lists,
    weights,
)
from table_rows import preferences, with_table
from transformers import AutoTokenizer, HfArgumentParser, TrainingArguments

from larpo_lib import ListBatch, ListwiseConfig, ListwiseTrainer
from larpo_lib.artifacts import read_metrics
from larpo_lib.config import ObjectiveConfig, TrainConfig
from larpo_lib.errors import ConfigError
from larpo_lib.objectives.pairwise import dpo
from larpo_lib.steps import train
from larpo_lib.training.history import read_history

PAIRS = text_lists(4, sizes=(2,))
DPO = {"type": "dpo", "beta": 0.3}
TRL_METRICS = (
    "rewards/chosen",
    "rewards/rejected",
    "rewards/accuracies",
    "rewards/margins",
    "logps/chosen",
    "logps/rejected",
)


@pytest.fixture(autouse=True)
def few_words(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("WARNING")


def _by_trl(policy: Path, out: Path, rows: Rows, model: Any, ref_model: Any) -> Any:
    from trl import DPOConfig, DPOTrainer

    args = DPOConfig(
        output_dir=str(out), beta=0.3, per_device_train_batch_size=4, per_device_eval_batch_size=4, report_to=[],
        use_cpu=True, bf16=False, gradient_checkpointing=False, disable_tqdm=True,
    )  # fmt: skip
    data, tokenizer = Dataset.from_list(rows), AutoTokenizer.from_pretrained(policy)
    return DPOTrainer(model, ref_model, args, train_dataset=data, eval_dataset=data, processing_class=tokenizer)


def _gradients(trainer: Any) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of a step on the whole data set."""
    trainer.model.train()
    loss = trainer.compute_loss(trainer.model, trainer.data_collator([*trainer.train_dataset]))
    loss.backward()
    found = {name: each.grad for name, each in trainer.model.named_parameters() if each.grad is not None}
    return loss.item(), found


def _assert_same_step(ours: Any, theirs: Any) -> None:
    (loss, gradients), (expected, their_gradients) = _gradients(ours), _gradients(theirs)
    assert loss == pytest.approx(expected, abs=1e-6)
    assert gradients.keys() == their_gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, their_gradients[name], rtol=1e-4, atol=1e-6)
    assert max(gradient.abs().max() for gradient in gradients.values()) > 1e-2
    assert loss != pytest.approx(0.6931, abs=1e-3)  # where policy and reference are the same


@pytest.mark.parametrize(("form", "padding_free"), [("text", False), ("conversations", True)])
def test_a_step_on_pairs_and_their_metrics_are_trls(
    form: str, padding_free: bool, tiny_policy: Path, tmp_path: Path
) -> None:
    pairs = as_pairs(PAIRS if form == "text" else conversations(PAIRS))
    theirs = _by_trl(tiny_policy, tmp_path, pairs, load(tiny_policy), moved(tiny_policy))
    settings = {"objective": DPO, "padding_free": padding_free, "per_device_eval_batch_size": 3}
    ours = make_trainer(
        tiny_policy, tmp_path, pairs, ref_model=moved(tiny_policy), eval_dataset=Dataset.from_list(pairs), **settings
    )
    _assert_same_step(ours, theirs)
    found, expected = ours.evaluate(), theirs.evaluate()
    for name in ("loss", *TRL_METRICS):
        assert found[f"eval_{name}"] == pytest.approx(expected[f"eval_{name}"], abs=1e-5), name
    rows = len(ours.data_collator([*ours.train_dataset])["rows"]["input_ids"])
    assert rows == (1 if padding_free else 4)


def test_adapters_are_trained_as_trl_trains_them(tiny_policy: Path, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")

    def adapted() -> Any:
        torch.manual_seed(2)
        config = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False, lora_dropout=0.0)
        return peft.get_peft_model(load(tiny_policy), config)

    pairs = as_pairs(conversations(PAIRS))
    theirs = _by_trl(tiny_policy, tmp_path, pairs, adapted(), moved(tiny_policy))
    ours = make_trainer(tiny_policy, tmp_path, pairs, model=adapted(), ref_model=moved(tiny_policy), objective=DPO)
    _assert_same_step(ours, theirs)


def test_an_added_adapter_has_the_model_without_it_as_its_reference(tiny_policy: Path, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    pairs = as_pairs(PAIRS)
    ours = make_trainer(
        tiny_policy, tmp_path, pairs, peft_config=config, objective=DPO, max_steps=1, learning_rate=1e-2
    )
    plain = make_trainer(tiny_policy, tmp_path, pairs, objective=DPO)
    for row, expected in zip(ours.train_dataset, plain.train_dataset, strict=True):
        assert row["ref_logps"] == pytest.approx(expected["ref_logps"], abs=1e-4)
    before = weights(ours.model)
    ours.train()
    assert history(ours, "rewards/margins")[0] != 0.0
    changed = {name for name, value in weights(ours.model).items() if not value.equal(before[name])}
    assert changed
    assert all(".lora_" in name for name in changed)
    ours.save_model(str(tmp_path / "adapter"))
    assert (tmp_path / "adapter" / "adapter_model.safetensors").is_file()
    assert not (tmp_path / "adapter" / "model.safetensors").exists()
    assert "eval_loss" in ours.evaluate(Dataset.from_list(pairs))  # the reference is still there


def test_the_reference_is_scored_in_the_precision_of_the_training(tiny_policy: Path, tmp_path: Path) -> None:
    ours = make_trainer(tiny_policy, tmp_path, as_pairs(PAIRS[:1]), objective=DPO, max_steps=1, bf16=True)
    ours.train()
    assert history(ours, "rewards/chosen") == [0.0]
    assert history(ours, "rewards/rejected") == [0.0]


def _lists_for_the_step(rows: Rows, folder: Path) -> Path:
    found = []
    for row in rows:
        order = sorted(range(len(row["rewards"])), key=lambda i: -row["rewards"][i])
        texts = [row["completions"][i][0]["content"] for i in order]
        rewards, ends = [row["rewards"][i] for i in order], ["unknown"] * len(order)
        found.append(preferences(row["prompt"], texts, rewards, finish_reasons=ends))
    return with_table(folder, "lists", found)


MIXTURE = {
    "type": "mixture",
    "parts": [
        {"objective": {"type": "listmle", "top": 1, "top_at_end": "all", "reference_free": True}},
        {"objective": {"type": "dpo", "sft_weight": 0.3, "margin": 0.5}, "weight": 0.5},
    ],
}


@pytest.mark.parametrize("objective", ["listmle", "kto", "simpo", MIXTURE], ids=["listmle", "kto", "simpo", "mixture"])
def test_the_step_train_takes_the_same_steps_on_the_same_lists(
    objective: str | dict[str, Any], tiny_policy: Path, tmp_path: Path
) -> None:
    rows = conversations(text_lists(6))
    tree = {
        "objective": {"type": objective} if isinstance(objective, str) else objective,
        "batch_size": 6, "max_steps": 3, "learning_rate": 1e-3, "warmup_ratio": 0.0,
        "schedule": "constant", "max_tokens": 96, "max_prompt_tokens": 64, "model": {"device": "cpu"},
    }  # fmt: skip
    lists = _lists_for_the_step(rows, tmp_path / "lists")
    train.run(TrainConfig.model_validate(tree), policy=tiny_policy, lists=lists, trained=tmp_path / "step")
    ours = make_trainer(
        tiny_policy, tmp_path / "ours", rows, objective=objective, per_device_train_batch_size=6, max_steps=3,
        learning_rate=1e-3, lr_scheduler_type="constant", max_length=96, max_prompt_length=64,
    )  # fmt: skip
    ours.train()
    expected = [row["loss"] for row in read_history(tmp_path / "step")]
    assert len(set(expected)) == 3
    assert history(ours, "loss") == pytest.approx(expected, rel=1e-5)
    assert_same_weights(ours.model, load(tmp_path / "step"), 1e-5)
    assert history(ours, "ndcg") == pytest.approx([row["ndcg"] for row in read_history(tmp_path / "step")], abs=1e-5)
    assert read_metrics(tmp_path / "step")["lists"] == len(ours.train_dataset) == 6


def test_accumulated_batches_make_the_step_of_one_batch(tiny_policy: Path, tmp_path: Path) -> None:
    """Of the objective that reads an estimate over the step, too. Of five lists the last one is a step of its own."""
    rows = text_lists(5)
    common: dict[str, Any] = {"objective": "kto", "num_train_epochs": 2, "learning_rate": 1e-3}
    whole = make_trainer(tiny_policy, tmp_path / "1", rows, per_device_train_batch_size=4, **common)
    parts = make_trainer(
        tiny_policy, tmp_path / "2", rows, per_device_train_batch_size=1, gradient_accumulation_steps=4, **common
    )
    whole.train()
    parts.train()
    assert history(parts, "loss") == pytest.approx(history(whole, "loss"), rel=1e-5)
    assert history(parts, "rewards/margins") == pytest.approx(history(whole, "rewards/margins"), abs=1e-4)
    assert len(history(whole, "loss")) == 4
    assert_same_weights(whole.model, parts.model, 1e-5)


def test_a_resumed_training_ends_with_the_same_weights(tiny_policy: Path, tmp_path: Path) -> None:
    rows = text_lists(8)
    common: dict[str, Any] = {
        "per_device_train_batch_size": 2, "learning_rate": 1e-3, "save_strategy": "steps", "save_steps": 2,
        "gradient_checkpointing": True,
    }  # fmt: skip
    whole = make_trainer(tiny_policy, tmp_path / "whole", rows, num_train_epochs=1, **common)
    whole.train()
    again = make_trainer(tiny_policy, tmp_path / "again", rows, num_train_epochs=1, **common)
    again.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-2"))
    assert again.state.global_step == 4
    assert history(again, "loss") == history(whole, "loss")
    assert history(again, "rewards/margins") == history(whole, "rewards/margins")  # of the policy before, not of step 2
    assert_same_weights(again.model, whole.model, 0.0)
    stated = json.loads((tmp_path / "whole" / "checkpoint-4" / "trainer_state.json").read_text("utf-8"))
    assert stated["log_history"][0]["rewards/margins"] == 0.0


def test_a_trained_model_generates_and_is_saved_as_a_plain_one(tiny_policy: Path, tmp_path: Path) -> None:
    ours = make_trainer(tiny_policy, tmp_path, text_lists(4), max_steps=1, learning_rate=1e-2)
    ours.train()
    ours.save_model(str(tmp_path / "saved"))
    names = {path.name for path in (tmp_path / "saved").iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= names
    saved = load(tmp_path / "saved")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "saved")
    inputs = tokenizer("Tom has 5 pens. ", return_tensors="pt", return_token_type_ids=False)
    for options in ({"do_sample": False}, {"num_beams": 2, "do_sample": False}):
        found = ours.model.generate(**inputs, max_new_tokens=8, **options)
        assert found.tolist() == saved.generate(**inputs, max_new_tokens=8, **options).tolist()
    torch.testing.assert_close(ours.model(**inputs).logits, saved(**inputs).logits)
    again = make_trainer(tiny_policy, tmp_path, text_lists(4), model=ours.model)  # the cell of a notebook, run twice
    assert again.evaluate(again.train_dataset)["eval_kl"] == pytest.approx(0.0, abs=1e-6)


def test_a_function_is_an_objective(tiny_policy: Path, tmp_path: Path) -> None:
    def own(batch: ListBatch) -> torch.Tensor:
        ratios = 0.3 * (batch.policy_logps - batch.reference_logps)
        return torch.nn.functional.softplus(ratios[:, 1] - ratios[:, 0])

    pairs, ref = as_pairs(PAIRS), moved(tiny_policy)
    losses = []
    for given in (own, dpo.settings.model_validate(DPO), None):
        ours = make_trainer(tiny_policy, tmp_path, pairs, ref_model=ref, objective=DPO, objective_function=given)
        losses.append(_gradients(ours)[0])
    assert losses[0] == pytest.approx(losses[2], abs=1e-6)
    assert losses[1] == losses[2]
    by_settings = make_trainer(tiny_policy, tmp_path, pairs, objective_function=DPO)  # as the settings have it
    assert by_settings.criterion.settings == dpo.settings.model_validate(DPO)
    with pytest.raises(ConfigError, match="'objective' has the unknown type 'dop'"):
        make_trainer(tiny_policy, tmp_path, pairs, objective_function="dop")
    default = make_trainer(tiny_policy, tmp_path, pairs, objective_function="dpo")
    assert default.criterion.settings == dpo.settings.model_validate({})
    default = make_trainer(tiny_policy, tmp_path, pairs, objective_function=dpo)
    assert default.criterion.settings == dpo.settings.model_validate({})
    with pytest.raises(ConfigError, match=r"the objective <lambda> gave a result of shape \(\) for a batch of 4 lists"):
        _gradients(make_trainer(tiny_policy, tmp_path, pairs, objective_function=lambda batch: batch.rewards.sum()))


def test_what_cannot_be_right_is_refused_before_training(tiny_policy: Path, tmp_path: Path) -> None:
    pairs = as_pairs(PAIRS)
    for wrong, message in (
        ({"objective": {"type": "dpo", "bta": 1}}, r"unknown setting 'objective.bta'. Did you mean 'beta'\?"),
        ({"objective": "dop"}, "'objective' has the unknown type 'dop'"),
        ({"use_liger_kernel": True}, "use_liger_kernel has no effect"),
        ({"train_sampling_strategy": "group_by_length"}, r"train_sampling_strategy is 'group_by_length', but lists"),
        ({"train_sampling_strategy": "batch_rebalance"}, r"train_sampling_strategy is 'batch_rebalance', but lists"),
        ({"max_length": 10, "max_prompt_length": 10}, "max_prompt_length 10 leaves no room"),
        ({"fp16": True}, r"training with float16 is not supported\. Set bf16 in place of fp16"),
        ({"model": load(tiny_policy).half()}, "the model's weights are float16"),
    ):
        with pytest.raises(ConfigError, match=message):
            make_trainer(tiny_policy, tmp_path, pairs, **wrong)
    with pytest.raises(ConfigError, match="the objective simpo does not use a reference, but ref_model is passed"):
        make_trainer(tiny_policy, tmp_path, pairs, objective="simpo", ref_model=load(tiny_policy))
    not_ours: Any = TrainingArguments(output_dir=str(tmp_path), use_cpu=True)
    with pytest.raises(ConfigError, match=r"args is a TrainingArguments. Use a larpo_lib.ListwiseConfig"):
        ListwiseTrainer(load(tiny_policy), not_ours, Dataset.from_list(pairs))
    model = load(tiny_policy)
    with pytest.raises(ConfigError, match="ref_model is the model itself"):
        make_trainer(tiny_policy, tmp_path, pairs, model=model, ref_model=model)
    with pytest.raises(ConfigError, match=r"model is a str. Load it with AutoModelForCausalLM"):
        make_trainer(tiny_policy, tmp_path, pairs, model=str(tiny_policy))
    ours = make_trainer(tiny_policy, tmp_path, pairs, max_steps=1)
    ours.train()
    for measure in (ours.evaluate, ours.predict):
        with pytest.raises(ConfigError, match="when the reference of the objective listmle is gone"):
            measure(Dataset.from_list(pairs))


def test_float16_of_accelerate_launch_is_refused_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")
    with pytest.raises(ConfigError, match="training with float16 is not supported"):
        ListwiseConfig(output_dir=str(tmp_path), use_cpu=True)


def test_settings_come_from_a_command_line_too(tmp_path: Path) -> None:
    words = ["--output_dir", str(tmp_path), "--objective", json.dumps(DPO), "--max_length", "99", "--use_cpu", "true"]
    (args,) = HfArgumentParser(ListwiseConfig).parse_args_into_dataclasses(words)
    assert args.lists().objective == dpo.settings.model_validate(DPO)
    assert (args.lists().max_tokens, args.lists().max_prompt_tokens, args.learning_rate) == (99, 98, 1e-6)
    assert json.loads(args.to_json_string())["objective"] == DPO
    (named,) = HfArgumentParser(ListwiseConfig).parse_args_into_dataclasses(["--objective", "simpo"])
    assert isinstance(named.lists().objective, ObjectiveConfig)
    assert named.lists().objective.type == "simpo"


def test_predict_takes_what_evaluate_takes(tiny_policy: Path, tmp_path: Path) -> None:
    ours = make_trainer(tiny_policy, tmp_path, text_lists(4), eval_dataset=Dataset.from_list(text_lists(3)))
    expected = {name: value for name, value in ours.evaluate().items() if "runtime" not in name and "_per_" not in name}
    for data in (Dataset.from_list(text_lists(3)), ours.eval_dataset):
        found = ours.predict(data).metrics
        assert {
            name: found[name.replace("eval_", "test_", 1)] for name in expected if name != "epoch"
        } == pytest.approx({name: value for name, value in expected.items() if name != "epoch"})
    assert ours.counts["test_dataset"] == ours.counts["eval_dataset"]


def test_several_held_out_sets_are_measured_by_name(tiny_policy: Path, tmp_path: Path) -> None:
    held_out = {"first": Dataset.from_list(text_lists(3)), "second": Dataset.from_list(text_lists(5)[3:])}
    settings = {"eval_strategy": "steps", "eval_steps": 1, "metric_for_best_model": "eval_first_ndcg", "max_steps": 1}
    ours = make_trainer(tiny_policy, tmp_path, text_lists(4), eval_dataset=held_out, objective="kto", **settings)
    found = ours.train().metrics
    logged = {name for row in ours.state.log_history for name in row}
    assert {"eval_first_loss", "eval_second_loss", "eval_first_ndcg", "eval_second_rewards/margins"} <= logged
    assert found["eval_dataset['first']/unknown_ends_taught"] == 9
    assert found["eval_dataset['first']/responses_too_long_dropped"] == 0
    assert isinstance(ours, ListwiseTrainer)
