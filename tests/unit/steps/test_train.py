import json

import pytest
import torch
from safetensors.torch import load_file
from small_models import user
from step_doubles import Killed, kill_at_four, published
from trainings import PLAIN, fail, ten_lists, training

from larpo_lib import artifacts
from larpo_lib.config import LoraConfig, ModelConfig, ObjectiveConfig
from larpo_lib.errors import ArtifactError, DataError, LarpoError
from larpo_lib.models.model_dir import ModelDir
from larpo_lib.objectives.function import FunctionObjectiveConfig
from larpo_lib.objectives.listwise import contrastive, listmle
from larpo_lib.objectives.ndcg import lipo_lambda
from larpo_lib.objectives.pairwise import simpo
from larpo_lib.objectives.pointwise import kto
from larpo_lib.steps import train
from larpo_lib.training.history import read_history

BFLOAT16 = ModelConfig(device="cpu", dtype="bfloat16")
FIRST = {"max_steps": 1, "batch_size": 1, "micro_batch_tokens": 2000, "seed": 0}
"""A first step of one list, where all would fit into a pass: scored there, it differs by .01 nats in bfloat16."""


@pytest.fixture(scope="module")
def rows():
    return ten_lists()


@pytest.fixture(scope="module")
def uneven_rows():
    """Prompts of about 20, 40 and 60 tokens, so that what shares a forward pass decides how it is padded."""
    return ten_lists(lambda number: 1 + number % 3)


@pytest.fixture
def run(tiny_policy, tmp_path, rows):
    return training(tiny_policy, tmp_path, rows)


@pytest.fixture(scope="module")
def loud_policy(tiny_policy, tmp_path_factory):
    """Weights so large that bfloat16's rounding differs between rows of other lengths."""
    directory = tmp_path_factory.mktemp("loud")
    model = ModelDir(tiny_policy, PLAIN).load_policy()
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.2, generator=generator)
    model.save_pretrained(directory)
    ModelDir(tiny_policy, PLAIN).tokenizer.save_pretrained(directory)
    return directory


def test_a_trained_policy_is_published_with_history_and_metrics(run, tmp_path, tiny_policy):
    metrics = run()
    history = read_history(tmp_path / "trained")
    assert [row["step"] for row in history] == [1, 2, 3, 4, 5, 6]
    assert (metrics["lists"], metrics["responses"], metrics["steps"]) == (10, 30, 6)
    assert metrics["final_loss"] == history[-1]["loss"]
    assert metrics["final_ranking_accuracy"] == history[-1]["ranking_accuracy"]
    assert history[-1]["loss"] < history[0]["loss"]
    assert history[-1]["margin"] > 0
    tokenizer = ModelDir(tmp_path / "trained", PLAIN).tokenizer
    assert tokenizer.chat_template == ModelDir(tiny_policy, PLAIN).tokenizer.chat_template
    before, after = ModelDir(tiny_policy, PLAIN).load_policy(), ModelDir(tmp_path / "trained", PLAIN).load_policy()
    assert any((a != b).any() for a, b in zip(before.parameters(), after.parameters(), strict=True))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"lora": LoraConfig(r=4)},
        {"model": BFLOAT16},
        {"model": BFLOAT16, "lora": LoraConfig(r=4)},
        {"model": BFLOAT16, "micro_batch_tokens": 100},
        {"model": BFLOAT16, "gradient_checkpointing": True},
    ],
)
def test_the_first_step_starts_from_the_reference(run, tmp_path, loud_policy, uneven_rows, changes):
    """Before any update policy and reference are one: no drift, and ListMLE of three equal scores is ln 3! .

    In bfloat16 too, since both were scored in the same rows.
    """
    metrics = run(rows=uneven_rows, policy=loud_policy, objective=listmle.settings(), **FIRST | changes)
    (row,) = read_history(tmp_path / "trained")
    assert row["loss"] == pytest.approx(1.791759, abs=1e-6)
    assert (row["margin"], row["kl"], row["chosen_logp_drift"], row["ranking_accuracy"]) == (0, 0, 0, 0)
    assert metrics["start_log_ratio_max_abs"] == row["start_log_ratio_max_abs"] == 0


def test_ktos_baseline_starts_at_nothing_in_bfloat16_too(run, tmp_path, loud_policy, uneven_rows):
    """z0 is exactly 0 then, and every log-ratio: each response has 1 - sigmoid(0) as its loss."""
    run(rows=uneven_rows, policy=loud_policy, objective=kto.settings(), model=BFLOAT16, **FIRST)
    (row,) = read_history(tmp_path / "trained")
    assert row["start_log_ratio_max_abs"] == 0
    assert row["loss"] == 0.5


