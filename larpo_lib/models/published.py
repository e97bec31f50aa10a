"""Model directories that other programs read as they read the one they were made from.

What training does not change is copied from that directory as it is: the tokenizer, the generation settings, and of
config.json all but the class and the precision of the weights. `transformers` 5 would write all of them anew, in names
that readers of version 4 do not know: they would take rope_theta's default without a word, and fail on the tokenizer.
"""

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import GenerationConfig, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from larpo_lib.adapters import is_adapter, model_directory, tokenizer_directory
from larpo_lib.config import ModelConfig
from larpo_lib.errors import ModelError
from larpo_lib.files import read_json
from larpo_lib.models.model_dir import ModelDir, first_line

CONFIG, GENERATION, TOKENIZER = "config.json", "generation_config.json", "tokenizer_config.json"
SPECIAL_TOKENS, TEMPLATE, TEMPLATES = "special_tokens_map.json", "chat_template.jinja", "additional_chat_templates"

_TOKENIZER_FILES = (
    "tokenizer*",
    SPECIAL_TOKENS,
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "*.model",  # SentencePiece
    "*.model.v*",
    "*.tiktoken",
    "tekken.json",
    "chat_template*",
    "*processor_config.json",
    "*.py",  # code that comes with a model, to which its config.json points
)
_TRAINED = ("id2label", "label2id", "pad_token_id")
"""Of config.json, what a new score head changes."""
_TWO_KEYS = {"olmo", "olmo2"}
"""Families whose readers of version 4 want a scaling to be of `type` and `factor` and nothing else."""
_SCALINGS = {"linear", "dynamic", "yarn", "longrope", "llama3"}
"""Those that version 4 knows; of `_TWO_KEYS`, the first two."""
_BY_LAYERS = {"gemma3_text", "gemma3n_text"}
"""Families whose readers of version 4 know frequencies of sliding layers beside those of the others."""


def save_policy(
    model: PreTrainedModel,
    weights: dict[str, Tensor],
    tokenizer: PreTrainedTokenizerBase,
    source: ModelDir,
    directory: Path,
) -> None:
    """Write a model that was made from `source`, with its tokenizer, in safetensors.

    Args:
        model: the model; its weights may lie elsewhere.
        weights: what is written.
        tokenizer: of `source`; it says what its files are called.
        source: a chat template or pad token that its settings name is written into the tokenizer.
        directory: where to write.
    """
    dtype = str(next(value.dtype for value in weights.values() if value.is_floating_point())).removeprefix("torch.")
    model.generation_config = GenerationConfig()  # settings that transformers 5 would refuse to write are kept below
    model.save_pretrained(directory, state_dict=weights, safe_serialization=True)
    (directory / GENERATION).unlink(missing_ok=True)
    made_from = model_directory(source.path)
    if (made_from / GENERATION).is_file():
        shutil.copyfile(made_from / GENERATION, directory / GENERATION)
    if model.can_generate() and tokenizer.chat_template:
        _tell_stops(source, directory / GENERATION)
    _write_json(directory / CONFIG, _model_config(source, _with_dtype(_read(directory / CONFIG), dtype)))
    copy_tokenizer(tokenizer_directory(source.path), directory, tokenizer, source.settings)
    write_older_keys(directory)


def check_publishable(source: ModelDir) -> None:
    """Check that what is published of a model will be read with the model's own rotary embeddings.

    Raises:
        ModelError: keys that are added for version 4 would change them in version 5.
    """
    found = _read(model_directory(source.path) / CONFIG)
    problem = ""
    with tempfile.TemporaryDirectory(prefix="larpo-") as folder:
        _write_json(Path(folder) / CONFIG, with_older_keys(_with_dtype(found, "float32")))
        try:
            again = _rope_parameters(type(source.config).from_pretrained(folder))
        except Exception as error:  # transformers raises whatever a value leads it to
            problem = f"could not be read: {first_line(error)}"
        else:
            if again != _rope_parameters(source.config):
                problem = f"would be read with the rope_parameters {again}"
    if problem:
        raise ModelError(
            f"{source.path}: a policy that is trained from it {problem}",
            remedy="Add rope_scaling to its config.json, with the same content as rope_parameters",
        )


