from __future__ import annotations

import json
import random

import pytest
import torch
from safetensors.torch import load_file
from small_models import break_token, user
from step_doubles import Killed, published
from table_rows import preferences

from larpo_lib import artifacts
from larpo_lib.config import LoraConfig, ModelConfig, ObjectiveConfig, TrainConfig
from larpo_lib.errors import ArtifactError, ConfigError, DataError, LarpoError, ModelError
from larpo_lib.models.layout import padded_layout
from larpo_lib.models.model_dir import ModelDir
from larpo_lib.models.scoring import attach_scorer
from larpo_lib.models.turns import turn_end
from larpo_lib.objectives.function import FunctionObjectiveConfig
from larpo_lib.objectives.listwise import contrastive, listmle
from larpo_lib.objectives.ndcg import lipo_lambda
from larpo_lib.objectives.pairwise import simpo
from larpo_lib.objectives.pointwise import kto
from larpo_lib.playground.policy import make_policy
from larpo_lib.playground.problems import make_problems, no_reasoning, wrong_final_number
from larpo_lib.steps import train
from larpo_lib.tables import write_table
from larpo_lib.training.encode import encode_lists
from larpo_lib.training.history import read_history
from larpo_lib.training.ranks import Ranks
from larpo_lib.training.reference import reference_logps

PLAIN = ModelConfig(device="cpu")
SETTINGS = {
    "model": PLAIN,
    "learning_rate": 1e-3,
    "warmup_ratio": 0.0,
    "batch_size": 4,
    "micro_batch_tokens": 200,
    "max_prompt_tokens": 80,
    "max_tokens": 96,
    "save_steps": 2,
}


BFLOAT16 = ModelConfig(device="cpu", dtype="bfloat16")
FIRST = {"max_steps": 1, "batch_size": 1, "micro_batch_tokens": 2000, "seed": 0}
"""A first step of one list, where all would fit into a pass: scored there, it differs by .01 nats in bfloat16."""


def _list(problem, rng, repeated=1):
    messages = user(" ".join([problem.question] * repeated))
    responses = [problem.solution, wrong_final_number(problem, rng), no_reasoning(problem, rng)]
    return preferences(messages, responses, [1.0, 0.4, 0.1])


@pytest.fixture(scope="module")
def rows():
    rng = random.Random(0)
    return [_list(problem, rng) for problem in make_problems(10, rng)]


@pytest.fixture(scope="module")
def uneven_rows():
    """Prompts of about 20, 40 and 60 tokens, so that what shares a forward pass decides how it is padded."""
    rng = random.Random(0)
    return [_list(problem, rng, 1 + i % 3) for i, problem in enumerate(make_problems(10, rng))]


@pytest.fixture
def run(tiny_policy, tmp_path, rows):
    """Train, with files or folders by the names of `train.run`'s arguments and settings by theirs."""

    def run(name="trained", rows=rows, log=lambda _row, _step: None, **changes):
        lists = tmp_path / "lists"
        lists.mkdir(exist_ok=True)
        write_table(lists / "lists.parquet", "lists", rows)
        paths = {key: changes.pop(key) for key in ("policy", "reference", "reference_logps") if key in changes}
        config = TrainConfig(**SETTINGS | changes)
        return train.run(config, **{"policy": tiny_policy} | paths, lists=lists, trained=tmp_path / name, log=log)

    return run


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


def _kill_at_four(_row, step):
    if step == 4:
        raise Killed


def _fail(*_args):
    raise AssertionError("this was done already")


@pytest.mark.parametrize("objective", [contrastive.settings(), kto.settings()])
def test_a_killed_run_ends_with_the_same_bytes(run, tmp_path, monkeypatch, objective):
    run("whole", objective=objective)
    with pytest.raises(Killed):
        run("killed", log=_kill_at_four, objective=objective)
    assert not (tmp_path / "killed").exists()
    monkeypatch.setattr(train, "reference_logps", _fail)
    seen = []
    run("killed", log=lambda _row, step: seen.append(step), objective=objective)
    assert seen == [3, 4, 5, 6]
    assert published(tmp_path / "killed") == published(tmp_path / "whole")


