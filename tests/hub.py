"""A local stand-in of the Hugging Face Hub: folders served to the real clients through HF_ENDPOINT.

    with Hub() as hub:
        hub.add("models", "FacebookAI/roberta-base", folder)
        hub.add("datasets", "nyu-mll/glue", folder)
        hub.add("datasets", "CogComp/trec", folder, revision="refs/convert/parquet")
        subprocess.run([...], env={**os.environ, **hub.environment(cache)})

It answers what huggingface_hub and datasets.load_dataset ask for: a repository's information, its
tree, single paths, and files by revision or commit with the headers that the client caches by.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

API = re.compile(
    r"/api/(?P<kind>models|datasets)/(?P<repo>.+?)(?:/(?P<verb>revision|tree|paths-info|refs)(?:/(?P<rest>.+))?)?$"
)
FILE = re.compile(r"/(?:(?P<kind>datasets)/)?(?P<repo>.+?)/resolve/(?P<rest>.+)$")


class Repository:
    """One folder at one revision; its commit is a digest of its content."""

    def __init__(self, kind: str, name: str, revision: str, folder: Path) -> None:
        self.kind, self.name, self.revision, self.folder = kind, name, revision, folder
        digest = hashlib.sha1(revision.encode())
        for path in self.paths():
            digest.update(path.encode() + (folder / path).read_bytes())
        self.commit = digest.hexdigest()

    def paths(self) -> list[str]:
        """Every file, by its path in the repository."""
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file())

    def entry(self, path: str) -> dict[str, Any]:
        """A file or directory as the tree lists it."""
        if (self.folder / path).is_dir():
            return {"type": "directory", "oid": "0" * 40, "size": 0, "path": path}
        content = (self.folder / path).read_bytes()
        return {"type": "file", "oid": hashlib.sha1(content).hexdigest(), "size": len(content), "path": path}

    def tree(self, below: str, recursive: bool) -> Iterator[dict[str, Any]]:
        """Entries below a folder."""
        found = (self.folder / below).rglob("*") if recursive else (self.folder / below).glob("*")
        yield from (self.entry(str(path.relative_to(self.folder))) for path in sorted(found))

    def info(self) -> dict[str, Any]:
        """What the client knows a repository by."""
        return {
            "_id": self.commit[:24],
            "id": self.name,
            "modelId": self.name,
            "sha": self.commit,
            "private": False,
            "gated": False,
            "disabled": False,
            "downloads": 0,
            "likes": 0,
            "tags": [],
            "lastModified": "2024-01-01T00:00:00.000Z",
            "createdAt": "2022-01-01T00:00:00.000Z",
            "siblings": [{"rfilename": path} for path in self.paths()],
        }


class Hub:
    """The server; `requests` lists the method and path of everything that was asked."""

    def __init__(self) -> None:
        self.repositories: list[Repository] = []
        self.requests: list[str] = []
        hub = self

        class Bound(Handler):
            """The handler of this hub."""

            served = hub

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Bound)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def add(self, kind: str, name: str, folder: Path, revision: str = "main") -> None:
        """Serve `folder` as the repository `name` ("models" or "datasets") at `revision`."""
        self.repositories.append(Repository(kind, name, revision, folder))

    def environment(self, cache: Path) -> dict[str, str]:
        """Variables that make a process ask this hub and keep its own cache."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(cache),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_OFFLINE": "0",
        }

    def find(self, kind: str, name: str, rest: str) -> tuple[Repository | None, str]:
        """The repository at the revision (branch, ref or commit) that `rest` begins with, and the path after it."""
        for repository in self.repositories:
            if (repository.kind, repository.name) != (kind, name):
                continue
            for revision in (repository.revision, repository.commit):
                if rest == revision or rest.startswith(f"{revision}/"):
                    return repository, rest[len(revision) + 1 :]
        return None, ""

    def __enter__(self) -> Hub:
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Handler(BaseHTTPRequestHandler):
    """Requests of the Hub's clients."""

    served: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        """Answer from the folders, 404 with the client's error codes where there is nothing."""
        parts = urlsplit(self.path)
        path = unquote(parts.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.served.requests.append(f"{self.command} {path}")
        if matched := API.match(path):
            return self.api(matched, parse_qs(parts.query), body)
        if matched := FILE.match(path):
            return self.file(matched["kind"] or "models", matched["repo"], matched["rest"])
        return self.missing("RepoNotFound", path)

    def api(self, matched: re.Match[str], query: dict[str, list[str]], body: bytes) -> None:
        repository, below = self.served.find(matched["kind"], matched["repo"], matched["rest"] or "main")
        if repository is None:
            known = any(r.kind == matched["kind"] and r.name == matched["repo"] for r in self.served.repositories)
            return self.missing("RevisionNotFound" if known else "RepoNotFound", matched["repo"])
        if matched["verb"] == "tree":
            return self.json(list(repository.tree(below, query.get("recursive", [""])[0].lower() in ("true", "1"))))
        if matched["verb"] == "paths-info":
            wanted = self.form(body)
            return self.json([repository.entry(path) for path in wanted if (repository.folder / path).exists()])
        if matched["verb"] == "refs":
            branch = {"name": repository.revision, "ref": "refs/heads/main", "targetCommit": repository.commit}
            return self.json({"branches": [branch], "converts": [], "tags": []})
        return self.json(repository.info())

    def form(self, body: bytes) -> list[str]:
        """The `paths` of a request, as JSON or as a form."""
        kind = self.headers.get("Content-Type") or ""
        if "json" in kind:
            return list(json.loads(body)["paths"])
        if "multipart" in kind:
            message = BytesParser().parsebytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body)
            named = [(part.get_param("name", header="content-disposition"), part) for part in message.get_payload()]  # type: ignore[union-attr]
            return [str(part.get_payload()).strip() for name, part in named if name == "paths"]  # type: ignore[union-attr]
        return parse_qs(body.decode()).get("paths", [])

    def file(self, kind: str, repo: str, rest: str) -> None:
        repository, path = self.served.find(kind, repo, rest)
        if repository is None:
            return self.missing("RepoNotFound", repo)
        if not (repository.folder / path).is_file():
            return self.missing("EntryNotFound", path)
        content = (repository.folder / path).read_bytes()
        headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": repository.commit}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if asked is None:
            return self.reply(200, content, {**headers, "Accept-Ranges": "bytes"})
        first, last = int(asked[1]), min(int(asked[2] or len(content) - 1), len(content) - 1)
        headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
        return self.reply(206, content[first : last + 1], headers)

    def json(self, value: Any) -> None:
        self.reply(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def missing(self, code: str, what: str) -> None:
        self.reply(404, json.dumps({"error": f"{what} not found"}).encode(), {"X-Error-Code": code})

    def reply(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are kept in `Hub.requests`, not printed."""
