"""What installed packages declare in the entry-point groups of tasks and models, read from metadata alone.

A package registers by declaring, in its pyproject.toml::

    [project.entry-points."registry.tasks"]
    mood = "my_package.tasks:mood"

Nothing here imports a plugin. The environment variable REGISTRY_PLUGINS, a comma-separated list of
distributions, allows only these; set but empty, it switches all plugins off.
"""

from __future__ import annotations

import functools
import logging
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata

ALLOWED = "REGISTRY_PLUGINS"

logger = logging.getLogger(__name__)


class PluginError(ValueError):
    """A registered name whose object cannot be loaded or does not keep the contract."""


@dataclass(frozen=True)
class Origin:
    """Where a registered object comes from: recorded in every run.

    Args:
        distribution: the installed package; empty for what a file or a notebook registered.
        version: its version.
        target: "package.module:attribute", or the path of a plugin file.
        sha256: of the plugin file.
    """

    distribution: str
    version: str
    target: str
    sha256: str = ""

    def __str__(self) -> str:
        if self.distribution:
            return f"{self.distribution} {self.version} ({self.target})"
        return f"file {self.target}" if self.sha256 else self.target


def reason(error: BaseException) -> str:
    """An exception of a plugin's own code, in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def installed(group: str, everything: bool = False) -> list[tuple[str, Origin]]:
    """(name, origin) of every allowed plugin in an entry-point group; `everything` ignores the allow-list."""
    allowed = os.environ.get(ALLOWED)
    names = None if everything or allowed is None else {normalised(name) for name in allowed.split(",")}
    return [
        (name, origin)
        for found, name, origin in _scan(tuple(sys.path))
        if found == group and (names is None or normalised(origin.distribution) in names)
    ]


def switch_off() -> None:
    """Ignore all plugins from now on, in this process and those that it starts."""
    os.environ[ALLOWED] = ""


def normalised(distribution: str) -> str:
    """A distribution's name as package indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", distribution.strip()).lower()


@functools.lru_cache(maxsize=4)
def _scan(path: tuple[str, ...]) -> tuple[tuple[str, str, Origin], ...]:
    """(group, name, origin) of every plugin on `path`; of a package that is there twice, the first counts."""
    seen: dict[str, list[tuple[str, str, Origin]]] = {}
    for distribution in metadata.distributions(path=list(path)):
        try:
            declared = list(_declared(distribution))
        except Exception as error:  # damaged metadata of one package must not hide the others
            logger.warning("entry points of %s cannot be read: %s", getattr(distribution, "_path", "?"), error)
            continue
        if declared:
            seen.setdefault(normalised(declared[0][2].distribution), declared)
    return tuple(entry for distribution in sorted(seen) for entry in seen[distribution])


def _declared(distribution: metadata.Distribution) -> Iterator[tuple[str, str, Origin]]:
    # Most packages declare nothing for us: the text is looked at before anything is parsed.
    if "registry." not in (distribution.read_text("entry_points.txt") or ""):
        return
    for point in distribution.entry_points:
        if point.group in ("registry.tasks", "registry.models"):
            yield point.group, point.name, Origin(distribution.metadata["Name"], distribution.version, point.value)
