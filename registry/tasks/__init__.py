"""What is learned: the Task contract, the four families and the named tasks. Importing this imports no torch."""

from __future__ import annotations

from registry.plugins import Registry

REGISTRY: Registry = Registry(  # type: ignore[type-arg]
    kind="task",
    group="registry.tasks",
    builtins={
        "sst2": "registry.tasks.glue:sst2",
        "demo": "registry.tasks.demo:demo",
    },
    contract="registry.tasks.base:Task",
)

register, get, names = REGISTRY.register, REGISTRY.get, REGISTRY.names
origin, entries, get_recorded = REGISTRY.origin, REGISTRY.entries, REGISTRY.get_recorded
