"""Which passes a run's limits allow, what to change where it does not fit, and hours and cost, by hand."""

import json

import pytest
from transformers import Gemma4TextConfig, MambaConfig, MistralConfig

from larpo_lib.budget.benchmarks import benchmark_calls, benchmark_efforts, benchmark_work
from larpo_lib.budget.calls import calls_of
from larpo_lib.budget.memory import GIB, training_need
from larpo_lib.budget.model import read_size
from larpo_lib.budget.needs import Machine, longest_list, needs_of, training_of
from larpo_lib.budget.rates import measured_rates
from larpo_lib.budget.report import Asked, estimate_run, render
from larpo_lib.budget.work import Lengths, costs, work_of
from larpo_lib.config import ModelConfig, load_config
from larpo_lib.errors import ConfigError, ModelError
from larpo_lib.files import write_json
from larpo_lib.run_files import Clock

H100 = Machine(1, 80 * GIB)
EIGHT = Machine(8, 80 * GIB)
ZERO2 = ("train.launch.zero_stage=2",)


@pytest.fixture(scope="module")
def mistral(tmp_path_factory):
    """A directory with the config.json of Mistral 7B alone."""
    directory = tmp_path_factory.mktemp("mistral")
    MistralConfig(num_key_value_heads=8, vocab_size=32_000, intermediate_size=14_336).save_pretrained(directory)
    return directory


@pytest.fixture(scope="module")
def settings(mistral):
    def load(*more):
        given = [f"policy={mistral}", "prepare.source=none", "prepare.heldout=100", "rerank.reranker.type=verifier"]
        return load_config(None, [*given, *more])

    return load


def asked(machine=H100, **more):
    given = {"prompts": 1_000, "prompt_tokens": 164, "response_tokens": 367, "rates": {}, "price": None}
    return Asked(machine, **{**given, **more})


def test_config_json_is_enough_and_nothing_else_is_read(mistral, tmp_path):
    assert [path.name for path in mistral.iterdir()] == ["config.json"]
    assert read_size(str(mistral), ModelConfig()).parameters == 7_241_732_096  # as published
    with pytest.raises(ModelError, match=r"is not a model directory \(no config.json\)"):
        read_size(str(tmp_path), ModelConfig())
    with pytest.raises(ConfigError, match="does not fetch a model from a store"):
        read_size("s3://bucket/model", ModelConfig())


@pytest.mark.parametrize("config", [Gemma4TextConfig(num_hidden_layers=2, layer_types=None), MambaConfig()])
def test_models_whose_layers_differ_are_refused_in_one_line(config, tmp_path):
    config.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="larpo plan needs the same attention in all layers"):
        read_size(str(tmp_path), ModelConfig())


@pytest.mark.parametrize(("more", "counted"), [((), True), (("loop.reference=current",), False), (ZERO2, False)])
def test_a_reference_that_is_not_trained_is_whole_on_each_gpu(settings, more, counted):
    """Mistral 7B over 16 GPUs: 18 bytes a parameter are shared out, the reference's 2 are not."""
    launch = ("train.launch.launcher=deepspeed", "train.launch.nproc=8", "train.launch.nodes=2")
    config = settings("loop.reference=initial", *launch, "train.launch.zero_stage=3", *more)
    found = {need.step: need for need in needs_of(config, read_size(str(config.policy), ModelConfig()), EIGHT)}
    assert ("reference" in found) == counted
    if counted:
        weights = found["reference"].items[0]
        assert (weights.name, weights.bytes) == ("weights", 2 * 7_241_732_096)
        assert "loop.reference" in render(estimate_run(config, asked(Machine(8, 12 * GIB))))


@pytest.mark.parametrize(
    ("limits", "tokens"),
    [
        (("sample.max_new_tokens=2000",), 48 + 4 * 2_000),  # any prompt of 48 tokens may have responses of 2,000
        (("sample.max_new_tokens=512",), 1_024 + 4 * 512),  # the longest prompt leaves them room
        (("sample.max_new_tokens=512", "sample.max_prompt_tokens=100"), 100 + 4 * 512),
        (("sample.max_new_tokens=512", "lists.selection.type=best_worst"), 1_024 + 2 * 512),
    ],
)
def test_the_longest_list_that_limits_allow(settings, limits, tokens):
    four = ("lists.selection.type=top_bottom", "lists.selection.top=1", "lists.selection.bottom=3")
    config = settings(*limits) if "best_worst" in limits[-1] else settings(*limits, *four)
    assert longest_list(config.train, config) == tokens
    brute = max(
        p + config.lists.selection.most(10) * min(config.sample.max_new_tokens, 2_048 - p)
        for p in range(1, min(1_024, config.sample.max_prompt_tokens) + 1)
    )
    assert tokens == brute