def _rope_parameters(config: PretrainedConfig) -> Any:
    return _stated(getattr(config.get_text_config(), "rope_parameters", None))


def _stated(rope: Any) -> Any:
    """Without what says nothing: absent values, and the kind by its older name."""
    if not isinstance(rope, dict):
        return rope
    return {key: _stated(value) for key, value in rope.items() if value is not None and key != "type"}


def _tell_stops(source: ModelDir, generation: Path) -> None:
    """Name the ends of a turn that the policy was trained with, where its source does not: others would run on."""
    if not set(source.stop_ids) <= set(source.generation_stops):
        settings = _read(generation) if generation.is_file() else {}
        _write_json(generation, {**settings, "eos_token_id": source.stop_ids})


@contextmanager
def merged_policy(policy: Path) -> Iterator[Path]:
    """A directory with a policy that needs no other: its own, or for a while one with adapters merged into their base.

    Raises:
        ModelError: the policy cannot be loaded.
    """
    if not is_adapter(policy):
        yield policy
        return
    plain = ModelConfig(device="cpu")
    dtype = str(ModelDir(policy, plain).config.dtype).removeprefix("torch.")  # to be as large as its base
    config = plain if dtype == "None" else ModelConfig.model_validate({"device": "cpu", "dtype": dtype})
    with tempfile.TemporaryDirectory(prefix="larpo-") as folder:
        source, directory = ModelDir(policy, config), Path(folder) / "policy"
        model = source.load_policy()
        save_policy(model, model.state_dict(), source.bare_tokenizer, source, directory)
        yield directory


def write_older_keys(directory: Path) -> None:
    """Say what transformers 5 wrote in its own words also in those of version 4, in place."""
    settings = directory / CONFIG
    _write_json(settings, with_older_keys(_read(settings)))
    tokenizer = directory / TOKENIZER
    if tokenizer.is_file():
        found = _read(tokenizer)
        told = _older_tokenizer(found)
        if told != found:
            _write_json(tokenizer, told)


def tokenizer_files(source: Path) -> list[Path]:
    """The files of a model's tokenizer, by the names that they usually have; chat templates may be in `TEMPLATES`."""
    return sorted({path for pattern in _TOKENIZER_FILES for path in source.glob(pattern) if path.is_file()})


def is_tokenizer_file(name: str) -> bool:
    """Whether a file in a model's folder has one of these names; not code, to which config.json points or nothing."""
    return not name.endswith(".py") and any(fnmatchcase(name, pattern) for pattern in _TOKENIZER_FILES)


def copy_tokenizer(source: Path, directory: Path, tokenizer: PreTrainedTokenizerBase, config: ModelConfig) -> None:
    """Copy a tokenizer's files as they are, but for a chat template and a pad token that settings put in place."""
    names = {path.name for path in tokenizer_files(source)}
    for name in sorted(names | set(tokenizer.vocab_files_names.values())):
        if (source / name).is_file():
            shutil.copyfile(source / name, directory / name)
    if config.chat_template is None:
        if (source / TEMPLATES).is_dir():
            shutil.copytree(source / TEMPLATES, directory / TEMPLATES, copy_function=shutil.copyfile)
    elif isinstance(tokenizer.chat_template, dict):
        _write_templates(tokenizer.chat_template, directory)
    else:
        (directory / TEMPLATE).write_text(config.chat_template, "utf-8")
        _change(directory / TOKENIZER, {"chat_template": config.chat_template})
    if config.pad_token is not None:
        _change(directory / TOKENIZER, {"pad_token": config.pad_token})
        if (directory / SPECIAL_TOKENS).is_file():
            _change(directory / SPECIAL_TOKENS, {"pad_token": config.pad_token})


def _write_templates(templates: Mapping[str, str], directory: Path) -> None:
    """Write named chat templates as transformers 5 keeps them, and as version 4 did; the chosen one is the default."""
    (directory / TEMPLATES).mkdir(exist_ok=True)
    for name, text in templates.items():
        place = directory / TEMPLATE if name == "default" else directory / TEMPLATES / f"{name}.jinja"
        place.write_text(text, "utf-8")
    told = [{"name": name, "template": text} for name, text in templates.items()]
    _change(directory / TOKENIZER, {"chat_template": told})


