"""What is registered, as plain values: the content of `plugins.py list` and `plugins.py show`."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from registry import models, tasks
from registry.plugins import OWN, Entry, PluginError, Registry, UnknownName, describe_options
from registry.spelling import close_names
from registry.tasks.base import Task

KINDS: dict[str, Registry[Any]] = {"task": tasks.REGISTRY, "model": models.REGISTRY}


def listing(patterns: Sequence[str] = (), *, load: bool = False) -> list[dict[str, Any]]:
    """One row for every registered name that fits one of the patterns ("bert*"; none given: all).

    Built-ins are described; what a plugin is (its family or heads) is known once it is imported: with `load`.
    """
    return [
        {
            "kind": kind,
            "name": entry.name,
            **_summary(registry, entry, load),
            **asdict(entry.origin),
            "note": entry.note,
        }
        for kind, registry in KINDS.items()
        for entry in sorted(registry.entries(), key=lambda entry: natural(entry.name))
        if not patterns or any(fnmatch.fnmatchcase(entry.name, pattern) for pattern in patterns)
    ]


def details(name: str) -> list[dict[str, Any]]:
    """Everything about the task, the model, or both, of that name.

    Raises:
        UnknownName: there is neither; the message lists the closest names.
    """
    return [_describe(kind, name, registry) for kind, registry in holding(name).items()]


def holding(name: str) -> dict[str, Registry[Any]]:
    """The tables that have the name, by kind; UnknownName, with the closest names of both, where none has it."""
    found = {kind: registry for kind, registry in KINDS.items() if name in registry}
    if not found:
        known = [known for registry in KINDS.values() for known in registry.names()]
        close = close_names(name, known, most=4)
        hint = f"did you mean {', '.join(close)}?" if close else "scripts/plugins.py list shows all"
        raise UnknownName(f"no task or model {name!r}; {hint}")
    return found


def natural(name: str) -> list[tuple[int, str]]:
    """A sort key by which textcnn2 stands before textcnn10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name.lower())]


def _summary(registry: Registry[Any], entry: Entry, load: bool) -> dict[str, Any]:
    if not load and entry.origin.distribution != OWN:
        return {"description": ""}
    try:
        item = registry.get(entry.name)
    except PluginError as error:
        return {"description": "", "broken": str(error)}
    nature = {"family": item.family} if isinstance(item, Task) else {"heads": list(item.heads)}
    return {**nature, "description": item.description}


def _describe(kind: str, name: str, registry: Registry[Any]) -> dict[str, Any]:
    item = registry.get(name)
    described = {"kind": kind, "name": name, "description": item.description, "origin": str(registry.origin(name))}
    facts = _task_facts(item) if kind == "task" else _model_facts(item)
    return {**described, **facts, "options": [asdict(option) for option in describe_options(item)]}


def _task_facts(task: Any) -> dict[str, Any]:
    places = [f"{task.hub}{f' ({task.subset})' if task.subset else ''} on the Hub"] if task.hub else []
    if task.local:
        files = ", ".join(getattr(file, "path", file) for file in task.local.values())
        places.append(f"--data-dir with {files}")
    return {
        "family": task.family,
        "data": "made by itself" if task.rows is not None else " or ".join([*places, "files of your own"]),
        "labels": list(getattr(task, "labels", ())),
        "metric": f"{task.primary_metric} ({'lowest' if task.minimize else 'highest'} is best)",
    }


def _model_facts(spec: Any) -> dict[str, Any]:
    return {
        "heads": list(spec.heads),
        "weights": f"{spec.checkpoint} (Hub or directory)" if spec.checkpoint else "random",
        "defaults": dict(spec.defaults),
        "padding": "changes nothing" if spec.pads_freely else "changes the logits: batches of equal length",
    }
