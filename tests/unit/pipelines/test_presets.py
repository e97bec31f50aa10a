"""The shipped presets: the paper's settings, written down here by hand. What takes the files as they are."""

import json
from pathlib import Path

import pytest
from small_models import CHATML, GEMMA, make_classifier, make_model, make_tokenizer
from tiny_pairrm import make_pairrm

from larpo_kubeflow.pipelines.arguments import run_arguments
from larpo_kubeflow.pipelines.package import read_package
from larpo_lib.config import load_config
from larpo_lib.config.load import load_tree
from larpo_lib.errors import ModelError
from larpo_lib.evaluation.run_benchmarks import check_run_benchmarks
from larpo_lib.models.chat import conversation_text, prompt_text
from larpo_lib.models.model_dir import ModelDir
from larpo_lib.pipeline.parameters import QUICKSTART, compose
from larpo_lib.preflight import check_config
from larpo_lib.presets import preset_file, preset_names

QUICKSTARTS = [QUICKSTART, "quickstart-real"]
FILES = [preset_file(name) for name in preset_names() if name not in QUICKSTARTS]
CHAT = [path for path in FILES if "gsm8k" not in path.name]
FSFAIRX = "models/FsfairX-LLaMA3-RM-v0.1"

# file: policy, temperature, reranker and its path, demonstrations, learning rate
PAPER = {
    "mistral-7b-base-pairrm": ("models/mistral-7b-v0.1", 1.0, ("pairrm", "models/PairRM-hf"), True, 5e-7),
    "mistral-7b-base-fsfairx": ("models/mistral-7b-v0.1", 1.0, ("classifier", FSFAIRX), True, 5e-7),
    "mistral-7b-instruct-pairrm": ("models/mistral-7b-instruct-v0.2", 0.8, ("pairrm", "models/PairRM-hf"), False, 5e-7),
    "mistral-7b-instruct-fsfairx": ("models/mistral-7b-instruct-v0.2", 0.8, ("classifier", FSFAIRX), False, 5e-7),
    "gemma-2-2b-it-pairrm": ("models/gemma-2-2b-it", 1.0, ("pairrm", "models/PairRM-hf"), False, 5e-7),
    "mathstral-7b-gsm8k": ("models/mathstral-7b", 1.0, ("verifier", None), False, 2e-7),
}


def test_the_presets_are_the_papers_models_and_the_quickstarts():
    assert preset_names() == sorted([*PAPER, *QUICKSTARTS])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_settings_of_the_paper(path):
    config = load_config(path)
    reranker = config.rerank.reranker
    found = (config.policy, config.sample.temperature, (reranker.type, getattr(reranker, "path", None)))
    train, launch = config.train, config.train.launch
    assert (*found, config.demonstrations is not None, train.learning_rate) == PAPER[path.stem]
    assert (config.loop.iterations, train.epochs, train.schedule, train.batch_size) == (3, 2, "cosine", 128)
    assert (train.max_tokens, train.max_prompt_tokens, config.sample.max_prompt_tokens) == (2048, 1000, 1000)
    assert (config.sample.k, config.sample.top_p, config.sample.max_new_tokens) == (10, 1.0, 2048)
    assert train.objective.model_dump() == {"type": "contrastive", "beta": 0.1}
    assert config.lists.selection.model_dump() == {"type": "top_bottom", "top": 1, "bottom": 3}
    assert (config.lists.memory, config.loop.reference, launch.launcher, launch.zero_stage) == (
        "all", "current", "deepspeed", 2,
    )  # fmt: skip
    assert config.evaluate.temperature == config.sample.temperature
    assert config.evaluate.reranker.type == ("verifier" if "gsm8k" in path.stem else "classifier")


@pytest.mark.parametrize(
    "path", [path for path in FILES if path.stem.startswith("mistral-7b")], ids=lambda path: path.stem
)
def test_the_gate_and_the_benchmarks_that_a_preset_offers_can_be_used(path, tmp_path):
    head, promote, offers = path.read_text("utf-8").replace('metric = "reward"\n', "").partition("[promote]")
    (tmp_path / "guarded.toml").write_text(head + promote + offers.replace("#   ", ""), "utf-8")
    config = load_config(tmp_path / "guarded.toml")
    check_run_benchmarks(config)
    assert config.loop.benchmarks == (("alpaca_eval", "mixeval") if "instruct-pairrm" in path.stem else ())
    assert [one.metric for one in config.promote.asked] == ["evaluate.reward", "gsm8k.accuracy"]


