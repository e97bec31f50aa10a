"""Prompts that a model of the run cannot be given are told, or dropped and counted, before anything is sampled."""

import json
import shutil

import pytest
from real_tokenizers import published
from small_models import GEMMA, make_classifier
from transformers import AutoTokenizer

from larpo_lib.config import ModelConfig, PrepareConfig, TemplateConfig, load_config
from larpo_lib.errors import ConfigError, DataError
from larpo_lib.rewards.rerankers.classifier import ClassifierConfig
from larpo_lib.steps import prepare
from larpo_lib.steps.prepare import RECORD
from larpo_lib.tables import read_table

PLAIN = ModelConfig(device="cpu")
IGNORES_SYSTEM = (
    "{% for message in messages if message['role'] != 'system' %}<user> {{ message['content'] }}{% endfor %}"
    "{% if add_generation_prompt %} <assistant> {% endif %}"
)
ALTERNATES = (
    "{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}<{{ message['role'] }}> {{ message['content'] }}"
    "{% endfor %}{% if add_generation_prompt %} <assistant> {% endif %}"
)
CONVERSATIONS = {
    "plain": [{"role": "user", "content": "How many ?"}],
    "system": [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "How many ?"}],
    "twice": [{"role": "user", "content": "How many ?"}, {"role": "user", "content": "How much ?"}],
}


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps({"messages": messages}) + "\n" for messages in CONVERSATIONS.values()))
    return str(path)


def _with(policy, template):
    return TemplateConfig(path=str(policy), model=PLAIN.model_copy(update={"chat_template": template}))


@pytest.mark.parametrize(
    ("template", "refused", "why"),
    [
        (GEMMA, ["system"], "System role not supported"),
        (ALTERNATES, ["system", "twice"], "roles must alternate"),
        (IGNORES_SYSTEM, ["system"], "the chat template omits a message with the role system"),
        (
            "{% if not add_generation_prompt %}{{ messages }}{% endif %}",
            [*CONVERSATIONS],
            "renders it to an empty text",
        ),
    ],
)
def test_what_a_template_cannot_render_is_refused_or_dropped(tiny_policy, source, tmp_path, template, refused, why):
    tokenizer = AutoTokenizer.from_pretrained(tiny_policy)
    if "raise_exception" in template:  # transformers itself refuses the same ones
        for name, messages in CONVERSATIONS.items():
            if name in refused:
                with pytest.raises(Exception, match=why):
                    tokenizer.apply_chat_template(messages, chat_template=template, add_generation_prompt=True)
    config = PrepareConfig(source=source, templates=(_with(tiny_policy, template),))
    with pytest.raises(DataError, match=rf"{len(refused)} of 3 prompts cannot be rendered .*{why}"):
        prepare.run(config, prompts=tmp_path / "refused")
    assert not (tmp_path / "refused").exists()

    dropping = config.model_copy(update={"invalid": "drop"})
    if len(refused) == len(CONVERSATIONS):
        return
    metrics = prepare.run(dropping, prompts=tmp_path / "dropped")
    kept = [row["messages"] for row in read_table(tmp_path / "dropped", "prompts")]
    expected = [messages for name, messages in CONVERSATIONS.items() if name not in refused]
    assert sorted(map(str, kept)) == sorted(map(str, expected))
    assert (metrics["prompts"], metrics["unrenderable_prompts_dropped"]) == (3 - len(refused), len(refused))
    told = json.loads((tmp_path / "dropped" / RECORD).read_text())["prompts_dropped"]
    assert len(told) == len(refused)
    assert all(why in reason for reason in told.values())


WITH_A_TOOL = [
    {"role": "user", "content": "Price of X ?"},
    {"role": "assistant", "content": '<think>\nI ask.\n</think>\n\n<tool_call>{"name": "price"}</tool_call>'},
    {"role": "tool", "content": '{"price": 41.7, "in": "\u20ac"}'},
    {"role": "assistant", "content": "<think>\nHm.\n</think>\n\nIt is quoted.\n\nIn euros."},
    {"role": "user", "content": "So how much is it ?"},
]
OMITS_REPLIES = (
    "{% for message in messages %}{% if message['role'] != 'assistant' or loop.last %}"
    "{{ message['content'] }}{% endif %}{% endfor %}"
)


