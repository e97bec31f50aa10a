"""Rerankers that look at each response by itself, by a rule."""

import json

import nltk
import pytest
from small_models import user
from small_punkt import write_punkt
from tiny_pairrm import tiny_tokenizer

from larpo_lib.errors import ColumnError, ConfigError, LarpoError
from larpo_lib.rewards.rerankers import Scorable, make_reranker
from larpo_lib.rewards.rerankers._rules import RuleReranker
from larpo_lib.rewards.rerankers.ifeval import IfevalConfig
from larpo_lib.rewards.rerankers.json_schema import JsonSchemaConfig
from larpo_lib.rewards.rerankers.language import LanguageConfig
from larpo_lib.rewards.rerankers.length import LengthConfig
from larpo_lib.rewards.rerankers.regex import RegexConfig
from larpo_lib.rewards.rules import sentences
from larpo_lib.rewards.rules.instruction import Instruction

SENTENCES = {
    "instruction_id_list": ["length_constraints:number_sentences"],
    "kwargs": [{"num_sentences": 2, "relation": "at least"}],
}
WORDS = {
    "instruction_id_list": ["punctuation:no_comma", "length_constraints:number_words"],
    "kwargs": [{"num_words": None, "relation": None}, {"num_words": 3, "relation": "at least"}],
}
POINT = {
    "$defs": {"number": {"type": "integer"}},
    "type": "object",
    "properties": {"x": {"$ref": "#/$defs/number"}},
    "required": ["x"],
}


def items(*responses, **columns):
    return [Scorable("p", user("?"), response, None, columns) for response in responses]


def scores(config, *responses, **columns):
    return make_reranker(config).score(items(*responses, **columns))


def counted(config, *responses, **columns):
    return make_reranker(config).cut(items(*responses, **columns))


def test_ifeval_is_the_share_of_instructions_or_all_of_them():
    responses = ("one two three", "one, two, three", "one, two", "")
    assert scores(IfevalConfig(), *responses, **WORDS) == [1.0, 0.5, 0.0, 0.0]
    assert scores(IfevalConfig(score="all"), *responses, **WORDS) == [1.0, 0.0, 0.0, 0.0]
    loose = "Sure, gladly:\none two three"
    assert scores(IfevalConfig(), loose, **WORDS) == [0.5]
    assert scores(IfevalConfig(mode="loose"), loose, **WORDS) == [1.0]


def test_a_language_that_cannot_be_told_is_followed_and_counted():
    german = {"instruction_id_list": ["language:response_language"], "kwargs": [{"language": "de"}]}
    responses = ("12 34", "Guten Tag, wie geht es Ihnen?", "How are you today?", "12 34")
    assert scores(IfevalConfig(), *responses, **german) == [1.0, 1.0, 0.0, 1.0]
    assert counted(IfevalConfig(), *responses, **german) == {
        "ifeval_language_unknown": 1,
        "ifeval_out_of_time_dropped": 0,
    }
    assert counted(IfevalConfig(), *responses, **WORDS) == {
        "ifeval_language_unknown": 0,
        "ifeval_out_of_time_dropped": 0,
    }


def test_a_model_of_sentences_that_is_missing_is_named_before_any_response(tmp_path, monkeypatch):
    monkeypatch.setattr(nltk.data, "path", [])
    with pytest.raises(ColumnError, match=r"number_sentences needs .* python -m nltk\.downloader punkt_tab"):
        IfevalConfig().check_columns(SENTENCES)
    IfevalConfig().check_columns(WORDS)
    monkeypatch.setattr(nltk.data, "path", [str(write_punkt(tmp_path))])
    sentences._punkt.cache_clear()
    assert scores(IfevalConfig(), "So says Dr. Moss.", "So. It is.", **SENTENCES) == [0.0, 1.0]


def test_columns_that_are_missing_are_named():
    told = r"^ifeval: has 1 instructions, and not as many tables"
    with pytest.raises(LarpoError, match=told):
        scores(IfevalConfig(), "a", instruction_id_list=["punctuation:no_comma"], kwargs=[])
    with pytest.raises(LarpoError, match=r"holds nothing\. Every row must have a value in the column 'kwargs'"):
        scores(IfevalConfig(), "a", instruction_id_list=["punctuation:no_comma"])
    own = IfevalConfig(instructions_column="rules", arguments_column="with")
    assert own.columns == {"rules", "with"}