def test_the_base_model_is_fine_tuned_on_ultrachat_first():
    config = load_config(preset_file("mistral-7b-base-fsfairx"))
    assert config.demonstrations is not None
    assert (config.demonstrations.source, config.demonstrations.split) == ("HuggingFaceH4/ultrachat_200k", "train_sft")
    assert (config.sft.learning_rate, config.sft.epochs, config.sft.batch_size) == (2e-5, 1, 128)
    assert config.sft.launch == config.train.launch


@pytest.mark.parametrize("path", CHAT, ids=lambda path: path.stem)
def test_presets_differ_in_what_their_names_say_alone(path):
    """They are whole files each, for people to read; this keeps them from drifting apart."""
    free = {"name", "policy", "model", "demonstrations", "sft", "promote", "report"}
    own, other = (load_tree(one) for one in (path, preset_file("mistral-7b-instruct-fsfairx")))
    for tree in (own, other):
        for section in free:
            tree.pop(section, None)
        for section, name in (("sample", "temperature"), ("evaluate", "temperature"), ("evaluate", "reranker")):
            tree[section].pop(name, None)
        tree.pop("rerank")
    assert own == other


@pytest.fixture(scope="module")
def declared():
    """The parameters of the compiled pipeline."""
    return read_package(Path(__file__).parents[3] / "pipelines" / "compiled" / "larpo.yaml").parameters


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_pipeline_makes_the_same_settings_of_a_preset(path, declared):
    submitted = run_arguments(declared, path, [], ["root=s3://bucket/runs"])
    config = load_config(path)
    assert compose(submitted) == config
    assert compose({"preset": path.stem}) == config
    assert json.loads(submitted["settings"])["name"] == path.stem


@pytest.fixture(scope="module")
def stand_ins(tiny_policy, tiny_classifier, tmp_path_factory):
    """Tiny models in place of the paper's: one without a chat template, one with, one of Gemma's family."""
    root = tmp_path_factory.mktemp("stand-ins")
    for name, family, template in (("base", "mistral", None), ("chat", "mistral", CHATML), ("gemma", "gemma2", GEMMA)):
        make_model(family).save_pretrained(root / name)
        tokenizer = make_tokenizer(template or CHATML, "</s>", ["<start_of_turn>", "<end_of_turn>"])
        if template is None:
            tokenizer.chat_template = None
        tokenizer.save_pretrained(root / name)
    make_classifier(root / "classifier", tiny_policy)
    make_pairrm(root / "pairrm")
    return root


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_run_of_a_preset_passes_its_checks(path, stand_ins):
    family = "base" if "base" in path.stem else "gemma" if "gemma" in path.stem else "chat"
    settings = [f"policy={stand_ins / family}", "sample.sampler.type=hf"]
    if "pairrm" in path.stem:
        settings.append(f"rerank.reranker.path={stand_ins / 'pairrm'}")
    if path in CHAT:
        place = "rerank" if "fsfairx" in path.stem else "evaluate"
        settings.append(f"{place}.reranker.path={stand_ins / 'classifier'}")
    check_config(load_config(path, settings))
    if family == "base":
        with pytest.raises(ModelError, match="has no chat template"):
            check_config(load_config(path, [*settings, "model.chat_template=''"]))


def test_the_base_models_template_is_zephyrs(stand_ins):
    tokenizer = ModelDir(stand_ins / "base", load_config(preset_file("mistral-7b-base-fsfairx")).model).tokenizer
    asked = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "hello"}]
    prompt = "<bos><|system|>\nBe short.</s>\n<|user|>\nhello</s>\n<|assistant|>\n"
    assert prompt_text(tokenizer, asked) == prompt
    assert conversation_text(tokenizer, asked, "world") == f"{prompt}world</s>\n"
