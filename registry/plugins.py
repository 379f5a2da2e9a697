"""Names to objects: how tasks and models are registered, found and loaded.

A name maps to a placeholder, ``"package.module:attribute"``, that is imported only when the name is
asked for. Listing names, ``--help`` and suggestions for unknown names therefore import nothing, and
a plugin that fails to import disturbs only itself. This module imports no torch.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from registry.plugin_options import describe_options, not_an_option, option, options_of, other_options, with_options

__all__ = [
    "CONTRACT_VERSION",
    "Origin",
    "PluginError",
    "Registry",
    "UnknownName",
    "describe_options",
    "not_an_option",
    "option",
    "options_of",
    "other_options",
    "resolve",
    "with_options",
]

T = TypeVar("T")

CONTRACT_VERSION = 1


class UnknownName(ValueError):
    """A name that nothing is registered under; the message lists the closest ones."""


class PluginError(ValueError):
    """A registered name whose object cannot be loaded or does not keep the contract."""


@dataclass(frozen=True)
class Origin:
    """Where a registered object comes from: recorded in every run."""

    distribution: str
    version: str
    target: str


class Registry(Generic[T]):
    """A table of names for one kind of object ("task" or "model").

    Args:
        kind: what an entry is called in messages.
        group: the entry-point group that other packages declare.
        builtins: name -> "module:attribute".
        contract: the class that every entry must be an instance of, as "module:attribute".
    """

    def __init__(self, kind: str, group: str, builtins: Mapping[str, str], contract: str) -> None:
        self.kind, self.group, self.contract = kind, group, contract
        self._builtins = dict(builtins)
        self._local: dict[str, T] = {}

    def names(self) -> list[str]:
        """Every registered name, sorted; imports nothing."""
        return sorted({*self._builtins, *self._local})

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __contains__(self, name: object) -> bool:
        return name in self._local or name in self._builtins

    def register(self, name: str) -> Callable[[Any], Any]:
        """Decorator for notebooks and tests: registers a class (instantiated) or an instance."""

        def add(item: Any) -> Any:
            self._local[name] = item() if isinstance(item, type) else item
            return item

        return add

    def get(self, name: str) -> T:
        """The object registered as `name`.

        Raises:
            UnknownName: nothing has that name; the message lists the closest names.
            PluginError: its placeholder cannot be imported or is not what the contract asks for.
        """
        if name in self._local:
            return self._local[name]
        if name not in self._builtins:
            raise UnknownName(self._unknown(name))
        target = self._builtins[name]
        found = resolve(target)
        if not isinstance(found, resolve(self.contract)):
            raise PluginError(f"{self.kind} {name!r} ({target}) is not a {self.contract}")
        return found  # type: ignore[no-any-return]

    def _unknown(self, name: str) -> str:
        close = difflib.get_close_matches(name, self.names(), n=3, cutoff=0.5)
        hint = f"did you mean {', '.join(close)}?" if close else f"registered: {', '.join(self.names())}"
        return f"unknown {self.kind} {name!r}; {hint}"


def resolve(target: str) -> Any:
    """Import "package.module:attribute" and return the attribute."""
    module, _, attribute = target.partition(":")
    found: Any = importlib.import_module(module)
    for part in attribute.split("."):
        found = getattr(found, part)
    return found