def test_a_regular_expression_is_searched_or_is_the_whole():
    responses = ("the answer is 42.", " 42\n", "none")
    assert scores(RegexConfig(pattern=r"\d+"), *responses) == [1.0, 1.0, 0.0]
    assert scores(RegexConfig(pattern=r"\d+", match="whole"), *responses) == [0.0, 1.0, 0.0]
    assert scores(RegexConfig(pattern_column="form"), *responses, form="(?i)NONE") == [0.0, 0.0, 1.0]
    thoughts = RegexConfig(pattern="^<think>.*</think>", thinking="keep")
    assert scores(thoughts, "<think>so</think> yes", "yes") == [1.0, 0.0]


def test_a_regular_expression_has_a_time_limit():
    slow = RegexConfig(pattern="^(a|b|ab)*c$", timeout_s=0.05)
    responses = ("ab" * 40 + "cd", "abc")
    assert scores(slow, *responses) == [None, 1.0]
    assert counted(slow, *responses) == {"regex_out_of_time_dropped": 1}


@pytest.mark.parametrize(
    ("name", "own", "share"),
    [
        ("keywords:existence", {"keywords": ["(a|aa)+$"]}, 0.5),
        ("keywords:frequency", {"keyword": "(a|aa)+$", "frequency": 1, "relation": "at least"}, 0.5),
        ("keywords:forbidden_words", {"forbidden_words": ["(a|aa)+!"]}, 1.0),
        ("detectable_content:postscript", {"postscript_marker": "(a|aa)+$"}, 0.5),
        ("detectable_format:multiple_sections", {"section_spliter": "(a|aa)+!", "num_sections": 1}, 0.5),
    ],
)
def test_expressions_of_ifeval_have_a_time_limit(name, own, share):
    columns = {"instruction_id_list": [name, "punctuation:no_comma"], "kwargs": [own, {}]}
    slow, config = "a" * 3000 + "b", IfevalConfig(timeout_s=0.05)
    assert scores(config, slow, "so", **columns) == [None, share]
    assert counted(config, slow, "so", **columns) == {"ifeval_language_unknown": 0, "ifeval_out_of_time_dropped": 1}


@pytest.mark.parametrize(
    ("schema", "slow", "quick"),
    [
        ({"pattern": "^(a|aa)+$"}, json.dumps("a" * 40 + "b"), '"aa"'),
        ({"uniqueItems": True}, json.dumps([{"x": number} for number in range(6000)]), '[{"x": 1}, {"x": 2}]'),
    ],
)
def test_a_schema_has_a_time_limit(schema, slow, quick):
    config = JsonSchemaConfig(accepted=schema, timeout_s=0.05)
    assert scores(config, slow, quick) == [None, 1.0]
    assert counted(config, slow, quick) == {"json_unread": 0, "json_schema_out_of_time_dropped": 1}


def test_a_rule_or_an_instruction_without_a_verdict_cannot_be_made():
    with pytest.raises(TypeError, match=r"abstract method '?verdict"):
        RuleReranker(RegexConfig(pattern="a"))
    with pytest.raises(TypeError, match=r"abstract method '?follows"):
        Instruction()


def test_a_regular_expression_that_is_none_is_refused_before_any_response():
    with pytest.raises(ConfigError, match=r"regex: pattern '\(' is no regular expression: missing \)"):
        RegexConfig(pattern="(").check()
    with pytest.raises(ColumnError, match=r"column 'form': has '\(', which is no regular expression"):
        RegexConfig(pattern_column="form").check_columns({"form": "("})
    for neither in ({}, {"pattern": "a", "pattern_column": "b"}):
        with pytest.raises(ValueError, match="set either pattern or pattern_column"):
            RegexConfig(**neither)


def test_length_is_graded_outside_its_range():
    config = LengthConfig(shortest=4, longest=6)
    responses = ("", "a", "a b c d", "a, b. c-d e f", " ".join("abcdefgh"))
    assert scores(config, *responses) == [0.0, 0.25, 1.0, 1.0, 0.75]
    assert scores(config.model_copy(update={"score": "exact"}), *responses) == [0.0, 0.0, 1.0, 1.0, 0.0]
    assert scores(LengthConfig(unit="characters", longest=2), "é!", "four") == [1.0, 0.5]


def test_tokens_are_those_of_a_tokenizer(tmp_path):
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "config.json").write_text(json.dumps({"model_type": "bert"}))
    config = LengthConfig(unit="tokens", shortest=4, tokenizer=str(tmp_path / "model"))
    text = "what is love?"
    expected = len(tiny_tokenizer()(text, add_special_tokens=False)["input_ids"])
    assert scores(config, text) == [min(1.0, expected / 4)]
    assert config.models() == {"reranker": tmp_path / "model"}
    assert str(tmp_path) not in make_reranker(config).name


