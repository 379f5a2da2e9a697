"""`plugins.py new`: a small, complete package that registers a task or a model, with a test."""

from __future__ import annotations

import keyword
import re
from pathlib import Path
from string import Template

from registry import __version__
from registry.plugins import CONTRACT_VERSION

TEMPLATES = Path(__file__).parent / "templates"


def write_package(kind: str, name: str, directory: Path) -> Path:
    """Write the package `<name>-<kind>` below `directory` and return its folder.

    Args:
        kind: "task" or "model".
        name: what --task or --model will call it.

    Raises:
        ValueError: the name cannot be registered, or the folder is there already.
    """
    from registry.catalogue import KINDS

    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9]*([-_.][A-Za-z0-9]+)*", name):
        raise ValueError(f"{name!r} cannot be a package's name: use letters, digits and dashes, a letter first")
    if name in KINDS[kind]:
        raise ValueError(f"{kind} {name!r} is registered already, by {KINDS[kind].origin(name)}; choose another name")
    folder = directory / f"{name}-{kind}"
    if folder.exists():
        raise ValueError(f"{folder} is there already")
    identifier = re.sub(r"[-.]", "_", name).lower()
    if keyword.iskeyword(identifier):
        identifier += "_"
    values = {
        "kind": kind,
        "name": name,
        "distribution": f"{name}-{kind}",
        "identifier": identifier,
        "module": f"{identifier}_{kind}",
        "class_name": "".join(part.capitalize() for part in identifier.split("_")),
        "version": __version__,
        "contract": CONTRACT_VERSION,
    }
    for source in sorted([*TEMPLATES.glob("package/*"), *TEMPLATES.glob(f"{kind}/*")]):
        target = folder / source.name.removesuffix(".txt").replace("MODULE", str(values["module"]))
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(Template(source.read_text(encoding="utf-8")).substitute(values), encoding="utf-8")
    return folder