def test_a_model_that_does_not_fit_fits_with_what_is_suggested(settings):
    config = settings()
    estimate = estimate_run(config, asked())
    assert not estimate.fits
    [need] = [need for need in estimate.needs if need.step == "train"]
    assert need.bytes > H100.memory
    changes = estimate.changes["train"]
    changed = load_config(None, [f"policy={config.policy}", "prepare.source=a", "prepare.heldout=1", *changes])
    size = estimate.policy
    assert training_need("train", size, training_of(changed.train, changed, size, H100)).bytes <= H100.memory
    assert f"--set {changes[0]}" in render(estimate)
    assert "train.launch.offload=true" in changes  # nothing less: weights, gradients and moments are 116 GB
    assert not any(change.startswith(("train.max_tokens", "train.lora")) for change in changes)


def test_on_eight_gpus_the_states_are_shared_before_anything_else_is_changed(settings):
    estimate = estimate_run(settings(), asked(EIGHT))
    assert "train.launch.zero_stage=3" in estimate.changes["train"]
    assert not any("offload" in change for change in estimate.changes["train"])


def test_where_recomputing_is_enough_nothing_else_is_suggested(settings):
    config = settings("launch.launcher=deepspeed", "launch.nproc=8", "train.micro_batch_tokens=4096")
    fitting = estimate_run(config, asked(Machine(8, 45 * GIB)))
    assert fitting.changes["train"] == ["train.gradient_checkpointing=true"]


def test_nothing_is_suggested_where_nothing_helps(settings):
    estimate = estimate_run(settings(), asked(Machine(1, 2 * GIB)))
    assert estimate.changes["train"] == []
    assert "No setting of larpo makes it fit" in render(estimate)


def test_more_processes_than_gpus_are_refused(settings):
    config = settings("launch.launcher=torchrun", "launch.nproc=8")
    with pytest.raises(ConfigError, match=r"train\.launch\.nproc is 8, but there are 4 GPUs"):
        needs_of(config, read_size(config.policy, config.model), Machine(4, 80 * GIB))


def test_each_step_that_holds_a_model_is_there(settings):
    config = settings("sample.sampler.type=vllm", "evaluate.sampler.type=hf", "demonstrations.source=d")
    estimate = estimate_run(config, asked())
    assert [need.step for need in estimate.needs] == ["sft", "sample", "rerank", "train", "evaluate"]
    text = render(estimate)
    assert "responses of 3,072 tokens fit at once (131,072 bytes a token)" in text
    assert "rerank: the reranker verifier is not estimated" in text


def test_work_by_hand(settings):
    config = settings("loop.iterations=2", "sample.k=8", "train.epochs=2", "evaluate.n=4", "train.objective.type=dpo")
    config = config.model_copy(update={"lists": settings("lists.selection.type=best_worst").lists})
    lengths = Lengths(prompts=100, heldout=50, demonstrations=None, prompt_tokens=10, response_tokens=30)
    work = {each.step: each for each in work_of(config, lengths)}
    assert work["sample"].tokens == work["rerank"].tokens == 2 * 100 * 8 * 30
    assert work["train"].tokens == 2 * 100 * 2 * 2 * 30
    assert work["evaluate"].tokens == 3 * 50 * 5 * 30
    rates = {"sample": 10.0, "train": 5.0}
    found = {cost.work.step: cost for cost in costs([*work.values()], rates, gpus=4, price=2.5)}
    assert found["sample"].hours == pytest.approx(48_000 / 10 / 3_600)
    assert found["sample"].price == pytest.approx(48_000 / 10 / 3_600 * 4 * 2.5)
    assert found["train"].hours == pytest.approx(24_000 / 5 / 3_600)
    assert found["rerank"].hours is None


def test_with_memory_prompts_of_earlier_iterations_are_trained_on_again(settings):
    config = settings("loop.iterations=3", "sample.prompts_per_iteration=100", "lists.selection.type=best_worst")
    lengths = Lengths(prompts=100, heldout=50, demonstrations=None, prompt_tokens=10, response_tokens=30)
    [train] = [each for each in work_of(config, lengths) if each.step == "train"]
    assert train.tokens == (100 + 200 + 300) * 2 * 2 * 30


CHANGES = "loop.changes=[{iteration = 2, sample = {k = 8, max_new_tokens = 20}}, {iteration = 3, train = {epochs = 1}}]"


