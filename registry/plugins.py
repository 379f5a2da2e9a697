"""Names to objects: how tasks and models are registered, found and loaded.

A name maps to a placeholder, ``"package.module:attribute"``, that is imported only when the name is
asked for. Listing names, ``--help`` and suggestions for unknown names therefore import nothing, and
a plugin that fails to import disturbs only itself. This module imports no torch.

A name is looked up among what this process registered (a decorator, a plugin file), the built-ins,
then the installed plugins. Two plugins of one name are an error only when that name is used;
``distribution:name`` always means that distribution's.
"""

from __future__ import annotations

import functools
import importlib
import logging
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from registry import __version__
from registry.entry_points import Origin, PluginError, installed, normalised, reason
from registry.options import option
from registry.plugin_files import PluginFile, executing, load_plugin_file
from registry.plugin_options import describe_options, not_an_option, options_of, other_options, with_options
from registry.spelling import close_names

__all__ = [
    "CONTRACT_VERSION",
    "Entry",
    "Origin",
    "PluginError",
    "PluginFile",
    "Registry",
    "UnknownName",
    "describe_options",
    "load_plugin_file",
    "not_an_option",
    "option",
    "options_of",
    "other_options",
    "resolve",
    "with_options",
]

T = TypeVar("T")

CONTRACT_VERSION = 1

OWN = "finetune-registry"
"""The distribution that the built-ins belong to."""

MOST_LISTED = 60
"""Names in one error message."""

logger = logging.getLogger(__name__)


class UnknownName(ValueError):
    """A name that nothing is registered under; the message lists the closest ones."""


