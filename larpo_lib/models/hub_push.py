"""Pushes a model to a repository of the Hugging Face hub: the model's own files, in one commit."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from huggingface_hub import HfApi

from larpo_lib.artifacts import CARD, MANIFEST, read_manifest, verify
from larpo_lib.errors import ConfigError, ModelError
from larpo_lib.models.hub import INDEX, MODULES, HubModel
from larpo_lib.models.hub_requests import HubError, hub_errors
from larpo_lib.models.model_dir import check_weights, weight_files
from larpo_lib.models.published import CONFIG, GENERATION, TEMPLATES, is_tokenizer_file, tokenizer_files
from larpo_lib.progress import tell

_BESIDE = (CARD, "LICENSE*", "NOTICE*")
_REPLACED = (GENERATION, "*.safetensors", INDEX, "pytorch_model*", "adapter_*", MODULES)
"""What a model of the hub is read from besides config.json, its tokenizer and its templates."""


@dataclass(frozen=True)
class Pushed:
    """A commit that holds a model.

    Attributes:
        commit: its identity.
        url: its page.
        deleted: files of an earlier model that it removed.
    """

    commit: str
    url: str
    deleted: Sequence[str]


def own_files(directory: Path) -> list[str]:
    """The names of a model's own files: what it is read from, its card and its licence; no state, no logs.

    Code is a part of a model only where its config.json points to code.

    Raises:
        ModelError: its configuration or weights are missing, damaged, or not in safetensors.
    """
    try:
        coded = "auto_map" in json.loads((directory / CONFIG).read_text("utf-8"))
    except (OSError, ValueError) as error:
        problem = f"{directory}: is not a model directory (no config.json that can be read)"
        raise ModelError(problem, remedy="Give the directory of a policy, such as RUN/iteration-3/policy") from error
    check_weights(directory)
    beside = [path.name for pattern in (CONFIG, GENERATION, *_BESIDE) for path in directory.glob(pattern)]
    own = [path.name for path in tokenizer_files(directory) if coded or path.suffix != ".py"]
    templates = [f"{TEMPLATES}/{path.name}" for path in (directory / TEMPLATES).glob("*.jinja")]
    index = [INDEX] if (directory / INDEX).is_file() else []
    return sorted({*beside, *own, *templates, *index, *weight_files(directory)})


def push(directory: Path, name: str, branch: str, *, private: bool) -> Pushed:
    """Push a model's own files to a branch of a repository; both are made if they are not there.

    The branch has the whole model or is as before. What else is in it that the model would be read from is removed.

    Args:
        directory: of a whole model, not of adapters.
        name: of the repository, `org/name`.
        branch: of the repository.
        private: whether the repository must be private.

    Raises:
        ConfigError: there is no token, `name` is none, or the repository is public and must not be.
        HubError: the hub refuses, or cannot be reached.
        ArtifactError: the directory is an artifact and damaged.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    _check_name(name)
    _require_token()
    if (directory / MANIFEST).is_file():
        verify(directory)
    files = own_files(directory)
    api = HfApi()
    with _refusals(name):
        _make(api, name, branch, private=private)
        there = api.list_repo_files(name, revision=branch)
        deleted = sorted({file for file in there if _is_read(file)} - {*files})
        size = sum((directory / file).stat().st_size for file in files)
        tell(f"{name}: pushing {len(files)} files, {size / 1e6:.1f} MB")
        changes = [CommitOperationAdd(path_in_repo=file, path_or_fileobj=str(directory / file)) for file in files]
        removals = [CommitOperationDelete(path_in_repo=file) for file in deleted]
        done = api.create_commit(name, [*changes, *removals], commit_message=_message(directory), revision=branch)
    return Pushed(str(done.oid), str(done.commit_url), deleted)


def _is_read(file: str) -> bool:
    """Whether a model in a repository would be read from such a file, which an earlier model may have left."""
    folder, _, name = file.rpartition("/")
    if folder:
        return folder == TEMPLATES and name.endswith(".jinja")
    return is_tokenizer_file(name) or any(fnmatchcase(name, pattern) for pattern in _REPLACED)


def _check_name(name: str) -> None:
    model = HubModel.parse(name)
    if model is None or "@" in name:
        raise ConfigError(f"'{name}' is not the name of a repository", remedy="Give it as org/name or user/name")


def _require_token() -> None:
    from huggingface_hub import constants, get_token

    if constants.is_offline_mode():
        raise ConfigError("HF_HUB_OFFLINE forbids to push to the hub", remedy="Unset it")
    if get_token() is None:
        raise ConfigError(
            "there is no token to push to the hub with",
            remedy=f"Set the environment variable HF_TOKEN to a token with write access from {constants.ENDPOINT}"
            "/settings/tokens",
        )


def _make(api: HfApi, name: str, branch: str, *, private: bool) -> None:
    """Have the repository and the branch there."""
    api.create_repo(name, private=private, exist_ok=True)
    if private and not api.repo_info(name).private:
        raise ConfigError(
            f"{name}: exists already and is public", remedy="Make it private on its page, or choose another name"
        )
    if branch != "main":
        api.create_branch(name, branch=branch, exist_ok=True)


def _message(directory: Path) -> str:
    if not (directory / MANIFEST).is_file():
        return "Push a policy with larpo"
    return f"Push a policy with larpo, fingerprint {read_manifest(directory)['fingerprint'][:16]}"


@contextmanager
def _refusals(name: str) -> Iterator[None]:
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError

    with hub_errors(name):
        try:
            yield
        except HfHubHTTPError as error:
            status = error.response.status_code
            if status not in (401, 403, 404):
                raise
            raise HubError(
                f"{name}: {constants.ENDPOINT} does not let this token make or change it ({status})",
                remedy="Set HF_TOKEN to a token with write access to it, or choose another name",
            ) from None
