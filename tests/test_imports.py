"""Imports go one way: what lies below knows nothing of what stands on it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REGISTRY = Path(__file__).parents[1] / "registry"
LAYERS = {
    "data": ("tasks", "models", "training", "reports", "serving", "benchmarking", "testing"),
    "tasks": ("models", "training", "reports", "serving", "benchmarking", "testing"),
    "models": ("tasks", "training", "reports", "serving", "benchmarking", "testing"),
    "training": ("reports", "serving", "benchmarking", "testing"),
    "reports": ("training", "serving", "benchmarking", "testing"),
    "serving": ("training", "benchmarking", "testing"),
}
"""Folder -> those that nothing in it may import; what is read for its types alone does not count."""


@pytest.mark.parametrize("folder", LAYERS)
def test_nothing_imports_what_stands_on_it(folder: str) -> None:
    wrong = [
        f"{file.relative_to(REGISTRY)}: {name}"
        for file in sorted((REGISTRY / folder).rglob("*.py"))
        for name in imported(ast.parse(file.read_text(encoding="utf-8")))
        if name.split(".")[:2] in [["registry", other] for other in LAYERS[folder]]
    ]
    assert not wrong


def test_only_programs_read_scripts() -> None:
    for file in REGISTRY.rglob("*.py"):
        assert not any(name.split(".")[0] == "scripts" for name in imported(ast.parse(file.read_text("utf-8"))))


def imported(tree: ast.AST) -> Iterator[str]:
    """Modules that are imported while the code runs."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        yield from imported(node)