@dataclass(frozen=True)
class Entry:
    """One line of the table of names: what `get(name)` gives, and where it comes from.

    Args:
        note: why the plain name does not mean this entry; then `name` is `distribution:name`.
    """

    name: str
    origin: Origin
    note: str = ""


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
        self._builtins = {name: Origin(OWN, __version__, target) for name, target in builtins.items()}
        self._local: dict[str, tuple[Origin, T]] = {}

    def names(self) -> list[str]:
        """Every registered name, sorted; imports nothing."""
        return sorted({*self._builtins, *self._local, *(name for name, _ in installed(self.group))})

    def __contains__(self, name: object) -> bool:
        return name in self._local or name in self._builtins or bool(self._plugins(str(name)))

    def entries(self) -> list[Entry]:
        """Every entry by name, with those that only `distribution:name` reaches; imports nothing."""
        own = {**self._builtins, **{name: origin for name, (origin, _) in self._local.items()}}
        table = [Entry(name, origin) for name, origin in own.items()]
        plugins = installed(self.group)
        shared = [name for name, _ in plugins]
        for name, origin in plugins:
            note = f"{own[name].distribution or own[name]} has this name" if name in own else ""
            if not note and shared.count(name) > 1:
                note = "several plugins have this name"
            table.append(Entry(f"{origin.distribution}:{name}" if note else name, origin, note))
        return sorted(table, key=lambda entry: entry.name)

    def register(self, name: str) -> Callable[[Any], Any]:
        """Decorator (or call) for notebooks, tests and plugin files: registers an instance, or a class's.

        Raises:
            PluginError: the name is taken, or the object does not keep the contract.
        """

        def add(item: Any) -> Any:
            file = executing()
            origin = file.origin if file else Origin("", "", sys._getframe(1).f_globals["__name__"])
            held = self._local.get(name)
            if name in self._builtins:
                raise PluginError(f"{self.kind} {name!r} is built in; register under another name")
            same_file = held and origin.sha256 and held[0].sha256 == origin.sha256  # two runs' copies of one
            if held and held[0].target != origin.target and not same_file:
                raise PluginError(f"{self.kind} {name!r} is already registered by {held[0]}")
            self._local[name] = (origin, self._validated(item, name, origin))
            if file:
                file.names.append(name)
            return item

        return add

    def get(self, name: str) -> T:
        """The object registered as `name`.

        Raises:
            UnknownName: nothing has that name; the message lists the closest names.
            PluginError: two plugins have it, or it cannot be imported or is not what the contract asks for.
        """
        if name in self._local:
            return self._local[name][1]
        origin = self.origin(name)
        if name in self._builtins:
            return self._validated(resolve(origin.target), name, origin)
        try:
            found = resolve(origin.target)
        except (Exception, SystemExit) as error:
            raise PluginError(f"{self.kind} {name!r}: plugin {origin} failed: {reason(error)}") from error
        return self._validated(found, name, origin)

    def get_recorded(self, name: str, origin: Mapping[str, Any]) -> T:
        """The object that a run was made with; `origin` is what the run recorded of it.

        Raises:
            UnknownName: its plugin is not there; says which package or file to bring.
            PluginError: the name now means another package's object.
        """
        if not origin:
            return self.get(name)
        made_by = Origin(**origin)
        if made_by.sha256 and (name not in self._local or self._local[name][0].sha256 != made_by.sha256):
            if name not in self._local:
                raise UnknownName(
                    f"{self.kind} {name!r} comes from a plugin file: pass --plugin-file {made_by.target} "
                    "(the run keeps a copy, plugin.py)"
                )
            _warn_once(f"{self.kind} {name!r}: the plugin file has changed since the run")
        if name not in self:
            raise UnknownName(f"{self.kind} {name!r} comes from {made_by}, which is not there: install it")
        found = self.origin(name)
        if made_by.distribution and normalised(found.distribution) != normalised(made_by.distribution):
            qualified = f"{made_by.distribution}:{name}"
            if qualified not in self:
                raise PluginError(f"{self.kind} {name!r} came from {made_by}; here it is {found}")
            name = qualified
        return self.get(name)

    def origin(self, name: str) -> Origin:
        """Where `name` comes from, without importing it; raises as `get` does."""
        if name in self._local:
            return self._local[name][0]
        plugins = self._plugins(name)
        if name in self._builtins:
            for ignored in plugins:
                _warn_once(f"{self.kind} {name!r} is the built-in one; {ignored.distribution}:{name} is the plugin's")
            return self._builtins[name]
        if not plugins:
            raise UnknownName(self._unknown(name))
        if len(plugins) > 1:
            choices = " or ".join(f"{found.distribution}:{name}" for found in plugins)
            raise PluginError(f"{self.kind} {name!r} is registered by {' and '.join(map(str, plugins))}; say {choices}")
        return plugins[0]

    def _plugins(self, name: str, everything: bool = False) -> list[Origin]:
        """Origins of the installed plugins that `name` or `distribution:name` may mean."""
        distribution, _, plain = name.rpartition(":")
        return [
            origin
            for found, origin in installed(self.group, everything)
            if found == name or (found == plain and normalised(distribution) == normalised(origin.distribution))
        ]

    def _validated(self, item: Any, name: str, origin: Origin) -> T:
        contract = resolve(self.contract)
        if isinstance(item, type) and issubclass(item, contract):
            try:
                item = item()
            except TypeError as error:
                raise PluginError(f"{self.kind} {name!r} ({origin}) cannot be made: {error}") from None
        version = getattr(item, "contract", CONTRACT_VERSION)
        if version != CONTRACT_VERSION:
            raise PluginError(
                f"{self.kind} {name!r} ({origin}) keeps contract version {version}; this is {CONTRACT_VERSION}: "
                f"install a release of it made for {OWN} {__version__}"
            )
        if not isinstance(item, contract):
            raise PluginError(f"{self.kind} {name!r} ({origin}) is a {type(item).__name__}, not a {contract.__name__}")
        return item  # type: ignore[no-any-return]

    def _unknown(self, name: str) -> str:
        ignored = self._plugins(name, everything=True)
        if ignored:
            return f"{self.kind} {name!r} belongs to {ignored[0]}, which REGISTRY_PLUGINS or --no-plugins leaves out"
        names = self.names()
        close = close_names(name, names)
        listed = ", ".join(names) if len(names) <= MOST_LISTED else "see scripts/plugins.py list"
        hint = f"did you mean {', '.join(close)}?" if close else f"registered: {listed}"
        return f"unknown {self.kind} {name!r}; {hint}"


@functools.lru_cache
def _warn_once(message: str) -> None:
    logger.warning(message)


def resolve(target: str) -> Any:
    """Import "package.module:attribute" and return the attribute."""
    module, _, attribute = target.partition(":")
    found: Any = importlib.import_module(module)
    for part in filter(None, attribute.split(".")):
        found = getattr(found, part)
    return found
