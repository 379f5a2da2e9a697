"""Files that need not be made again, and rows too many for memory: names by content, writing all or nothing."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets import Dataset

KEPT_DAYS = 30
"""Cached files that nobody used for so long are removed when others are written."""


def default_cache_dir() -> Path:
    """$REGISTRY_CACHE, else finetune-registry below the user's cache directory."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("REGISTRY_CACHE") or Path(base) / "finetune-registry")


def digest(*values: Any) -> str:
    """A short name for JSON-able values."""
    text = json.dumps(values, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def content_digest(dataset: Dataset) -> str:
    """A digest of the rows and of what their columns are, wherever they were read from and however selected."""
    return digest(str(dataset.features), rows_digest(dataset))


def rows_digest(dataset: Dataset) -> str:
    """A digest of the rows alone, which stays when a newer `datasets` describes their columns in other words."""
    import pyarrow as pa

    names = sorted(dataset.column_names)
    found = hashlib.blake2b(repr(names).encode(), digest_size=16)
    for table in dataset.with_format("arrow").iter(10_000):
        bare = pa.table([table[name] for name in names], names=names)
        # Taken, not sliced: the buffers of a slice still hold what stands around it.
        for batch in bare.take(pa.array(range(len(bare)))).combine_chunks().to_batches():
            found.update(batch.serialize())
    return found.hexdigest()


def code_digest(kind: type) -> str:
    """A digest of the sources of a class and those it inherits from: changed code makes other tokens.

    Of our own modules the files beside them count, of another package all that it has.
    """
    found = hashlib.blake2b(digest_size=16)
    for base in kind.__mro__:
        file = getattr(sys.modules.get(base.__module__), "__file__", None)
        if file is None or base.__module__ in sys.stdlib_module_names:  # built in, or typed into a notebook
            continue
        package = base.__module__.partition(".")[0]
        ours = package == __name__.partition(".")[0]
        sources = [*Path(file).parent.glob("*.py")]
        for folder in () if ours else getattr(sys.modules.get(package), "__path__", ()):
            sources += Path(folder).rglob("*.py")
        for source in sorted({*sources}):
            found.update(source.read_bytes())
    return found.hexdigest()


@contextlib.contextmanager
def written_folder(folder: Path) -> Iterator[Path]:
    """A folder to write to that becomes `folder` when the block ends, and vanishes when it fails.

    Processes that write the same one at the same time only repeat work: the first to end wins.
    """
    part = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        part.mkdir(parents=True)
        yield part
        if not folder.is_dir():
            _move(part, folder)
    except OSError as error:
        reason = error.strerror or error
        raise ValueError(f"{folder.parent}: cannot write there ({reason}); REGISTRY_CACHE moves it") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


def remove(folder: Path) -> None:
    """Remove a folder that is damaged, if it is there: first out of sight, so that nobody finds half of it."""
    aside = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.part")
    with contextlib.suppress(OSError):
        os.replace(folder, aside)
    shutil.rmtree(aside, ignore_errors=True)


def prune(folder: Path) -> None:
    """Remove what nobody used for `KEPT_DAYS`, and what a killed process left half written a day ago."""
    now = time.time()
    for entry in folder.iterdir() if folder.is_dir() else ():
        days = 1 if entry.name.endswith(".part") else KEPT_DAYS
        with contextlib.suppress(OSError):  # another process may be removing it too
            used = (entry / "meta.json") if (entry / "meta.json").exists() else entry
            if now - used.stat().st_mtime > days * 86_400:
                shutil.rmtree(entry, ignore_errors=True)


def _move(part: Path, folder: Path) -> None:
    try:
        os.replace(part, folder)
    except OSError:
        if not folder.is_dir():  # else another process was faster
            raise