def test_what_another_scoring_differs_by_is_told(run, tmp_path, loud_policy, uneven_rows):
    """Log-probabilities that were scored in other rows: what is left of bfloat16's rounding stands in the metrics."""
    settings = {"policy": loud_policy, "rows": uneven_rows, "max_steps": 1, "model": BFLOAT16}
    run("one", micro_batch_tokens=1, **settings)
    metrics = run("other", micro_batch_tokens=2000, reference_logps=tmp_path / "one", **settings)
    assert 1e-3 < metrics["start_log_ratio_max_abs"] < 1


@pytest.mark.parametrize("pad", ["<end>", "<unk>"])
def test_the_pad_token_is_of_no_consequence_even_if_it_ends_turns(run, tmp_path, pad):
    run("own", max_steps=2)
    run("other", max_steps=2, model=ModelConfig(device="cpu", pad_token=pad))
    own, other = (load_file(tmp_path / name / "model.safetensors") for name in ("own", "other"))
    assert all(torch.equal(own[name], other[name]) for name in own)


@pytest.mark.parametrize("objective", [contrastive.settings(), kto.settings()])
def test_a_killed_run_ends_with_the_same_bytes(run, tmp_path, monkeypatch, objective):
    run("whole", objective=objective)
    with pytest.raises(Killed):
        run("killed", log=kill_at_four, objective=objective)
    assert not (tmp_path / "killed").exists()
    monkeypatch.setattr(train, "reference_logps", fail)
    seen = []
    run("killed", log=lambda _row, step: seen.append(step), objective=objective)
    assert seen == [3, 4, 5, 6]
    assert published(tmp_path / "killed") == published(tmp_path / "whole")


def test_the_reference_is_the_policy_as_it_was_also_in_a_run_that_goes_on(run, tmp_path):
    """Without the values that were kept it is scored again, and not by what the checkpoint has made of the policy."""
    run("whole")
    with pytest.raises(Killed):
        run("killed", log=kill_at_four)
    (kept,) = tmp_path.glob(".killed.partial/*/scratch/reference.logps")
    kept.unlink()
    run("killed")
    assert published(tmp_path / "killed") == published(tmp_path / "whole")


def test_execution_settings_may_change_before_a_killed_run_goes_on(run, tmp_path):
    whole = run("whole")
    with pytest.raises(Killed):
        run("killed", log=kill_at_four)
    seen = []
    with pytest.raises(ArtifactError, match=r"killed: is half done with config\.learning_rate \S+ instead of 0\.25\."):
        run("killed", learning_rate=0.25)
    changes = {"micro_batch_tokens": 50, "save_steps": 1, "gradient_checkpointing": True, "logprob_chunk_tokens": 7}
    metrics = run("killed", log=lambda _row, step: seen.append(step), **changes)
    assert seen == [3, 4, 5, 6]
    assert metrics == pytest.approx(whole, rel=1e-3, abs=1e-5)


def test_token_ids_without_an_embedding_are_refused_before_weights_are_loaded(run, rows, monkeypatch):
    monkeypatch.setattr(train, "load_trainable", fail)
    other = [{**rows[0], "token_ids": [[7, 8], [9, 10**6], [4]]}, *rows[1:]]
    with pytest.raises(DataError, match=rf"prompt {rows[0]['prompt_id']} has the token id 1000000, but .* below \d+"):
        run(rows=other)


def test_ktos_mismatched_responses_answer_another_prompt(run, rows, monkeypatch):
    seen = {}

    class Recorder(train.Collator):
        def __call__(self, lists):
            seen.update({item.encoded.prompt_id: item for item in lists})
            return super().__call__(lists)

    monkeypatch.setattr(train, "Collator", Recorder)
    distinct = [{**row, "token_ids": [[20 + i, 4], [7, 4], [8, 4]]} for i, row in enumerate(rows)]
    run(rows=distinct, objective=kto.settings(), epochs=1)
    best = {row["prompt_id"]: row["token_ids"][0] for row in distinct}
    assert seen.keys() == best.keys()
    assert sorted(item.mismatched for item in seen.values()) == sorted(best.values())
    assert all(item.mismatched != best[prompt] for prompt, item in seen.items())