def test_the_reference_is_the_policy_as_it_was_also_in_a_run_that_goes_on(run, tmp_path):
    """Without the values that were kept it is scored again, and not by what the checkpoint has made of the policy."""
    run("whole")
    with pytest.raises(Killed):
        run("killed", log=_kill_at_four)
    (kept,) = tmp_path.glob(".killed.partial/*/scratch/reference.logps")
    kept.unlink()
    run("killed")
    assert published(tmp_path / "killed") == published(tmp_path / "whole")


def test_execution_settings_may_change_before_a_killed_run_goes_on(run, tmp_path):
    whole = run("whole")
    with pytest.raises(Killed):
        run("killed", log=_kill_at_four)
    seen = []
    changes = {"micro_batch_tokens": 50, "save_steps": 1, "gradient_checkpointing": True, "logprob_chunk_tokens": 7}
    metrics = run("killed", log=lambda _row, step: seen.append(step), **changes)
    assert seen == [3, 4, 5, 6]
    assert metrics == pytest.approx(whole, rel=1e-3, abs=1e-5)


@pytest.fixture(scope="module")
def other_policy(tiny_policy, tmp_path_factory):
    """The same tokens, but surer of what it says."""
    directory = tmp_path_factory.mktemp("other") / "policy"
    model = ModelDir(tiny_policy, PLAIN).load_policy()
    torch.nn.init.normal_(model.lm_head.weight, std=0.2, generator=torch.Generator().manual_seed(0))
    model.save_pretrained(directory)
    ModelDir(tiny_policy, PLAIN).tokenizer.save_pretrained(directory)
    return directory


def _own_logps(artifact):
    return load_file(artifact / "reference.logps")["own"].tolist()


def test_a_fixed_reference_is_what_drift_is_measured_from(run, tmp_path, tiny_policy, other_policy, rows):
    """One step of all ten lists: kl is the mean over lists of what their responses' log(reference / policy) are."""
    run(max_steps=1, batch_size=10, reference=other_policy)
    tokenizer = ModelDir(tiny_policy, PLAIN).tokenizer
    encoded, _ = encode_lists(rows, tokenizer, TrainConfig(**SETTINGS), turn_end(tokenizer))
    lists = [item.tokens for item in encoded]
    policy, reference = (
        reference_logps(
            attach_scorer(ModelDir(path, PLAIN).load_policy(), 64),
            lists,
            padded_layout(0),
            [range(len(lists))],
            Ranks(),
        )
        for path in (tiny_policy, other_policy)
    )
    assert _own_logps(tmp_path / "trained") == pytest.approx(reference, abs=1e-3)
    (row,) = read_history(tmp_path / "trained")
    drift = [q - p for q, p in zip(reference, policy, strict=True)]
    assert row["kl"] == pytest.approx(sum(drift) / 30, abs=1e-3)
    assert row["chosen_logp_drift"] == pytest.approx(-sum(drift[::3]) / 10, abs=1e-3)
    assert abs(row["kl"]) > 0.1


def test_reference_log_probabilities_of_another_artifact_are_taken(run, tmp_path, monkeypatch):
    run("first", max_steps=2)
    monkeypatch.setattr(train, "reference_logps", _fail)
    run("second", max_steps=2, learning_rate=2e-3, reference_logps=tmp_path / "first")
    assert _own_logps(tmp_path / "second") == _own_logps(tmp_path / "first")
    first, second = (read_history(tmp_path / name) for name in ("first", "second"))
    assert first[0]["loss"] == second[0]["loss"]
    assert first[1]["loss"] != second[1]["loss"]
    manifest = json.loads((tmp_path / "second" / "artifact.json").read_text())
    assert manifest["inputs"].keys() == {"policy", "lists", "reference_logps"}


def test_stale_reference_log_probabilities_are_refused(run, tmp_path, rows, other_policy):
    run("first", max_steps=1)
    stale = {
        "another reference": {"reference": other_policy},
        "other lists": {"rows": rows[1:]},
        "other needs": {"objective": kto.settings()},
        "another precision": {"model": ModelConfig(device="cpu", dtype="bfloat16")},
    }
    for name, changes in stale.items():
        with pytest.raises(ArtifactError, match=r"first/reference\.logps: .* are stale.*Omit it"):
            run(name, max_steps=1, reference_logps=tmp_path / "first", **changes)
        assert not (tmp_path / name).exists()


