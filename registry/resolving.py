"""The values of a training's options: checked, and each with where it came from.

A value comes from the command line, else the config file, else what the model recommends, else what the task does, else
the field's default in `registry.options`; `resolve` says which. This module imports no torch.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from registry.options import Options, fields, groups
from registry.spelling import close_names


@dataclass(frozen=True)
class Resolved:
    """Options with, by name, where each value came from ("option", "config", "model", "task", "default")."""

    options: Options
    origins: Mapping[str, str]


def field_type(item: dataclasses.Field[Any]) -> type:
    """int, float, str, bool, dict or list: the annotation without its `| None`."""
    annotation = _hints()[item.name]
    members = [a for a in typing.get_args(annotation) if a is not type(None)]
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        annotation = members[0]
    return typing.cast(type, typing.get_origin(annotation) or annotation)


def resolve(
    command: Mapping[str, Any], config: Mapping[str, Any], recommended: Mapping[str, Mapping[str, Any]]
) -> Resolved:
    """Options from what was typed, the config file and what is recommended, in that order.

    Args:
        recommended: values by who recommends them ("model", "task"), the first of whom has the last word.

    Raises:
        ValueError: an unknown name (with a suggestion), or a value of the wrong type or out of range.
    """
    known = {name for _, name, _ in fields()}
    defaults = {f"{origin} default": values for origin, values in recommended.items()}
    for source, values in {"config key": config, **defaults}.items():
        for name in values:
            if name not in known:
                raise ValueError(f"unknown {source} {name!r}{suggestion(name, known)}")
    values_of: dict[str, dict[str, Any]] = {}
    origins = {}
    for group, name, item in fields():
        for origin, values in {"option": command, "config": config, **recommended}.items():
            if values.get(name) not in (None, {}, ()):
                values_of.setdefault(group, {})[name] = check(item, values[name], origin)
                origins[name] = origin
                break
        else:
            origins[name] = "default"
    built = {group: kind(**values_of.get(group, {})) for group, kind in groups().items()}
    return Resolved(Options(**built), origins)


def check(item: dataclasses.Field[Any], value: Any, origin: str) -> Any:
    """`value` as the field's type, within its bounds; ValueError names the option and what would be right."""
    flag = f"--{item.name.replace('_', '-')}" + (" (config)" if origin == "config" else "")
    kind = field_type(item)
    if value in item.metadata["words"]:
        return value
    if kind in (int, float):
        try:
            number = kind(value) if not isinstance(value, str) else kind(float(value)) if kind is float else int(value)
        except (TypeError, ValueError, OverflowError):
            raise ValueError(f"{flag}: {value!r} is not {'a whole number' if kind is int else 'a number'}") from None
        if isinstance(value, bool) or (kind is int and number != value and not isinstance(value, str)):
            raise ValueError(f"{flag}: {value!r} is not {'a whole number' if kind is int else 'a number'}")
        return _bounded(flag, item, number)
    if kind is dict and isinstance(value, Mapping):
        return {str(k): _scalar_text(v) for k, v in value.items()}
    if kind in (dict, list) and isinstance(value, (str, list, tuple)):
        given = [value] if isinstance(value, str) else [str(v) for v in value]
        if kind is list:
            return given
        if all("=" in pair for pair in given):  # as they are typed: KEY=VALUE
            return {name: text for name, _, text in (pair.partition("=") for pair in given)}
    if kind is str and isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value)  # a file's 2 is the command line's
    if not isinstance(value, kind):
        raise ValueError(f"{flag}: {value!r} is not {'KEY=VALUE' if kind is dict else f'of type {kind.__name__}'}")
    choices = item.metadata["choices"]
    if choices and value not in choices:
        raise ValueError(f"{flag}: {value!r} is not one of {', '.join(choices)}")
    return value


def read_config(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file of option names; dashes and underscores are the same."""
    import yaml

    try:
        loaded = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"--config {path}: {' '.join(str(error).split())}") from None
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise ValueError(f"--config {path}: expected `option: value` lines, found a {type(loaded).__name__}")
    values: dict[str, Any] = {}
    for key, value in loaded.items():
        name = str(key).replace("-", "_")
        if name in values:
            raise ValueError(f"--config {path}: {key} is named twice, once with - and once with _")
        values[name] = value
    return values


def suggestion(name: str, known: typing.Iterable[str]) -> str:
    """'; did you mean …?' or the empty string."""
    close = close_names(name, known, most=2)
    return f"; did you mean {' or '.join(close)}?" if close else ""


def _bounded(flag: str, item: dataclasses.Field[Any], number: float) -> float:
    low, high, above = (item.metadata[k] for k in ("minimum", "maximum", "above"))
    if number != number or number in (float("inf"), float("-inf")):
        raise ValueError(f"{flag}: {number} is not a finite number")
    if low is not None and number < low:
        raise ValueError(f"{flag}: {number} is below {low}")
    if above is not None and number <= above:
        raise ValueError(f"{flag}: {number} must be above {above}")
    if high is not None and number > high:
        raise ValueError(f"{flag}: {number} is above {high}")
    return number


def _scalar_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@functools.cache
def _hints() -> dict[str, Any]:
    return {name: hint for group in groups().values() for name, hint in typing.get_type_hints(group).items()}
