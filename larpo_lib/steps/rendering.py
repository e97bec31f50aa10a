"""Prompts that a model of the run cannot be given are found before anything is sampled for them."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from larpo_lib.adapters import base_of, is_adapter
from larpo_lib.config import PrepareConfig, TemplateConfig
from larpo_lib.config.kinds import ChatRerankerConfig
from larpo_lib.errors import ConfigError, ModelError
from larpo_lib.models.hub import local_model
from larpo_lib.schemas import Messages
from larpo_lib.thinking import without_thoughts

_REPLY = "!"
_FILES = ("config.json", "tokenizer_config.json", "chat_template.jinja", "special_tokens_map.json")
"""Files of a model directory that decide what its template writes."""
_WITHOUT = (
    "Use the model's directory or its name on the hub, as org/name, or set templates and reward_models of the source "
    "to [] to skip this check"
)

Refusal = Callable[[Messages], str | None]
"""Why a model cannot be given a prompt; None where it can."""


def identities(config: PrepareConfig) -> list[str]:
    """Identities of what decides how prompts are rendered: hashes of templates and settings, not of weights.

    Raises:
        ConfigError: there is no such model directory.
        ModelError: the base of adapters is not to be found.
    """
    return [*map(_identity, config.templates), *map(_identity, config.reward_models)]


def refusals(config: PrepareConfig, prompts: Iterable[tuple[str, Messages]]) -> tuple[int, dict[str, str]]:
    """The prompts that at least one model of the run cannot be given.

    Args:
        config: names the models; without any, no prompt is looked at.
        prompts: identity and messages of each prompt; one may stand several times.

    Returns:
        How many prompts there are, and prompt_id -> the model and its reason, in the order of `prompts`.

    Raises:
        ModelError: a model has no tokenizer, or no chat template where it needs one.
    """
    models = [_of_template(each) for each in config.templates] + [
        _of_reward_model(each) for each in config.reward_models
    ]
    seen: set[str] = set()
    found: dict[str, str] = {}
    for identity, messages in prompts if models else ():
        if identity in seen:
            continue
        seen.add(identity)
        reason = next(filter(None, (refusal(messages) for refusal in models)), None)
        if reason is not None:
            found[identity] = reason
    return len(seen), found


def _of_template(config: TemplateConfig) -> Refusal:
    from larpo_lib.models.chat import conversation_text, find_special_text, message_contents, prompt_text
    from larpo_lib.models.model_dir import ModelDir

    tokenizer = ModelDir(_local(config), config.model).tokenizer

    def refusal(messages: Messages) -> str | None:
        try:
            prompt = prompt_text(tokenizer, messages)
            conversation = conversation_text(tokenizer, messages, _REPLY)
        except ModelError as error:
            return error.problem
        if not prompt.strip():
            return f"{config.path}: the chat template renders it to an empty text"
        name = find_special_text(tokenizer, message_contents(messages))
        if config.served and name is not None and config.model.special_text == "text":
            return f"{config.path}: it contains the text {name}, which a server reads as the token (model.special_text)"
        return _left_out(config.path, conversation, messages)

    return refusal


def _of_reward_model(config: ChatRerankerConfig) -> Refusal:
    read = config.model_copy(update={"path": str(_local(config))}).reading()

    def refusal(messages: Messages) -> str | None:
        try:
            texts = read(messages, _REPLY)
        except ModelError as error:
            return error.problem
        return _left_out(config.path, "\n".join(texts), messages)

    return refusal


def _left_out(model: str, text: str, messages: Messages) -> str | None:
    if _REPLY not in text:
        return f"{model}: the chat template omits the reply"
    missing = next((message["role"] for message in messages if not _is_written(message, text)), None)
    return None if missing is None else f"{model}: the chat template omits a message with the role {missing}"


def _is_written(message: Mapping[str, str], text: str) -> bool:
    """Whether a text has a message: of a reply without its thoughts, and of a tool's result as it is or as JSON.

    Templates of thinking models leave the thoughts of earlier replies out, rightly, and those of Llama 3.1 write tools'
    results as JSON.
    """
    content = message["content"]
    said = (without_thoughts(content) if message["role"] == "assistant" else content).strip()
    return said in text or (message["role"] == "tool" and json.dumps(content, ensure_ascii=False) in text)


def _identity(config: TemplateConfig | ChatRerankerConfig) -> str:
    settings = {name: value for name, value in config.identity().items() if name != "path"}
    found = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    local = _local(config)
    for directory in (local, base_of(local)) if is_adapter(local) else (local,):
        more = sorted((directory / "additional_chat_templates").glob("*.jinja"))
        for file in (*(directory / name for name in _FILES), *more):
            found.update(file.name.encode() + b"\0" + (file.read_bytes() if file.is_file() else b"") + b"\0")
    return found.hexdigest()


def _local(config: TemplateConfig | ChatRerankerConfig) -> Path:
    path = local_model(config.path)
    if not is_adapter(path) and not (path / "config.json").is_file():
        raise ConfigError(
            f"{config.path}: is not a model directory (no config.json), so prompts cannot be rendered for it",
            remedy=_WITHOUT,
        )
    return path