def with_older_keys(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A config.json with what `transformers` 4 reads beside what version 5 has written; what is there stays.

    The frequencies of rotary embeddings are in `rope_parameters` in version 5. In version 4 they are `rope_theta`,
    `rope_scaling` and `partial_rotary_factor`, and of Gemma 3's sliding layers `rope_local_base_freq`.
    """
    told: dict[str, Any] = {k: with_older_keys(v) if _is_config(v) else v for k, v in settings.items()}
    if told.get("dtype") is not None:
        told.setdefault("torch_dtype", told["dtype"])
    if "_sliding_window_pattern" in told:
        told.setdefault("sliding_window_pattern", told["_sliding_window_pattern"])
    rope = told.get("rope_parameters")
    if rope:
        for key, value in _older_rope(told.get("model_type", ""), rope).items():
            told.setdefault(key, value)
    return told


def _older_rope(family: str, rope: Mapping[str, Any]) -> dict[str, Any]:
    if "rope_theta" not in rope:  # by kinds of layers
        of_all, of_sliding = rope.get("full_attention"), rope.get("sliding_attention")
        if family not in _BY_LAYERS or not of_all or not of_sliding:
            return {}
        return {**_older_rope(family, of_all), "rope_local_base_freq": of_sliding["rope_theta"]}
    told = {"rope_theta": rope["rope_theta"]}
    if rope.get("partial_rotary_factor") is not None:
        told["partial_rotary_factor"] = rope["partial_rotary_factor"]
    if family in ("gpt_neox", "gpt_neox_japanese"):
        told = {"rotary_emb_base": rope["rope_theta"], "rotary_pct": rope.get("partial_rotary_factor", 1.0)}
    kind = rope.get("rope_type", "default")
    if kind in _SCALINGS and (family not in _TWO_KEYS or kind in ("linear", "dynamic")):
        told["rope_scaling"] = _older_scaling(family, kind, rope)  # version 5 takes it in place of `rope_parameters`
    return told


def _older_scaling(family: str, kind: str, rope: Mapping[str, Any]) -> dict[str, Any]:
    if family == "phi3":
        return {"type": kind, "short_factor": rope["short_factor"], "long_factor": rope["long_factor"]}
    if family in _TWO_KEYS:
        return {"type": kind, "factor": rope["factor"]}
    kept = {k: v for k, v in rope.items() if k not in ("rope_theta", "partial_rotary_factor", "type")}
    return {**kept, "rope_type": kind}


def _older_tokenizer(settings: Mapping[str, Any]) -> dict[str, Any]:
    told = dict(settings)
    if told.get("tokenizer_class") == "TokenizersBackend":
        told["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(told.get("extra_special_tokens"), list):  # a mapping in version 4
        told["additional_special_tokens"] = told.pop("extra_special_tokens")
    return told


def _model_config(source: ModelDir, written: Mapping[str, Any]) -> dict[str, Any]:
    """The source's config.json, with what is true of the weights that were `written`."""
    told = _read(model_directory(source.path) / CONFIG)
    if told.get("model_type") != written.get("model_type"):  # a part of the source's model
        return {**written, "use_cache": True}  # `transformers` switches it off for training
    before = source.config.to_dict()
    told["architectures"] = written["architectures"]
    for key in _TRAINED:
        if key in written and written[key] != _as_json(before.get(key)):
            told[key] = written[key]
    return _with_dtype(told, written["dtype"])


def _with_dtype(settings: Mapping[str, Any], dtype: str) -> dict[str, Any]:
    told = {key: _with_dtype(value, dtype) if _is_config(value) else value for key, value in settings.items()}
    return {**told, "dtype": dtype, "torch_dtype": dtype}


def _is_config(value: Any) -> bool:
    """Whether a value in config.json is itself a config, of a part of the model."""
    return isinstance(value, dict) and "model_type" in value


def _as_json(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _change(path: Path, changes: Mapping[str, Any]) -> None:
    found = _read(path) if path.is_file() else {}
    _write_json(path, {**found, **changes})


def _read(path: Path) -> dict[str, Any]:
    return read_json(path, remedy="Copy the model's files again from where they come from")


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", "utf-8")