def test_what_does_not_fit_is_counted(run, rows):
    long = [{**rows[0], "messages": user("Ann " * 80)}]
    cut = [{**rows[1], "responses": ["1 " * 90, *rows[1]["responses"][1:]]}]
    tied = [{**rows[2], "rewards": [1.0, 1.0, 1.0]}]
    metrics = run(rows=[*rows[3:], *long, *cut, *tied], max_steps=1)
    assert metrics["lists"] == 8
    assert metrics["responses"] == 7 * 3 + 2
    assert metrics["prompts_too_long_dropped"] == 1
    assert metrics["responses_too_long_dropped"] == 1
    assert metrics["lists_without_preference_dropped"] == 1


def test_sampled_token_ids_are_what_is_trained_on(run, rows):
    """A re-tokenization could split the text otherwise; here the ids say something else altogether."""
    plain = run("plain", max_steps=1)
    other = [{**row, "token_ids": [[7, 8, 4], [9, 4], [10, 11, 12, 4]]} for row in rows]
    metrics = run("sampled", rows=other, max_steps=1)
    assert metrics["response_tokens"] == 10 * 9 != plain["response_tokens"]


def test_execution_settings_find_the_same_artifact_and_others_do_not(run, tmp_path):
    metrics = run(max_steps=1)
    manifest = json.loads((tmp_path / "trained" / "artifact.json").read_text())
    assert manifest["inputs"].keys() == {"policy", "lists"}
    assert run(max_steps=1, micro_batch_tokens=1, save_steps=1, gradient_checkpointing=True, log=fail) == metrics
    with pytest.raises(
        ArtifactError, match=r"exists already, but was made with config.learning_rate 0.001 instead of 0.002"
    ):
        run(max_steps=1, learning_rate=2e-3)


@pytest.mark.parametrize("kept", [None, "kept"])
def test_a_crash_while_publishing_loses_no_step(run, tmp_path, monkeypatch, kept):
    changes = {"checkpoints": str(tmp_path / kept)} if kept else {}

    def killed(*_args):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(artifacts, "_publish", killed)
        with pytest.raises(Killed):
            run(**changes)
    seen = []
    run(log=lambda _row, step: seen.append(step), **changes)
    assert seen == [5, 6]  # the last of the six is not saved: the policy itself is about to be


SIMPO = """
import torch
from larpo_lib.objectives import objective
from larpo_lib.objectives.masked import policy_logps, token_counts
from larpo_lib.objectives.terms import where_decided

@objective(needs_reference=False)
def mine(batch, *, beta: float = 2.0, gamma: float = 1.0):
    scores = policy_logps(batch) / token_counts(batch)
    worst = scores.gather(1, batch.mask.sum(dim=1, keepdim=True).clamp(min=1) - 1)[:, 0]
    return where_decided(-torch.nn.functional.logsigmoid(beta * (scores[:, 0] - worst) - gamma), batch)
"""


def test_a_function_trains_the_very_policy_that_our_own_objective_trains(run, tmp_path):
    """SimPO, written from its formula; it declares that it needs no reference, so that none is scored."""
    (tmp_path / "mine.py").write_text(SIMPO)
    mine = FunctionObjectiveConfig(target=f"{tmp_path}/mine.py:mine", settings={"gamma": 0.5})
    own = run("own", objective=simpo.settings(gamma=0.5), max_steps=2)
    del own["final_saturated_pair_share"]  # of a function it is not known what stands in its sigmoids
    assert run("function", objective=mine, max_steps=2) == own
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("own", "function")]
    assert weights[0] == weights[1]
    (tmp_path / "mine.py").write_text(SIMPO + "\n")
    with pytest.raises(ArtifactError, match=r"exists already, but was made with .*inputs\.objective"):
        run("function", objective=mine, max_steps=2)
    (tmp_path / "mine.py").write_text("def mine(batch): return batch.rewards.sum()")
    with pytest.raises(
        LarpoError, match=r"mine\.py:mine gave a tensor of shape \(\), not one loss for each of 2 lists"
    ):
        run("other", objective=FunctionObjectiveConfig(target=f"{tmp_path}/mine.py:mine"))
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("reward", [-0.5, 1250.0])
@pytest.mark.parametrize("config", [made for made in ObjectiveConfig.entries().values() if made.exponential_gains])
def test_rewards_that_two_would_be_raised_to_are_refused_by_row(run, rows, config, reward):
    raw = [*rows[:2], {**rows[2], "rewards": [max(reward, 1.0), 0.4, min(reward, 0.1)]}, *rows[3:]]
    kind = config.model_fields["type"].default
    told = rf"row 2, field 'rewards': prompt \w+ .* the reward {reward:g}, but {kind} .*minmax or rank"
    with pytest.raises(DataError, match=told):
        run(rows=raw, objective=config())
    run("other", rows=raw, objective=lipo_lambda.settings(rewards="win_rate"), max_steps=1)
