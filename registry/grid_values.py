"""What a grid's axes hold, checked as it is read: entries with their options, fractions, seeds. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from registry.options import fields
from registry.resolving import check, suggestion

ENTRY_KEYS = {"task": ("name",), "model": ("name", "after", "published"), "variant": ("name", "after", "published")}
"""What an entry of an axis may say beside options of train.py."""

PUBLISHED = "a number, or numbers by fraction; by task where the grid has several"


@dataclass(frozen=True)
class Entry:
    """One value of an axis: its name, the options it sets, and what it brings along.

    Args:
        after: options of the run that its runs start from.
        published: what others report, by task and fraction; a fraction of None stands for all of them.
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)
    published: Mapping[str, Mapping[float | None, float]] = field(default_factory=dict)

    def value(self, task: str, fraction: float | None) -> float | None:
        """What others report for the task and this share of its training rows."""
        by_fraction = self.published.get(task, {})
        return by_fraction.get(1.0 if fraction is None else fraction, by_fraction.get(None))


def checked_entries(given: Any, axis: str, where: str, tasks: Sequence[str] = ()) -> tuple[Entry, ...]:
    """The entries of an axis: "task", "model" or "variant".

    Args:
        tasks: of the grid, which `published` may name.

    Raises:
        ValueError: an entry has no name or that of another one, or says what it cannot.
    """
    entries = tuple(_entry(item, axis, where, tasks) for item in listed(given))
    names = [entry.name for entry in entries]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{where}: two {axis}s are named {name!r}; give each a name of its own")
    return entries


def checked_options(given: Any, where: str) -> dict[str, Any]:
    """Options of train.py; ValueError where one is unknown or its value wrong."""
    if not isinstance(given, Mapping):
        raise ValueError(f"{where}: expected options as `name: value`, found {given!r}")
    known = _known()
    values = {str(name).replace("-", "_"): value for name, value in given.items()}
    for name, value in values.items():
        if name not in known:
            raise ValueError(f"{where}: unknown option {name!r}{suggestion(name, known)}")
        found = _checked(name, value, where)
        values[name] = found if isinstance(found, dict) and not isinstance(value, Mapping) else value  # as KEY=VALUE
    return values


def checked_numbers(given: Any, option: str, where: str) -> tuple[Any, ...]:
    """Values of an option of train.py that is a number, each once."""
    return tuple(dict.fromkeys(_checked(option, value, where) for value in listed(given)))


def listed(given: Any) -> list[Any]:
    """A list of what is one, of a single value, or of nothing."""
    if given is None:
        return []
    return list(given) if isinstance(given, (list, tuple)) else [given]


def _entry(item: Any, axis: str, where: str, tasks: Sequence[str]) -> Entry:
    if not isinstance(item, Mapping):
        return Entry(str(item))
    rest = {str(k).replace("-", "_"): v for k, v in item.items()}
    own = {key: rest.pop(key) for key in ENTRY_KEYS[axis] if key in rest}
    name = own.get("name", rest.get(axis))
    if name is None:
        raise ValueError(f"{where}: an entry of {axis}s has no name: {dict(item)}")
    place = f"{where}: {axis} {str(name)!r}"
    for key in ("after", "published"):
        if key in rest:
            raise ValueError(f"{place}: {key} belongs to a model or a variant, not to a {axis}")
    after = checked_options(own.get("after") or {}, f"{place}, after")
    if own.get("after") and "task" not in after:
        raise ValueError(f"{place}: after needs a task")
    published = _published(own.get("published"), tasks, f"{place}, published")
    return Entry(str(name), checked_options(rest, place), after, published)


def _published(given: Any, tasks: Sequence[str], where: str) -> dict[str, dict[float | None, float]]:
    if given is None:
        return {}
    if not (isinstance(given, Mapping) and any(key in tasks for key in given)):
        if len(tasks) > 1:
            raise ValueError(f"{where}: expected numbers by task ({', '.join(tasks)}), found {given!r}")
        given = {tasks[0]: given}
    found: dict[str, dict[float | None, float]] = {}
    for task, value in given.items():
        if task not in tasks:
            raise ValueError(f"{where}: the grid has no task {task!r}; it has {', '.join(tasks)}")
        by_fraction = value if isinstance(value, Mapping) else {None: value}
        try:
            found[task] = {None if k is None else float(k): float(v) for k, v in by_fraction.items()}
        except (TypeError, ValueError):
            raise ValueError(f"{where}: expected {PUBLISHED}; found {value!r}") from None
    return found


def _checked(option: str, value: Any, where: str) -> Any:
    try:
        return check(_known()[option], value, "option")
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _known() -> dict[str, Any]:
    return {name: item for _, name, item in fields()}