@pytest.mark.parametrize(
    "settings",
    [{}, {"shortest": 3, "longest": 2}, {"shortest": 3, "unit": "tokens"}, {"shortest": 3, "tokenizer": "model"}],
)
def test_a_length_that_cannot_be_meant_is_refused(settings):
    with pytest.raises(ValueError, match=r"set (shortest|tokenizer)|longest must be"):
        LengthConfig(**settings)


def test_a_language_is_told_or_unknown():
    texts = {
        "de": "Guten Tag, wie geht es Ihnen heute?",
        "fr": "Les enfants courent entre les étals et rient beaucoup.",
        "en": "HOW ARE YOU TODAY, MY FRIEND?",
        "zh": "今天的天气很好。我们去公园散步。",
    }
    for code in texts:
        assert scores(LanguageConfig(language=code), *texts.values()) == [float(code == other) for other in texts]
    assert scores(LanguageConfig(language_column="speaks"), texts["fr"], speaks="fr") == [1.0]
    unknown = LanguageConfig(language="sr", least_probability=0.0)  # the first of all, where all are as probable
    assert scores(unknown, "12 34", "") == [0.0, 0.0]
    assert counted(unknown, "12 34", "") == {"language_unknown": 2}


def test_an_unknown_language_is_refused_before_any_response():
    with pytest.raises(
        ConfigError, match=r"language: 'klingon' is no language that py3langid knows\. Use one of .*, de, "
    ):
        LanguageConfig(language="klingon").check()
    with pytest.raises(ColumnError, match="column 'speaks': 'klingon' is no language"):
        LanguageConfig(language_column="speaks").check_columns({"speaks": "klingon"})


def test_json_is_read_from_its_fences_and_checked_against_a_schema():
    responses = ('{"x": 1}', '```json\n{"x": 1}\n```', 'Here:\n```\n{"x": 1}\n```\nDone.', '{"x": 1.5}', "{}")
    assert scores(JsonSchemaConfig(accepted=POINT), *responses) == [1.0, 1.0, 1.0, 0.0, 0.0]
    assert scores(JsonSchemaConfig(accepted=POINT, fences="keep"), *responses) == [1.0, 0.0, 0.0, 0.0, 0.0]
    for form in ({"type": "integer"}, '{"type": "integer"}'):
        assert scores(JsonSchemaConfig(schema_column="form"), "3", '"3"', form=form) == [1.0, 0.0]
    assert scores(JsonSchemaConfig(schema_column="form"), "null", "3", form='{"const": null}') == [1.0, 0.0]


def test_what_is_no_json_is_counted():
    unread = ("", "x", '{"x": NaN}', "[" * 100_000, "```\n1\n```\n```\n2\n```", "1" * 5000)
    assert scores(JsonSchemaConfig(accepted={"type": "integer"}), *unread) == [0.0] * 6
    assert counted(JsonSchemaConfig(accepted={}), *unread, "1") == {
        "json_unread": 6,
        "json_schema_out_of_time_dropped": 0,
    }


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ("{", "has a schema that is no JSON"),
        ('{"type": "integr"}', "has a schema that is no JSON Schema: 'integr' is not valid"),
        ('{"$ref": "http://127.0.0.1:9/schema.json"}', "refers to 'http://127.0.0.1:9/schema.json', which it does not"),
        ('{"properties": {"x": {"$ref": "#/$defs/none"}}}', "refers to '#/$defs/none', which it does not hold"),
        (
            [{"type": "integer"}],
            "has a schema that is neither an object nor text. Write schemas as objects or JSON text",
        ),
        ({"type": "integr"}, "has a schema that is no JSON Schema: 'integr' is not valid"),
        ({"anyOf": [{"const": None, "type": "integer"}]}, "has a schema with a key that is null, as Parquet gives"),
    ],
)
def test_a_schema_that_is_none_is_refused_before_any_response(schema, told):
    with pytest.raises(ColumnError) as refused:
        JsonSchemaConfig(schema_column="form").check_columns({"form": schema})
    assert told in str(refused.value)


def test_the_draft_is_the_one_a_schema_names():
    tuple_of_draft_7 = {"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "integer"}]}
    assert scores(JsonSchemaConfig(accepted=tuple_of_draft_7), '["a"]', "[1]") == [0.0, 1.0]


def test_a_rule_says_in_its_name_what_decides_its_scores():
    assert make_reranker(RegexConfig(pattern="a", timeout_s=9)).name == 'regex {"pattern": "a"}'
    assert make_reranker(IfevalConfig(timeout_s=9)).name == "ifeval"
    assert make_reranker(JsonSchemaConfig(accepted={}, timeout_s=9)).name == 'json_schema {"accepted": {}}'
    assert make_reranker(LengthConfig(longest=3)).name == 'length {"longest": 3}'
    assert IfevalConfig().beyond_one is None
    assert not IfevalConfig().list_relative
