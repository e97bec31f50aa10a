"""The cells of the paper's scale against the settings that the paper states, written down here by hand."""

import json
import re

import pytest

from larpo_lib.config import LarpoConfig, load_config
from larpo_lib.config.toml import inline
from larpo_lib.pipeline.grid import COMMON
from larpo_lib.pipeline.parameters import compose
from larpo_lib.presets import FOLDER
from larpo_lib.studies.listing import shown
from larpo_lib.studies.study import cells, load_study

CHAT = ["table2", "table3", "table4", "table5", "fig3b", "fig3c", "fig4"]
ONE_PASS = {"rrhf", "slic_hf", "dpo", "ipo", "cpo", "kto", "r_dpo", "simpo", "lipo_lambda"}


def _runs(study: str) -> dict[tuple[str, ...], LarpoConfig]:
    loaded = load_study(FOLDER / "studies" / f"{study}.toml")
    return {cell.labels: cell.config() for cell in cells(loaded, "paper")}


@pytest.mark.parametrize("study", [*CHAT, "fig3a"])
def test_what_all_runs_share(study):
    for labels, config in _runs(study).items():
        train = config.train
        assert train.learning_rate == (2e-7 if study == "fig3a" else 5e-7)
        assert (train.schedule, train.batch_size, train.warmup_ratio) == ("cosine", 128, 0.1)
        assert (train.max_tokens, train.max_prompt_tokens) == (2048, 1000)
        assert (config.sample.top_p, config.prepare.heldout) == (1.0, 0 if study == "fig3a" else 512)
        one_pass = study == "table2" and train.objective.type in ONE_PASS and "iterative" not in labels[-1]
        assert (config.loop.iterations, train.epochs) == ((1, 1) if one_pass else (3, 2))
        if hasattr(train.objective, "beta"):
            assert train.objective.beta == (2.0 if train.objective.type == "simpo" else 0.1)


@pytest.mark.parametrize(
    ("study", "k"), [("table2", {10}), ("table3", {4}), ("table5", {4}), ("table4", {2}), ("fig3c", {4, 6, 8, 10})]
)
def test_responses_a_prompt(study, k):
    assert {config.sample.k for config in _runs(study).values()} == k


@pytest.mark.parametrize("study", ["table2", "table3", "table5"])
def test_temperatures_of_the_models(study):
    found = {(labels[0], config.sample.temperature) for labels, config in _runs(study).items()}
    assert found == {("Mistral-7B base + SFT", 1.0), ("Mistral-7B-Instruct-v0.2", 0.8)}


def test_a_diverse_temperature_draws_two_at_1_and_two_at_a_half():
    sample = _runs("table4")["diverse temperature",].sample
    assert (sample.k, sample.temperature) == (2, 1.0)
    assert [(draw.count, draw.temperature) for draw in sample.extra_draws] == [(2, 0.5)]


def test_the_grid_of_temperatures():
    for study in ("fig3b", "fig4"):
        assert [config.sample.temperature for config in _runs(study).values()] == [0.8, 0.9, 1.0, 1.1, 1.2]


def test_memory():
    found = {labels[0]: config.lists.memory for labels, config in _runs("table4").items()}
    assert found["current + previous"] == "previous"
    assert found["current + all previous"] == "all"
    assert found["current"] == "current"


@pytest.mark.parametrize("study", ["table3", "table5"])
def test_selections(study):
    expected = {
        "dpo": ("best_worst", None),
        "contrastive": ("one_vs_rest", None),
        "lambdarank": ("top_bottom", (2, 2)),
        "listmle": ("top_bottom", (2, 2)),
    }
    for config in _runs(study).values():
        selection = config.lists.selection
        sizes = (selection.top, selection.bottom) if selection.type == "top_bottom" else None
        assert (selection.type, sizes) == expected[config.train.objective.type]


def test_hard_negatives_come_from_responses_at_1_and_at_0_7():
    for labels, config in _runs("fig3a").items():
        negatives = config.lists.negatives
        assert negatives is not None
        assert negatives.kind == labels[0]
        assert config.sample.temperature == 1.0
        assert [draw.temperature for draw in config.sample.extra_draws] == [0.7]
        assert config.train.objective.type == "dpo"


BASE, INSTRUCT = "Mistral-7B base + SFT", "Mistral-7B-Instruct-v0.2"
POLICIES = {
    BASE: ("models/mistral-7b-v0.1", "HuggingFaceH4/ultrachat_200k"),
    INSTRUCT: ("models/mistral-7b-instruct-v0.2", None),
}
GEMMA, MATHSTRAL = ("models/gemma-2-2b-it", None), ("models/mathstral-7b", None)
PAIRRM, FSFAIRX = ("pairrm", "models/PairRM-hf"), ("classifier", "models/FsfairX-LLaMA3-RM-v0.1")
STUDY_POLICIES = {
    "table4": GEMMA, "fig2": MATHSTRAL, "fig3a": MATHSTRAL,
    "fig3b": POLICIES[INSTRUCT], "fig3c": POLICIES[INSTRUCT], "fig4": POLICIES[INSTRUCT],
}  # fmt: skip