@pytest.mark.parametrize(
    ("settings_", "trained", "how"),
    [
        ((), (4 * 30 + (4 + 8) * 20) * 2 + (4 + 8 + 8) * 20 * 1, "100 lists of 4 to 20 x 1 to 2 epochs"),
        (
            ("lists.memory=previous",),
            (4 * 30 + (4 + 8) * 20) * 2 + (8 + 8) * 20,
            "100 lists of 4 to 16 x 1 to 2 epochs",
        ),
        (
            ("sample.prompts_per_iteration=100",),  # as many lists of each iteration that memory keeps
            (4 * 30 + (4 + 8) * 20) * 2 + (4 + 8 + 8) * 20,
            "200 lists of 4 to 8 x 1 to 2 epochs",
        ),
        (("lists.selection.type=best_worst",), 2 * (2 * 30 + 2 * 20 + 20), "100 lists of 2 x 1 to 2 epochs"),
    ],
)
def test_work_by_hand_with_settings_that_change(settings, settings_, trained, how):
    """4, 8 and 8 responses of 30, 20 and 20 tokens; two epochs, two and one."""
    config = settings("sample.k=4", "train.epochs=2", "lists.selection.type=whole_list", CHANGES, *settings_)
    lengths = Lengths(prompts=100, heldout=None, demonstrations=None, prompt_tokens=10, response_tokens=30)
    work = {each.step: each for each in work_of(config, lengths)}
    assert work["sample"].tokens == work["rerank"].tokens == 100 * (4 * 30 + 2 * 8 * 20)
    assert work["sample"].how == "100 prompts x 4 to 8 responses"
    assert (work["train"].tokens, work["train"].how) == (100 * trained, how)


def test_the_need_is_that_of_the_iteration_with_the_largest(settings):
    """Of whole lists that memory makes longer: 4, 4 + 8, then 4 + 8 + 8 responses; each has a pass of its own."""
    limits = (
        "sample.k=4",
        "sample.max_new_tokens=512",
        "lists.selection.type=whole_list",
        "train.micro_batch_tokens=1024",
    )
    changes = "loop.changes=[{iteration = 2, sample = {k = 8}}, {iteration = 3, train = {lora = {r = 8}}}]"
    config = settings(*limits, changes)
    assert longest_list(config.train, config) == 1_024 + 20 * 512
    size, machine = read_size(config.policy, config.model), Machine(1, 2_000 * GIB)
    largest, adapters, plain = (
        next(need.bytes for need in needs_of(one, size, machine) if need.step == "train")
        for one in (config, settings(*limits, "train.lora.r=8", "sample.k=8"), settings(*limits))
    )
    assert largest > max(adapters, plain)
    text = render(estimate_run(config, asked()))
    assert "settings from iteration 2 on: sample.k = 8 (before: 4)\n" in text
    assert "settings from iteration 3 on: train.lora.r = 8\n" in text  # there were none before


def test_judge_calls_of_changing_lists(settings):
    judge = 'rerank.reranker={type = "llm_judge", base_url = "http://judge/v1", model = "big"}'
    config = settings("sample.k=4", judge, 'evaluate.reranker={type = "verifier"}', CHANGES)
    lengths = Lengths(prompts=10, heldout=None, demonstrations=None, prompt_tokens=10, response_tokens=30)
    assert [each.calls for each in calls_of(config, lengths)] == [10 * (4 + 8 + 8)]


def test_rates_are_those_that_an_earlier_run_had(tmp_path):
    write_json(tmp_path / "seconds.json", [12.0])  # of a call that was killed, by an earlier version
    clock = Clock(tmp_path)
    counts = {"candidates": 100, "mean_tokens": 20.0}
    trained = {"response_tokens": 600, "lists": 10, "steps": 6}
    with clock.running():
        clock.add_step("sample", 1, 999.0, counts, 1)  # begun in the earlier call
        clock.add_step("sample", 2, 50.0, counts, 1)
        clock.add_step("rerank", 2, 10.0, {"candidates": 100}, 1)
        clock.add_step("train", 2, 30.0, trained, 4)  # three steps an epoch, two epochs
        clock.add_step("evaluate", 2, 5.0, {"mean_reward": 0.5}, 1)
    assert measured_rates(tmp_path) == {"sample": 40.0, "rerank": 200.0, "train": 40.0}
    steps = json.loads((tmp_path / "seconds.json").read_text("utf-8"))["steps"]
    assert steps[0] == {"step": "sample", "iteration": 1, "seconds": 999.0, "response_tokens": 2000.0, "resumed": True}


def test_a_run_without_seconds_of_steps_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="or state rates with --sample-rate"):
        measured_rates(tmp_path)


def test_how_many_prompts_there_are_must_be_known(settings, tmp_path):
    with pytest.raises(ConfigError, match="nothing tells how many prompts there are"):
        estimate_run(settings(), asked(prompts=None))
    source = tmp_path / "prompts.jsonl"
    source.write_text('{"prompt": "a"}\n' * 150)
    known = estimate_run(settings(f"prepare.source={source}"), asked(prompts=None))
    assert (known.lengths.prompts, known.lengths.heldout) == (50, 100)