@pytest.mark.parametrize(
    ("template", "omitted"),
    [
        ("phi3", "tool"),
        ("gemma4", "tool"),  # it writes results only behind calls that are no text
        ("llama3_1", None),  # writes results as JSON, of which this one has the quotation marks escaped
        ("qwen3", None),  # leaves out thoughts
        ("deepseek_r1_distill", None),
        ("qwen2_5", None),
        (OMITS_REPLIES, "assistant"),
    ],
)
def test_published_templates_that_leave_out_a_tools_result_are_told(tiny_policy, tmp_path, template, omitted):
    source = tmp_path / "prompts.jsonl"
    source.write_text(json.dumps({"messages": WITH_A_TOOL}))
    text = template if template is OMITS_REPLIES else published(template)
    config = PrepareConfig(source=str(source), templates=(_with(tiny_policy, text),))
    if omitted is None:
        assert prepare.run(config, prompts=tmp_path / "prompts")["prompts"] == 1
    else:
        with pytest.raises(DataError, match=f"1 of 1 prompts .*omits a message with the role {omitted}"):
            prepare.run(config, prompts=tmp_path / "prompts")


def test_a_reward_models_template_is_asked_too(tiny_policy, source, tmp_path):
    make_classifier(tmp_path / "reward-model", tiny_policy)
    strict = PLAIN.model_copy(update={"chat_template": GEMMA})
    reward_model = ClassifierConfig(path=str(tmp_path / "reward-model"), model=strict)
    with pytest.raises(DataError, match=r"1 of 3 prompts .*reward-model: the chat template refuses"):
        prepare.run(PrepareConfig(source=source, reward_models=(reward_model,)), prompts=tmp_path / "prompts")


def test_another_template_makes_other_prompts_but_other_weights_do_not(tiny_policy, source, tmp_path):
    moved = shutil.copytree(tiny_policy, tmp_path / "moved")
    (moved / "model.safetensors").write_bytes(b"other weights")
    output = tmp_path / "prompts"
    plain = PrepareConfig(source=source, templates=(TemplateConfig(path=str(tiny_policy), model=PLAIN),))
    prepare.run(plain, prompts=output)
    prepare.run(plain.model_copy(update={"templates": (TemplateConfig(path=str(moved), model=PLAIN),)}), prompts=output)
    with pytest.raises(Exception, match="exists already, but was made with arguments"):
        prepare.run(plain.model_copy(update={"templates": (_with(tiny_policy, ALTERNATES),)}), prompts=output)


def test_a_run_renders_its_prompts_with_all_the_models_that_it_will_use(tiny_world):
    settings = [
        'rerank.reranker={type = "ensemble", members = [{reranker = {type = "classifier", path = "rm-1"}},'
        ' {reranker = {type = "verifier"}}]}',
        'evaluate.reranker={type = "classifier", path = "rm-2"}',
        "sample.sampler.model.chat_template=other",
    ]
    config = load_config(tiny_world / "larpo.toml", settings)
    for section in (config.prepare, config.evaluation_prompts, config.demonstrations):
        assert {each.path for each in section.templates} == {config.policy}
        assert {each.model.chat_template for each in section.templates} == {None, "other"}
        assert sorted(each.path for each in section.reward_models) == ["rm-1", "rm-2"]


def test_a_missing_model_is_named_with_the_way_around(source, tmp_path):
    config = PrepareConfig(source=source, templates=(TemplateConfig(path=str(tmp_path / "nowhere")),))
    with pytest.raises(ConfigError, match=r"nowhere: is not a model directory .* templates and reward_models"):
        prepare.run(config, prompts=tmp_path / "prompts")


def test_a_prompt_that_a_server_would_read_otherwise_is_found_before_it_is_asked(tiny_policy, tmp_path):
    source = tmp_path / "prompts.jsonl"
    source.write_text('{"prompt": "How many ?"}\n{"prompt": "What is <end> ?"}\n')
    served = TemplateConfig(path=str(tiny_policy), model=PLAIN, served=True)
    why = r"1 of 2 prompts .*contains the text <end>, which a server reads as the token \(model.special_text\)"
    with pytest.raises(DataError, match=why):
        prepare.run(PrepareConfig(source=str(source), templates=(served,)), prompts=tmp_path / "refused")
    control = served.model_copy(update={"model": PLAIN.model_copy(update={"special_text": "control"})})
    for name, template in (("here", served.model_copy(update={"served": False})), ("control", control)):
        metrics = prepare.run(PrepareConfig(source=str(source), templates=(template,)), prompts=tmp_path / name)
        assert metrics["prompts"] == 2


def test_a_run_that_samples_from_a_server_says_so(tiny_world):
    sampler = 'sample.sampler={type = "openai", base_url = "http://localhost:1/v1", served_model = "x"}'
    config = load_config(tiny_world / "larpo.toml", [sampler, "evaluate.sampler.type=hf"])
    assert [each.served for each in config.prepare.templates if each.served] == [True]
