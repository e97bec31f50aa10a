"""Sentence embeddings by a local sentence-transformers model (Reimers and Gurevych 2019, arXiv 1908.10084)."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from transformers import PreTrainedTokenizerBase

from larpo_lib.config import ModelConfig
from larpo_lib.device_memory import ran_out
from larpo_lib.errors import LarpoError, ModelError
from larpo_lib.models.device import model_device
from larpo_lib.models.hub import local_model
from larpo_lib.models.model_dir import ModelDir, check_weights, first_line
from larpo_lib.parsing import parse_json
from larpo_lib.retrievers.embedding import EmbeddingConfig

_SAVED = """\
Use a directory written by SentenceTransformer.save_pretrained with weights in safetensors, or such a model's name on
the hub, as org/name"""
_SHOWN = 60
"""Characters of a text that a message shows."""
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt")


def check_embedding_model(config: EmbeddingConfig) -> None:
    """Check, without loading it, that an embedding model is there, whole, and free of code and pickled weights.

    Raises:
        LarpoError: the package sentence-transformers is missing.
        ModelError: the directory is no such model.
        ConfigError: there is no such device.
    """
    if find_spec("sentence_transformers") is None:
        raise LarpoError(
            "the retriever 'embedding' needs the package sentence-transformers, which is not installed",
            remedy="pip install 'larpo[embedding]', or use the retriever bm25",
        )
    path = local_model(config.path)
    for module in _modules(path):
        folder = path / module["path"]
        if not module["type"].startswith("sentence_transformers."):
            raise ModelError(f"{path}: needs to run its own code ({module['type']})", remedy=_SAVED)
        if module["type"].endswith(".Transformer"):
            check_weights(folder)
            _check_positions(folder)
        elif folder != path and not any(folder.glob("*.safetensors")):
            pickled = [file for pattern in _PICKLES for file in folder.glob(pattern)]
            if pickled:
                raise ModelError(f"{pickled[0]}: the weights are not in safetensors", remedy=_SAVED)
    model_device(ModelConfig(device=config.device))


def _check_positions(folder: Path) -> None:
    """Refuse a longest text beyond the model's positions, at which a long one would end in an index error."""
    file = folder / "sentence_bert_config.json"
    try:
        longest = parse_json(file.read_text("utf-8")).get("max_seq_length") if file.is_file() else None
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(f"{file}: cannot be read: {error}", remedy=_SAVED) from error
    positions = ModelDir(folder, ModelConfig()).context_length
    if isinstance(longest, int) and positions is not None and longest > positions:
        raise ModelError(
            f"{file}: max_seq_length is {longest}, but the model supports at most {positions} tokens",
            remedy=f"Set it to {positions}: longer texts are then cut and counted",
        )


def _modules(path: Path) -> list[dict[str, str]]:
    file = path / "modules.json"
    try:
        modules: list[dict[str, str]] = parse_json(file.read_text("utf-8"))
        return [{"type": str(module["type"]), "path": str(module["path"])} for module in modules]
    except FileNotFoundError:
        raise ModelError(
            f"{path}: is not a sentence-transformers model (it has no modules.json)", remedy=_SAVED
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{file}: cannot be read: {error}", remedy=_SAVED) from error


class SentenceEmbedder:
    """Gives texts their embeddings; reads no hub and runs no code of the model's.

    Attributes:
        cut: texts so far that were longer than the model reads, and were cut; None where the model does not say.
    """

    cut: int | None

    def __init__(self, config: EmbeddingConfig) -> None:
        """Load the model.

        Raises:
            LarpoError: as `check_embedding_model`.
            ModelError: it cannot be loaded.
        """
        check_embedding_model(config)
        from sentence_transformers import SentenceTransformer

        self._path = config.path
        self._batch_size = config.batch_size
        try:
            self._model = SentenceTransformer(
                str(local_model(config.path).absolute()),
                device=str(model_device(ModelConfig(device=config.device))),
                local_files_only=True,
                trust_remote_code=False,
                model_kwargs={"use_safetensors": True},
            )
        except (OSError, ValueError, RuntimeError, KeyError, TypeError, ImportError, SafetensorError) as error:
            if ran_out(error) is not None:  # which is no fault of the model's
                raise
            problem = f"{config.path}: the embedding model cannot be loaded: {first_line(error)}"
            raise ModelError(problem, remedy=_SAVED) from error
        self.cut = 0 if self._counts_tokens() else None

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed `texts`: (N, D), one row a text.

        Raises:
            ModelError: an embedding is not finite.
        """
        if self.cut is not None:
            longest = self._model.max_seq_length or 0
            self.cut += sum(length > longest for length in self._lengths(texts))
        vectors = np.asarray(
            self._model.encode(list(texts), batch_size=self._batch_size, show_progress_bar=False), dtype=np.float32
        )
        broken = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        if len(broken):
            raise ModelError(
                f"{self._path}: the embedding of {_beginning(texts[broken[0]])} has values that are not finite",
                remedy="Check the weights of the embedding model",
            )
        return vectors

    def _counts_tokens(self) -> bool:
        tokenizer = getattr(self._model, "tokenizer", None)
        return isinstance(tokenizer, PreTrainedTokenizerBase) and self._model.max_seq_length is not None

    def _lengths(self, texts: Sequence[str]) -> list[int]:
        encoded = self._model.tokenizer(list(texts), truncation=False, padding=False, verbose=False)["input_ids"]
        return [len(ids) for ids in encoded]


def _beginning(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")