@pytest.mark.parametrize("study", [*CHAT, "fig2", "fig3a"])
def test_models_and_what_ranks(study):
    for labels, config in _runs(study).items():
        demonstrations = None if config.demonstrations is None else config.demonstrations.source
        assert (config.policy, demonstrations) == (STUDY_POLICIES.get(study) or POLICIES[labels[0]])
        assert config.sft.learning_rate == 2e-5
        reranker = (config.rerank.reranker.type, getattr(config.rerank.reranker, "path", None))
        if study in ("fig2", "fig3a"):
            assert reranker == ("verifier", None)
            assert config.rerank.reranker.mode == "exact"
        elif study == "table2":
            assert reranker == {"PairRM": PAIRRM, "FsfairX": FSFAIRX}[labels[1]]
        else:
            assert reranker == (FSFAIRX if study in ("table3", "table5") else PAIRRM)
        assert (config.train.launch.launcher, config.train.launch.zero_stage) == ("deepspeed", 2)
        assert (config.train.model.dtype, config.sample.max_new_tokens) == ("auto", 2048)


# label: objective with its parameters, list, iterations, epochs
TABLE2 = {
    "RRHF": ({"type": "rrhf", "sft_weight": 1.0}, "top 2, bottom 2", 1, 1),
    "SLiC-HF": ({"type": "slic_hf", "delta": 1.0, "sft_weight": 0.1}, "best worst", 1, 1),
    "DPO": ({"type": "dpo", "beta": 0.1, "label_smoothing": 0.0, "clip_reference": False}, "best worst", 1, 1),
    "IPO": ({"type": "ipo", "tau": 0.1, "length_normalized": False}, "best worst", 1, 1),
    "CPO": ({"type": "cpo", "beta": 0.1, "sft_weight": 1.0, "nll": "token"}, "best worst", 1, 1),
    "KTO": ({"type": "kto", "beta": 0.1, "desirable_weight": 1.0, "undesirable_weight": 1.0}, "best worst", 1, 1),
    "R-DPO": ({"type": "r_dpo", "beta": 0.1, "alpha": 0.05}, "best worst", 1, 1),
    "SimPO": ({"type": "simpo", "beta": 2.0, "gamma": 1.6}, "best worst", 1, 1),
    "LiPO-lambda": (
        {"type": "lipo_lambda", "beta": 0.1, "reduction": "sum", "rewards": "win_rate"},
        "top 2, bottom 2",
        1,
        1,
    ),
    "iterative DPO": (
        {"type": "dpo", "beta": 0.1, "label_smoothing": 0.0, "clip_reference": False},
        "best worst",
        3,
        2,
    ),
    "contrastive": ({"type": "contrastive", "beta": 0.1}, "top 1, bottom 3", 3, 2),
    "LambdaRank": (
        {"type": "lambdarank", "beta": 0.1, "reduction": "sum", "clip_reference": False},
        "top 2, bottom 2",
        3,
        2,
    ),
    "ListMLE": ({"type": "listmle", "beta": 0.1, "reduction": "sum"}, "top 2, bottom 2", 3, 2),
}


def test_every_cell_of_table_2():
    runs = _runs("table2")
    assert {*runs} == {
        (model, reward, label) for model in POLICIES for reward in ("PairRM", "FsfairX") for label in TABLE2
    }
    for labels, config in runs.items():
        objective = config.train.objective.model_dump(exclude_none=True)
        found = (objective, shown(config)["list"], config.loop.iterations, config.train.epochs)
        assert found == TABLE2[labels[-1]]


