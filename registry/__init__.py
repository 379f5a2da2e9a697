"""Fine-tune text encoders: a registry of tasks and models around one Accelerate training script.

The public names are resolved on first use, so that ``import registry`` imports no torch.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "tasks": "registry.tasks",
    "models": "registry.models",
    "Head": "registry.heads:Head",
    "Task": "registry.tasks.base:Task",
    "ModelSpec": "registry.models.base:ModelSpec",
    "load_run": "registry.runs:load_run",
}

__all__ = [*_PUBLIC, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'registry' has no attribute {name!r}")
    module, _, attribute = _PUBLIC[name].partition(":")
    found = importlib.import_module(module)
    return getattr(found, attribute) if attribute else found
