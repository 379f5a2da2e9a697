"""Arrow files on disk: rows too many for memory, and tokens that need not be made again.

A file is complete or absent: it is written under another name and moved into place, so that
processes which write the same one at the same time only repeat work.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def default_cache_dir() -> Path:
    """$REGISTRY_CACHE, else finetune-registry below the user's cache directory."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("REGISTRY_CACHE") or Path(base) / "finetune-registry")


def digest(*values: Any) -> str:
    """A short name for JSON-able values (anything else by its repr)."""
    text = json.dumps(values, sort_keys=True, default=repr, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


@contextlib.contextmanager
def written(path: Path) -> Iterator[Path]:
    """A name to write to; it becomes `path` when the block ends, and vanishes when it fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        yield part
        os.replace(part, path)
    except OSError as error:
        raise ValueError(f"{path}: cannot be written ({error.strerror or error}); is the disk full?") from None
    finally:
        part.unlink(missing_ok=True)
