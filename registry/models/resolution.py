"""From what a person calls a model to its spec and its weights."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry import models
from registry.models.base import ModelSource
from registry.plugins import UnknownName, with_options

if TYPE_CHECKING:
    from registry.models.base import ModelSpec

UNNAMED = "transformer"
"""The registered spec of whatever has no name of its own."""


def resolve_model(
    name: str, *, revision: str | None = None, from_scratch: bool = False, trust_remote_code: bool = False
) -> tuple[ModelSpec, ModelSource]:
    """Spec and weights of a registered name, a run directory, a local directory, a Hub id or an architecture.

    Raises:
        ValueError: it is none of these (suggests the nearest names).
    """
    source = ModelSource(revision=revision, from_scratch=from_scratch, trust_remote_code=trust_remote_code)
    if name in models.REGISTRY:
        spec = models.get(name)
        known = bool(spec.checkpoint) and from_scratch and _is_architecture(name)
        source = dataclasses.replace(source, path=name if known else spec.checkpoint)  # "gpt2" needs no network
    elif (Path(name) / "run.json").is_file():
        spec = _spec_of_run(Path(name))
        source = dataclasses.replace(source, path=str(Path(name) / "model"))
    elif Path(name).is_dir() or "/" in name or (from_scratch and _is_architecture(name)):
        spec = models.get(UNNAMED)
        source = dataclasses.replace(source, path=name)
    else:
        said, nothing = _unknown(name), "It is no local directory and no Hub id (owner/name) either"
        hint = "As an architecture it needs --from-scratch" if _is_architecture(name) else nothing
        raise UnknownName(f"{said}{'' if said.endswith('?') else '.'} {hint}")
    return spec.for_source(source), source


def registered_name(name: str) -> str:
    """The name that a run records for `name`: of a run directory its own, else `transformer` for unnamed ones."""
    if name in models.REGISTRY:
        return name
    if (Path(name) / "run.json").is_file():
        return str(_recorded(Path(name))["name"])
    return UNNAMED


def _spec_of_run(run: Path) -> ModelSpec:
    recorded = _recorded(run)
    if not (run / "model").is_dir():
        raise ValueError(f"{run}: this run has no model yet (model/ is missing)")
    if (run / "model" / "adapter_config.json").is_file():
        raise ValueError(f"{run}: it holds adapters alone; train it with --merge-adapter to train its model further")
    spec = models.REGISTRY.get_recorded(recorded["name"], recorded["origin"])
    return with_options(spec, recorded["options"]).continue_from(run / "model")


def _recorded(run: Path) -> dict[str, Any]:
    """What the run says of its model: name, options, origin."""
    try:
        model = json.loads((run / "run.json").read_text(encoding="utf-8"))["model"]
        return {key: model[key] for key in ("name", "options", "origin")}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{run / 'run.json'}: not the record of a run ({error})") from None


def _is_architecture(name: str) -> bool:
    from registry.models.configs import is_architecture

    return is_architecture(name)


def _unknown(name: str) -> str:
    try:
        models.get(name)
    except UnknownName as error:
        return str(error)
    raise AssertionError(name)
