"""The files that make a policy's folder a model of MLflow, with the `transformers` flavour, beside its weights.

Neither the weights nor the tokenizer are loaded or written anew: the flavour points to the checkpoint where it is. The
key `model_binary` of MLflow's flavour is the checkpoint's folder below the model's; components are read from
`components/<name>`, so that the tokenizer's files, which are small, stand there a second time.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from platform import python_version
from typing import Any

import yaml

from larpo_lib.artifacts import CARD, MANIFEST, Metrics, read_manifest
from larpo_lib.files import read_json, write_json

MODEL = "MLmodel"

_TOKENIZER = Path("components") / "tokenizer"
_CHAT = "llm/v1/chat"
_PACKAGES = ("mlflow", "torch", "transformers", "accelerate", "safetensors", "jinja2")
"""What loading and asking a policy needs; jinja2 renders its chat template."""
_QUESTION = "What is 7 times 8?"
_REQUIREMENTS, _CONDA, _PYTHON = "requirements.txt", "conda.yaml", "python_env.yaml"
_EXAMPLE, _SERVING_EXAMPLE = "input_example.json", "serving_input_example.json"


@dataclass(frozen=True)
class VersionFacts:
    """What is kept of a policy with its version, beside the files.

    Attributes:
        card: README.md, unless the policy has one of its own.
        description: what MLflow shows of the version, in Markdown.
        metrics: of its evaluation.
        params: settings worth comparing versions by.
        tags: of the version.
        max_new_tokens: of a response, where who asks does not say; None: transformers' own default.
    """

    card: str = ""
    description: str = ""
    metrics: Metrics = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    max_new_tokens: int | None = None


@dataclass(frozen=True)
class Identity:
    """Where MLflow has a model.

    Attributes:
        name: of the registered model.
        digest: of the policy.
        model_id: of the logged model.
        run_id: of the run that registers it.
        created_ms: when that run began, in milliseconds since 1970.
    """

    name: str
    digest: str
    model_id: str
    run_id: str
    created_ms: int


def write_model_files(folder: Path, policy: Path, place: str, identity: Identity, facts: VersionFacts) -> None:
    """Write what stands beside the weights: `MLmodel`, requirements, an example, the tokenizer, the card.

    Args:
        folder: where they go.
        policy: model directory, of which the weights may be missing.
        place: the folder of the policy's files below the model's own; "." where they are the same.
        identity: where MLflow has it.
        facts: what is known of the policy.
    """
    (folder / _TOKENIZER).mkdir(parents=True)
    for file in _tokenizer_files(policy):
        if file.is_dir():
            shutil.copytree(file, folder / _TOKENIZER / file.name, copy_function=shutil.copyfile)
        else:
            shutil.copyfile(file, folder / _TOKENIZER / file.name)
    _write_environment(folder)
    chat = _has_chat_template(policy)
    example = {"messages": [{"role": "user", "content": _QUESTION}], "max_tokens": 64} if chat else [_QUESTION]
    write_json(folder / _EXAMPLE, example)
    write_json(folder / _SERVING_EXAMPLE, example if chat else {"inputs": example})
    (folder / MODEL).write_text(yaml.safe_dump(_model(policy, place, identity, facts, chat=chat)), "utf-8")
    if facts.card:
        (folder / CARD).write_text(facts.card, "utf-8")


def _model(policy: Path, place: str, identity: Identity, facts: VersionFacts, *, chat: bool) -> dict[str, Any]:
    from mlflow import pyfunc
    from mlflow.models import Model

    created = datetime.fromtimestamp(identity.created_ms / 1000, UTC).replace(tzinfo=None)
    model = Model(
        model_uuid=identity.digest[:32],
        model_id=identity.model_id,
        run_id=identity.run_id,
        utc_time_created=created,
        signature=_signature(chat=chat),
        saved_input_example_info={
            "artifact_path": _EXAMPLE,
            "serving_input_path": _SERVING_EXAMPLE,
            "type": "json_object",
        },
        metadata={"larpo.policy_digest": identity.digest, **({"task": _CHAT} if chat else {})},
        model_size_bytes=_size(policy),
    )
    model.add_flavor("transformers", **_flavor(policy, place, identity.name, chat=chat))
    limit = {} if facts.max_new_tokens is None else {"model_config": {"max_new_tokens": facts.max_new_tokens}}
    pyfunc.add_to_model(
        model, loader_module="mlflow.transformers", conda_env=_CONDA, python_env=_PYTHON, code=None, **limit
    )
    found: dict[str, Any] = model.to_dict()
    return found


def _flavor(policy: Path, place: str, name: str, *, chat: bool) -> dict[str, Any]:
    """As `mlflow.transformers.save_model` writes it.

    But for Auto classes where a class is not one of transformers: MLflow would run the code that came with the model.
    """
    config = _read(policy / "config.json")
    architecture = (config.get("architectures") or [""])[0]
    dtype = config.get("dtype") or config.get("torch_dtype")
    return {
        "transformers_version": metadata.version("transformers"),
        "code": None,
        "task": "text-generation",
        "instance_type": "TextGenerationPipeline",
        "pipeline_model_type": architecture if _is_known(architecture) else "AutoModelForCausalLM",
        "model_binary": place,
        "source_model_name": name,
        "components": ["tokenizer"],
        "tokenizer_type": "AutoTokenizer",
        **({"torch_dtype": f"torch.{dtype}"} if dtype else {}),
        **({"inference_task": _CHAT} if chat else {}),
    }


def _is_known(architecture: str) -> bool:
    import transformers

    return bool(architecture) and hasattr(transformers, architecture)


def _signature(*, chat: bool) -> Any:
    from mlflow.models import ModelSignature
    from mlflow.transformers.llm_inference_utils import infer_signature_from_llm_inference_task
    from mlflow.types import ColSpec, Schema

    if chat:
        return infer_signature_from_llm_inference_task(_CHAT)
    texts = Schema([ColSpec("string")])
    return ModelSignature(inputs=texts, outputs=texts)


def _tokenizer_files(policy: Path) -> list[Path]:
    from larpo_lib.models.published import CONFIG, TEMPLATES, tokenizer_files  # loads torch

    return [path for path in (policy / CONFIG, *tokenizer_files(policy), policy / TEMPLATES) if path.exists()]


def _has_chat_template(policy: Path) -> bool:
    return (policy / "chat_template.jinja").is_file() or bool(
        _read(policy / "tokenizer_config.json").get("chat_template")
    )


def _write_environment(folder: Path) -> None:
    """The versions that are installed here, which are those that the policy was made and measured with."""
    pinned = [f"{name}=={metadata.version(name).partition('+')[0]}" for name in _PACKAGES]
    (folder / _REQUIREMENTS).write_text("".join(f"{line}\n" for line in pinned), "utf-8")
    environment = {
        "name": "mlflow-env",
        "channels": ["conda-forge"],
        "dependencies": [f"python={python_version()}", "pip", {"pip": pinned}],
    }
    (folder / _CONDA).write_text(yaml.safe_dump(environment, sort_keys=False), "utf-8")
    needed = {
        "python": python_version(),
        "build_dependencies": ["pip"],
        "dependencies": [f"-r {_REQUIREMENTS}"],
    }
    (folder / _PYTHON).write_text(yaml.safe_dump(needed, sort_keys=False), "utf-8")


def _size(policy: Path) -> int:
    """Bytes of the policy's files."""
    if (policy / MANIFEST).is_file():  # the weights may be elsewhere
        return sum(recorded["bytes"] for recorded in read_manifest(policy)["files"].values())
    return sum(file.stat().st_size for file in policy.rglob("*") if file.is_file())


def _read(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty where there is none."""
    return read_json(path, remedy="Copy the model's files again") if path.is_file() else {}
