"""The command that pushes a policy to the Hugging Face hub."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from larpo_lib.cli.app import STORE, TOOLS, Config, Settings, Store, app, say
from larpo_lib.cli.commands import show
from larpo_lib.cli.registries import existing_registry

_CARD = (
    "README.md, the model card, would be published too. It shows data, numbers and settings of the run: read it first"
)


@app.command(rich_help_panel=TOOLS)
def push(
    repository: Annotated[str, typer.Argument(help="Repository on the hub, as org/name or user/name.")],
    policy: Annotated[
        str, typer.Option(help="Policy to push: a directory, an s3:// URI, or models:/NAME@champion of MLflow.")
    ],
    private: Annotated[
        bool, typer.Option("--private", help="Make the repository private. One that exists must be private.")
    ] = False,
    revision: Annotated[str, typer.Option(help="Branch to push to; made if it does not exist.")] = "main",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the files that would be pushed, without asking the hub.")
    ] = False,
    store: Store = STORE,
    config: Config = None,
    settings: Settings = None,
) -> None:
    """Push a policy to a repository of the Hugging Face hub, with the token in HF_TOKEN.

    Only the files of the model are pushed: configuration, tokenizer, chat templates, weights in safetensors, README.md
    and licence. Adapters are merged into their base first. All files go into one commit.

    README.md is the model card. It is published as it is, with the settings of the run: read it first.
    """
    from larpo_lib.models import hub_push
    from larpo_lib.models.published import merged_policy

    with _local(policy, store, config, settings or ()) as given, merged_policy(given) as directory:
        files = {name: (directory / name).stat().st_size for name in hub_push.own_files(directory)}
        if dry_run:
            if "README.md" in files:
                say(_CARD, err=True)
            show({"repository": repository, "revision": revision, "files": files})
            return
        done = hub_push.push(directory, repository, revision, private=private)
    found = {"repository": repository, "revision": revision, "files": files, "deleted": [*done.deleted]}
    show({**found, "commit": done.commit, "url": done.url})


@contextmanager
def _local(policy: str, store: Path, config: Path | None, settings: Sequence[str]) -> Iterator[Path]:
    """The policy's directory on this machine."""
    if not policy.startswith("models:/"):
        from larpo_lib.models.hub import local_model

        yield local_model(policy)
        return
    registry = existing_registry(store, config, settings)
    with tempfile.TemporaryDirectory(prefix="larpo-") as folder:
        yield registry.download(policy, Path(folder) / "policy")