def test_on_a_cpu_models_compute_in_float32_unless_they_are_told(settings):
    machine = Machine(0, 24 * GIB)
    assert not machine.bf16(settings().model)
    assert machine.bf16(settings("model.dtype=bfloat16").model)
    assert "Memory of the machine (no GPU), 24.0 GiB" in render(estimate_run(settings(), asked(machine)))


def test_calls_of_judges_are_counted_by_hand(settings):
    """3 iterations of 1,000 prompts with lists of 4, 8 and 12, all pairs in both orders; 100 held-out prompts of 3."""
    judge = '{type="llm_judge", base_url="http://judge/v1", model="big"'
    config = settings(
        "sample.k=4", "loop.iterations=3", "lists.memory=all", "evaluate.n=2",
        f'rerank.reranker={judge}, mode="pairwise"}}', f"evaluate.reranker={judge}}}",
    )  # fmt: skip
    calls = 1_000 * (4 * 3 + 8 * 7 + 12 * 11)
    estimate = estimate_run(config, asked(response_tokens=100))
    ranked, evaluated = estimate.calls
    assert (ranked.calls, ranked.tokens) == (calls, calls * (164 + 2 * 100))
    assert (evaluated.calls, evaluated.tokens) == (4 * 100 * 3, 4 * 100 * 3 * (164 + 100))
    assert f"rerank: at most {calls:,} judge calls, about {ranked.tokens:,} input tokens" in render(estimate)
    assert not estimate_run(settings(), asked()).calls


def test_benchmarks_of_the_gate_are_counted_by_hand(settings, tmp_path):
    """Of two problems, eight sampled responses and a greedy one each; other files are elsewhere, or come later."""
    problem = '{{"question": "{} + 1?", "answer": "#### 2"}}\n'
    (tmp_path / "problems.jsonl").write_text("".join(problem.format(number) for number in range(2)))
    gate = '{metric = "gsm8k.accuracy"}, {metric = "alpaca_eval.win_rate"}, {metric = "lm_eval.ifeval.acc"}'
    config = settings(
        f"promote.must_improve=[{gate}]", f"loop.benchmark_files.gsm8k.problems={tmp_path / 'problems.jsonl'}",
        'alpaca_eval.judge={base_url = "http://judge/v1", model = "big"}', "gsm8k.answers.max_new_tokens=300",
        "loop.benchmark_files.alpaca_eval.reference=s3://bucket/reference.json", 'lm_eval.tasks=["ifeval"]',
    )  # fmt: skip
    efforts = benchmark_efforts(config, heldout=100)
    lengths = Lengths(prompts=10, heldout=100, demonstrations=None, prompt_tokens=10, response_tokens=367)
    work = {one.step: (one.times, one.tokens) for one in benchmark_work(config, efforts, lengths)}
    assert work == {"gsm8k": (2, 2 * 2 * 9 * 300), "alpaca_eval": (2, None), "lm_eval": (2, None)}
    assert [(one.step, one.calls) for one in benchmark_calls(config, efforts)] == [("alpaca_eval", None)]

    answers = [{"instruction": f"Say {i}.", "output": "No.", "generator": "other"} for i in range(3)]
    (tmp_path / "reference.json").write_text(json.dumps(answers))
    files = {**config.loop.benchmark_files, "alpaca_eval": {"reference": str(tmp_path / "reference.json")}}
    loop = config.loop.model_copy(update={"benchmark_files": files, "benchmarks": ("alpaca_eval",)})
    here = config.model_copy(update={"loop": loop})
    text = render(estimate_run(here, asked()))
    assert "2 x 18 responses" in text
    assert "4 x 3 responses" in text  # of the policies of all three iterations, too
    assert "alpaca_eval: at most 12 judge calls\n" in text


def test_steps_that_use_a_part_of_the_gpus_are_named(settings):
    one = ("sample.sampler.type=vllm", *ZERO2, "train.launch.launcher=deepspeed", "train.launch.nproc=8")
    text = render(estimate_run(settings(*one), asked(EIGHT)))
    assert "\nsample uses 1 of 8 GPUs: set sample.processes = 8 to use all\n" in text
    assert "\nevaluate uses 1 of 8 GPUs: set evaluate.processes = 8 to use all\n" in text
    assert "rerank uses" not in text  # a verifier needs none
    all_of_them = ("sample.processes=8", "evaluate.processes=2", "evaluate.sampler.tensor_parallel=4")
    given = "evaluate.sampler.type=vllm"
    assert " uses " not in render(estimate_run(settings(*one, given, *all_of_them), asked(EIGHT)))
    assert " uses " not in render(estimate_run(settings("sample.sampler.type=vllm"), asked(H100)))