def test_an_objective_without_a_reference_has_no_reference_pass(run, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "reference_logps", _fail)
    metrics = run(objective=simpo.settings(), max_steps=2)
    assert not (tmp_path / "trained" / "reference.logps").exists()
    assert "final_margin" in metrics
    for row in (*read_history(tmp_path / "trained"), metrics):
        assert not any(name in key for name in ("kl", "chosen_logp_drift") for key in row)


def test_token_ids_without_an_embedding_are_refused_before_weights_are_loaded(run, rows, monkeypatch):
    monkeypatch.setattr(train, "load_trainable", _fail)
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


def test_lists_of_which_none_fits_are_refused(run, rows):
    with pytest.raises(LarpoError, match=r"no list is left to train on: .*prompts_too_long_dropped.: 10"):
        run(max_prompt_tokens=3, max_tokens=4)


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
    assert run(max_steps=1, micro_batch_tokens=1, save_steps=1, gradient_checkpointing=True, log=_fail) == metrics
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


def test_a_reference_that_reads_other_tokens_is_refused(run, tmp_path):
    make_policy(tmp_path / "other", ["one", "two"], 0, hidden=16, layers=1, heads=2)
    with pytest.raises(ModelError, match="the vocabulary of the reference differs from that of the policy"):
        run(reference=tmp_path / "other")


@pytest.mark.parametrize("name", ["reference", "reference_logps"])
def test_a_reference_for_an_objective_that_reads_none_is_refused(run, tiny_policy, name):
    with pytest.raises(ConfigError, match="simpo does not use a reference, but one is passed"):
        run(objective=simpo.settings(), **{name: tiny_policy})


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("objective", [listmle.settings(), kto.settings()])
def test_reference_log_probabilities_that_are_not_finite_are_refused_by_policy_and_prompt(
    tiny_policy, tmp_path, rows, objective, own
):
    asked = [row["messages"][0]["content"].split() for row in rows]
    word = next(word for word in asked[3] if word.isalpha() and not any(word in words for words in asked[:3]))
    break_token(tmp_path / "broken", tiny_policy, word, float("nan"))
    (tmp_path / "lists").mkdir()
    write_table(tmp_path / "lists" / "lists.parquet", "lists", rows)
    paths = {"policy": tmp_path / "broken"} if own else {"policy": tiny_policy, "reference": tmp_path / "broken"}
    told = f"broken: the reference log-probability of a response to prompt {rows[3]['prompt_id']} is nan"
    with pytest.raises(ModelError, match=told):
        train.run(
            TrainConfig(**SETTINGS, objective=objective),
            **paths,
            lists=tmp_path / "lists",
            trained=tmp_path / "trained",
        )
    assert not (tmp_path / "trained").exists()


@pytest.mark.parametrize("config", [made for made in ObjectiveConfig.entries().values() if made.exponential_gains])
def test_rewards_that_any_objective_would_take_for_gains_are_refused_by_row(run, rows, config, tmp_path):
    raw = [*rows[:2], {**rows[2], "rewards": [1.25, 0.4, 0.1]}, *rows[3:]]
    kind = config.model_fields["type"].default
    with pytest.raises(DataError, match=rf"row 2, .*the reward 1.25, but {kind} .*minmax or win_rate"):
        run(rows=raw, objective=config())


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
def test_rewards_that_lipo_lambda_would_raise_two_to_are_refused_by_row(run, rows, reward, tmp_path):
    raw = [*rows[:2], {**rows[2], "rewards": [max(reward, 1.0), 0.4, min(reward, 0.1)]}, *rows[3:]]
    told = rf"row 2, field 'rewards': prompt \w+ has a response with the reward {reward:g}, .*minmax or win_rate"
    with pytest.raises(DataError, match=told):
        run(rows=raw, objective=lipo_lambda.settings())
    assert not (tmp_path / "trained").exists()
    run("other", rows=raw, objective=lipo_lambda.settings(rewards="win_rate"), max_steps=1)
    run("raw", objective=lipo_lambda.settings(), max_steps=1)
