"""A Hugging Face hub on loopback: as much of its API as `huggingface_hub` asks for models, and for uploads of them."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from loopback import Handler, served

TOKEN = "hf_secretTokenOfTheTests"
STRANGER = "hf_tokenOfAnotherAccount"
MODEL = {"config.json": b'{"model_type": "llama"}', "tokenizer.json": b"{}", "model.safetensors": b"x" * 3_000_000}
"""A model's files, by name."""

_INFO = re.compile(r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?")
_TREE = re.compile(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)")
_FILE = re.compile(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")
_PREUPLOAD = re.compile(r"/api/models/([^/]+/[^/]+)/preupload/([^/]+)")
_COMMIT = re.compile(r"/api/models/([^/]+/[^/]+)/commit/([^/]+)")
_BRANCH = re.compile(r"/api/models/([^/]+/[^/]+)/branch/([^/]+)")
_LFS = re.compile(r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch")

Files = dict[str, bytes]


@dataclass
class Repository:
    """A model with its history.

    Attributes:
        branches: the commit of each branch and tag.
        commits: the files of each commit.
        gated: whether its files are for accounts that accepted its licence.
        private: whether it is for its owner.
    """

    branches: dict[str, str] = field(default_factory=dict)
    commits: dict[str, Files] = field(default_factory=dict)
    gated: bool = False
    private: bool = False


@dataclass
class HubDouble:
    """What it holds and what it was asked.

    Attributes:
        repositories: by their names.
        asked: method and path of each request in turn.
        tokens: those that came with requests.
        ranges: the Range header of each request that had one.
        cut_at: name of a file -> the bytes after which the connection ends, once.
        gone: names of files that are listed, but not there.
        status: answered to everything; None: as it should be.
    """

    url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    ranges: list[str] = field(default_factory=list)
    cut_at: dict[str, int] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    status: int | None = None
    objects: dict[str, bytes] = field(default_factory=dict)

    def push(self, name: str, files: Files | Path, branch: str = "main", **settings: Any) -> str:
        """Make a commit of a branch with just these files; returns the commit."""
        content = _content(files) if isinstance(files, Path) else files
        repository = self.repositories.setdefault(name, Repository())
        for key, value in settings.items():
            setattr(repository, key, value)
        known = json.dumps(
            [len(repository.commits), {path: hashlib.sha256(b).hexdigest() for path, b in content.items()}]
        )
        commit = hashlib.sha1(known.encode(), usedforsecurity=False).hexdigest()
        repository.commits[commit] = dict(content)
        repository.branches[branch] = commit
        return commit

    def files_asked(self) -> list[str]:
        """Names of the files whose content was asked for, in turn."""
        found = [_FILE.fullmatch(path) for method, path in self.asked if method == "GET"]
        return [unquote(match[3]) for match in found if match]


@dataclass(frozen=True)
class _Answer:
    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    cut_at: int | None = None


def _content(folder: Path) -> Files:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _json(value: Any, status: int = 200) -> _Answer:
    return _Answer(status, json.dumps(value).encode(), {"content-type": "application/json"})


def _error(status: int, code: str) -> _Answer:
    return _Answer(status, b"{}", {"X-Error-Code": code, "X-Error-Message": code, "content-type": "application/json"})


def _revision(hub: HubDouble, name: str, revision: str, token: str) -> tuple[Repository, str] | _Answer:
    repository = hub.repositories.get(name)
    if repository is None or (repository.private and token != TOKEN):
        return _error(404 if token else 401, "RepoNotFound")
    commit = repository.branches.get(revision, revision)
    return (repository, commit) if commit in repository.commits else _error(404, "RevisionNotFound")


def _get(hub: HubDouble, path: str, token: str, wanted: str | None) -> _Answer:
    kinds = {"info": _INFO, "tree": _TREE, "file": _FILE}
    kind, match = next(((kind, found) for kind, form in kinds.items() if (found := form.fullmatch(path))), ("", None))
    if match is None:
        return _error(404, "")
    found = _revision(hub, match[1], unquote(match[2] or "main"), token)
    if isinstance(found, _Answer):
        return found
    repository, commit = found
    files = repository.commits[commit]
    if kind == "info":
        siblings = [{"rfilename": name} for name in files]
        return _json({"id": match[1], "sha": commit, "siblings": siblings, "private": repository.private, "tags": []})
    if kind == "tree":
        return _json([_entry(name, content) for name, content in sorted(files.items())])
    return _file(hub, repository, commit, unquote(match[3]), token, wanted)


def _entry(name: str, content: bytes) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "path": name, "size": len(content), "oid": _oid(content)}
    if name.endswith((".safetensors", ".bin")):
        sha256 = hashlib.sha256(content).hexdigest()
        entry["lfs"] = {"oid": sha256, "size": len(content), "pointerSize": 134}
    return entry


def _oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _file(hub: HubDouble, repository: Repository, commit: str, name: str, token: str, wanted: str | None) -> _Answer:
    if repository.gated and token != TOKEN:
        return _error(403 if token else 401, "GatedRepo")
    content = repository.commits[commit].get(name)
    if content is None or name in hub.gone:
        return _Answer(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
    headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
    if wanted is not None:
        start = int(wanted.removeprefix("bytes=").partition("-")[0])
        headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        return _Answer(206, content[start:], headers)
    return _Answer(200, content, headers, hub.cut_at.get(name))


def _post(hub: HubDouble, path: str, token: str, body: bytes) -> _Answer:
    if token != TOKEN:
        return _error(403 if token else 401, "")
    if path == "/api/validate-yaml":  # of a card
        return _json({"errors": [], "warnings": []})
    if path == "/api/repos/create":
        return _create(hub, json.loads(body))
    for form, answer in _UPLOADS.items():
        match = form.fullmatch(path)
        if match is not None:
            return answer(hub, *map(unquote, match.groups()), body)
    return _error(404, "")


def _create(hub: HubDouble, asked: Mapping[str, Any]) -> _Answer:
    name = f"{asked['organization']}/{asked['name']}"
    if name in hub.repositories:
        return _json({"url": f"{hub.url}/{name}"}, 409)
    hub.push(name, {".gitattributes": b""}, private=asked.get("visibility") == "private")
    return _json({"url": f"{hub.url}/{name}"})


def _preupload(_: HubDouble, _name: str, _branch: str, body: bytes) -> _Answer:
    files = json.loads(body)["files"]
    modes = [{"path": one["path"], "shouldIgnore": False, "uploadMode": _mode(one["path"])} for one in files]
    return _json({"files": modes})


def _lfs(hub: HubDouble, _: str, body: bytes) -> _Answer:
    objects = json.loads(body)["objects"]
    actions = [{**one, "actions": {"upload": {"href": f"{hub.url}/upload/{one['oid']}"}}} for one in objects]
    return _json({"transfer": "basic", "objects": actions})


def _branch(hub: HubDouble, name: str, branch: str, _: bytes) -> _Answer:
    branches = hub.repositories[name].branches
    if branch in branches:
        return _json({}, 409)
    branches[branch] = branches["main"]
    return _json({})


def _mode(path: str) -> str:
    return "lfs" if path.endswith(".safetensors") else "regular"


def _commit(hub: HubDouble, name: str, branch: str, body: bytes) -> _Answer:
    repository = hub.repositories[name]
    if branch not in repository.branches:
        return _error(404, "RevisionNotFound")
    files = dict(repository.commits[repository.branches[branch]])
    for line in body.splitlines():
        operation = json.loads(line)
        value = operation["value"]
        if operation["key"] == "file":
            files[value["path"]] = base64.b64decode(value["content"])
        elif operation["key"] == "lfsFile":
            files[value["path"]] = hub.objects[value["oid"]]
        elif operation["key"] == "deletedFile":
            del files[value["path"]]
    commit = hub.push(name, files, branch)
    url = f"{hub.url}/{name}/commit/{commit}"
    return _json({"success": True, "commitOid": commit, "commitUrl": url, "hookOutput": ""})


_UPLOADS = {_PREUPLOAD: _preupload, _LFS: _lfs, _BRANCH: _branch, _COMMIT: _commit}


def _answer(hub: HubDouble, method: str, path: str, token: str, wanted: str | None, body: bytes) -> _Answer:
    if hub.status is not None:
        return _Answer(hub.status)
    if method == "PUT":
        hub.objects[path.rpartition("/")[2]] = body
        return _Answer(200)
    return _post(hub, path, token, body) if method == "POST" else _get(hub, path, token, wanted)


@contextmanager
def serve_hub() -> Iterator[HubDouble]:
    """A hub on a free port of 127.0.0.1."""
    hub = HubDouble()

    class Answering(Handler):
        def answer(self) -> None:
            body = self.body()
            path = urlsplit(self.path).path
            token = self.headers.get("authorization", "").removeprefix("Bearer ")
            hub.asked.append((self.command, path))
            hub.tokens |= {token} - {""}
            wanted = self.headers.get("range")
            hub.ranges += [] if wanted is None else [wanted]
            given = _answer(hub, self.command, path, token, wanted, body)
            if self.command != "HEAD" and given.cut_at is not None:
                hub.cut_at.clear()
            self.send(given.status, given.body, given.headers, given.cut_at)

    with served(Answering) as server:
        hub.url = f"http://127.0.0.1:{server.server_port}"
        yield hub