def test_a_dry_run_prints_the_settings_of_every_cell_and_the_costs(larpo):
    prices = ("--assume", "gpu_hour_price=2.5", "--assume", "judge_price=0.01")
    outcome = larpo("reproduce", "table3", "--scale", "paper", "--dry-run", *prices)
    assert outcome.code == 0, outcome.err
    head, columns, *rows = outcome.out.splitlines()
    assert head == "Objectives (Table 3), paper: 8 runs"
    names = re.split(r"  +", columns)
    assert names == [
        "run", "policy", "SFT", "objective", "with", "list", "temperature", "prompts", "responses", "GPU-hours",
        "judge calls",
    ]  # fmt: skip
    cells = [dict(zip(names, re.split(r"  +", row), strict=True)) for row in rows[:8]]
    assert [(cell["policy"], cell["objective"], cell["list"], cell["temperature"]) for cell in cells] == [
        (policy, objective, selection, temperature)
        for policy, temperature in (("models/mistral-7b-v0.1", "1"), ("models/mistral-7b-instruct-v0.2", "0.8"))
        for objective, selection in (
            ("dpo", "best worst"), ("contrastive", "one vs rest"),
            ("listmle", "top 2, bottom 2"), ("lambdarank", "top 2, bottom 2"),
        )
    ]  # fmt: skip
    assert {(cell["prompts"], cell["responses"]) for cell in cells} == {("181,869", "727,476")}  # 3 x 60,623, 4 each
    assert {cell["judge calls"] for cell in cells} == {"5,805"}  # 805 + 4,000 + 1,000
    said = dict(line.strip().split(": ", 1) for line in rows[8:] if ": " in line)
    assert said["ranked by"] == said["measured by"] == "models/FsfairX-LLaMA3-RM-v0.1"
    assert (said["k"], said["iterations"], said["epochs"], said["learning rate"]) == ("4", "3", "2", "5e-07")
    assert (said["schedule"], said["batch"]) == ("cosine, warm-up 0.1", "128")
    assert said["tokens"] == "2048, at most 1000 for the prompt"
    assert said["training"] == "deepspeed, 8 processes, ZeRO-2"
    assert said["Benchmarks, of the policy before and after"] == "alpaca-eval-fn, mixeval, mixeval-hard"
    # 8 x (32.3 for sampling + 4.9 for ranking) + 2 x 12.8, 4 x 23.0 and 2 x 43.5 (one vs rest, with the 4,
    # 8 and 12 responses of memory) for training + 6.3 for SFT; 8 policies after training and 2 before.
    assert "In total about 509 GPU-hours and 58,050 judge calls" in outcome.out
    assert said["Cost at your own prices"] == "GPU-hours 1,272, judge calls 580, in total 1,852"
    assert "none of them measured here; change them with --assume" in outcome.out


def test_without_prices_no_money_is_told_and_a_misspelt_assumption_is_named(larpo):
    outcome = larpo("reproduce", "fig3a", "--scale", "paper", "--dry-run")
    assert "In money" not in outcome.out
    assert "gpu_hour_price = not stated" in outcome.out
    assert "0 judge calls" in outcome.out
    refused = larpo("reproduce", "fig3a", "--scale", "paper", "--dry-run", "--assume", "gpu_price=1")
    assert refused.code == 2
    assert "unknown setting 'gpu_price'. Did you mean 'gpu_hour_price'?" in refused.err
    nothing = larpo("reproduce", "fig3a", "--dry-run", "--assume", "gpu_hour_price=1")
    assert "--assume has no effect: there is no cost estimate at the scale 'tiny'" in nothing.err


def _run(config: LarpoConfig) -> dict[str, object]:
    """Without the sections of benchmarks and of other commands, which a run does not read."""
    commands = {"alpaca_eval", "gsm8k", "mixeval", "retrieval", "reward_eval", "reward_model", "search_temperature"}
    commands |= {"score_reward_model", "divergence"}
    return config.model_dump(exclude=commands)


@pytest.mark.parametrize("study", [*CHAT, "fig2", "fig3a"])
def test_the_arguments_of_the_pipeline_are_the_same_runs(study, larpo, tmp_path):
    outcome = larpo("reproduce", study, "--scale", "paper", "--pipeline", tmp_path, "--set", "launch.nproc=4")
    assert outcome.code == 0, outcome.err
    found = []
    for file in sorted(tmp_path.glob("*.json")):
        arguments = json.loads(file.read_text())
        assert arguments["run_id"] == file.stem
        base = compose({"settings": arguments["settings"]})
        runs = [compose({"settings": base.model_dump_json()}, json.loads(change)) for change in arguments["grid"]]
        assert len({*arguments["grid"]}) == len(runs)
        for name in COMMON:
            assert {getattr(run, name) for run in runs} == {getattr(base, name)}
        found += runs
    loaded = load_study(FOLDER / "studies" / f"{study}.toml")
    over = {"launch": {"nproc": 4}}
    expected = [cell.config() for cell in cells(loaded, "paper", over=over)]
    assert [_run(config) for config in found] == [_run(config) for config in expected]
    models = 2 if study in ("table2", "table3", "table5") else 1
    assert len(list(tmp_path.glob("*.json"))) == models


def test_two_seeds_are_two_runs_of_the_pipeline_and_the_tiny_world_is_none(larpo, tmp_path):
    larpo("reproduce", "table4", "--scale", "paper", "--seeds", "2", "--pipeline", tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["table4-paper-1.json", "table4-paper-2.json"]
    refused = larpo("reproduce", "table4", "--pipeline", tmp_path)
    assert (
        "larpo: --pipeline cannot be used with --scale tiny, which runs on one machine only. Use --scale paper."
        in refused.err
    )


def test_own_functions_are_shown_by_their_names() -> None:
    mine = {"type": "function", "target": "far/mine.py:f", "code": "def f(): ...", "settings": {"margin": 2}}
    config = load_config(
        None,
        ["policy=p", "prepare.source=s", "prepare.heldout=1"]
        + [f"{place}={inline(mine)}" for place in ("train.objective", "rerank.reranker", "lists.selection")],
    )
    found = shown(config)
    assert (found["objective"], found["with"], found["list"]) == ("mine.py:f", "margin 2", "mine.py:f")
    assert found["ranked by"] == "far/mine.py:f"
