"""Options of tasks and models: the dataclass fields that --task-option and --model-option set.

A field is an option unless its metadata says ``"option": False`` (`not_an_option`). A Mapping field
with ``"option": "rest"`` collects keys that no other field has: what a model passes on to the
configuration of a checkpoint, for instance. `registry.options.option` makes a field with its help line,
bounds and choices. This module imports no torch.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from registry.spelling import close_names

T = TypeVar("T")

_TRUTH = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", type(None): "none"}


def other_options(help: str = "") -> Any:
    """A Mapping field that collects every key that is no field's name."""
    return field(default_factory=dict, metadata={"help": help, "option": "rest"})


def not_an_option(default: Any = None) -> Any:
    """A field that describes a task or model and is not set by --task-option or --model-option."""
    if isinstance(default, (dict, list)):
        kept = default
        return field(default_factory=lambda: type(kept)(kept), metadata={"option": False})
    return field(default=default, metadata={"option": False})


@dataclass(frozen=True)
class OptionHelp:
    """What `plugins.py show` says of one option."""

    name: str
    type: str
    default: Any
    help: str


def with_options(item: T, values: Mapping[str, Any], flag: str = "option") -> T:
    """A copy of a task or model with `values` (texts as typed, or values as `options_of` gives them) in its fields.

    Raises:
        ValueError: an unknown key (with suggestions and the valid keys) or a value that its field's type refuses.
    """
    known, rest = _options(item)
    changed: dict[str, Any] = {}
    collected: dict[str, Any] = {}
    for key, value in values.items():
        name = key if key in known else key.replace("-", "_")
        if name in known:
            changed[name] = _checked(item, known[name], value, f"{flag} {name}")
        elif rest is not None:
            value_types = typing.get_args(_annotation(type(item), rest.name))[1:] or (Any,)
            collected[key] = _parse(value, value_types[0], f"{flag} {key}")
        else:
            raise ValueError(f"{flag}: unknown key {key!r}; {_suggestion(name, known)}")
    if rest is not None and collected:
        changed[rest.name] = {**getattr(item, rest.name), **collected}
    return dataclasses.replace(item, **changed) if changed else item  # type: ignore[type-var]


def options_of(item: Any) -> dict[str, Any]:
    """Every option with its value, JSON-able; `with_options` puts them back."""
    known, rest = _options(item)
    values = {name: _plain(getattr(item, name)) for name in known}
    return {**values, **(_plain(getattr(item, rest.name)) if rest is not None else {})}


def describe_options(item: Any) -> list[OptionHelp]:
    """Name, type, default and help of every option, in the order of the fields."""
    known, rest = _options(item)
    described = [
        OptionHelp(name, _described_type(item, entry), _plain(getattr(item, name)), _help(entry))
        for name, entry in known.items()
    ]
    if rest is not None:
        described.append(OptionHelp("…", "any other key", _plain(getattr(item, rest.name)), _help(rest)))
    return described


def _options(item: Any) -> tuple[dict[str, dataclasses.Field[Any]], dataclasses.Field[Any] | None]:
    """Option fields by name, and the field that collects the rest where there is one."""
    known, rest = {}, None
    for entry in dataclasses.fields(item):
        role = entry.metadata.get("option", True)
        if role == "rest":
            rest = entry
        elif role and entry.init:
            known[entry.name] = entry
    return known, rest


def _annotation(kind: type, name: str) -> Any:
    """The evaluated type of one field; the others may name types that are imported for type checkers only."""
    for owner in kind.__mro__:
        hints = inspect.get_annotations(owner)
        if name in hints:
            alone = types.SimpleNamespace(__annotations__={name: hints[name]})
            return typing.get_type_hints(alone, globalns=vars(sys.modules[owner.__module__]))[name]
    raise AssertionError(f"{kind} has no field {name}")


def _checked(item: Any, entry: dataclasses.Field[Any], value: Any, label: str) -> Any:
    if value in entry.metadata.get("words", ()):
        return value
    parsed = _parse(value, _annotation(type(item), entry.name), label)
    if isinstance(parsed, (tuple, list)):
        return type(parsed)(_within(part, entry.metadata, label) for part in parsed)
    return _within(parsed, entry.metadata, label)


def _within(value: Any, metadata: Mapping[str, Any], label: str) -> Any:
    """One value, or item of a list, that keeps the bounds and choices of its field; texts have no bounds."""
    if value is None or isinstance(value, Mapping):
        return value
    if not isinstance(value, str):
        low, high, above = (metadata.get(name) for name in ("minimum", "maximum", "above"))
        if low is not None and value < low:
            raise ValueError(f"{label}: {value} is below {low}")
        if high is not None and value > high:
            raise ValueError(f"{label}: {value} is above {high}")
        if above is not None and value <= above:
            raise ValueError(f"{label}: {value} must be above {above}")
    choices = metadata.get("choices")
    return _chosen(value, choices, label) if choices else value


def _chosen(value: Any, choices: Sequence[Any], label: str) -> Any:
    for choice in choices:
        if value == choice or (isinstance(value, str) and value == str(choice)):
            return choice
    close = close_names(str(value), [str(choice) for choice in choices], most=1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    raise ValueError(f"{label}: {value!r} is not one of {', '.join(str(choice) for choice in choices)}{hint}")


def _parse(value: Any, wanted: Any, label: str) -> Any:
    """`value` as `wanted`; a text is read the way people type it, anything else must already be of that type."""
    origin, members = typing.get_origin(wanted), typing.get_args(wanted)
    if wanted is Any:
        return _guess(value) if isinstance(value, str) else value
    if origin in (typing.Union, types.UnionType):
        return _parse_union(value, members, label)
    if origin is typing.Literal:
        return _chosen(value, members, label)
    if wanted in (tuple, list) or origin in (tuple, list, Sequence):
        found = _parse_sequence(value, members, label)
        return list(found) if origin is list or wanted is list else found
    if isinstance(origin or wanted, type) and issubclass(origin or wanted, Mapping):
        return _parse_mapping(value, members, label)
    return _parse_scalar(value, wanted, label)


def _parse_union(value: Any, members: tuple[Any, ...], label: str) -> Any:
    if type(None) in members and (value is None or (isinstance(value, str) and value.lower() in ("none", "null", ""))):
        return None
    # A text fits every `str`, so that the narrower types are asked first.
    for member in sorted((m for m in members if m is not type(None)), key=lambda m: m is str):
        try:
            return _parse(value, member, label)
        except ValueError:
            continue
    raise ValueError(f"{label}: {value!r} is not {' or '.join(_type_name(m) for m in members)}")


def _parse_sequence(value: Any, members: tuple[Any, ...], label: str) -> tuple[Any, ...]:
    if isinstance(value, str):
        listed = _guess(value) if value.startswith("[") else None
        value = listed if isinstance(listed, list) else [part.strip() for part in value.split(",") if part.strip()]
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{label}: {value!r} is not a list (write a,b,c)")
    if not members or members[-1] is Ellipsis or len(members) == 1:
        members = ((members or (str,))[0],) * len(value)
    if len(value) != len(members):
        raise ValueError(f"{label}: expected {len(members)} values separated by commas, found {len(value)}")
    return tuple(_parse(part, member, label) for part, member in zip(value, members, strict=True))


def _parse_mapping(value: Any, members: tuple[Any, ...], label: str) -> dict[str, Any]:
    found = _guess(value) if isinstance(value, str) else value
    if not isinstance(found, Mapping):
        raise ValueError(f'{label}: {value!r} is not a mapping (write {{"key": value}})')
    wanted = members[1] if len(members) == 2 else Any
    return {str(key): _parse(part, wanted, label) for key, part in found.items()}


def _parse_scalar(value: Any, wanted: Any, label: str) -> Any:
    refused = ValueError(f"{label}: {value!r} is not {_NAMES.get(wanted, _type_name(wanted))}")
    if wanted is bool:
        if isinstance(value, bool):
            return value
        if str(value).lower() not in _TRUTH:
            raise refused
        return _TRUTH[str(value).lower()]
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise refused
    if wanted is str:
        return str(value)
    try:
        # int("3") and int(3), never int(3.7): what cannot be kept exactly is refused.
        parsed = wanted(value)
    except (TypeError, ValueError):
        raise refused from None
    if parsed != parsed or (wanted is int and isinstance(value, float) and parsed != value):
        raise refused
    return parsed


def _guess(text: str) -> Any:
    """A number, truth value, none, JSON list or object where the text is one; else the text."""
    spelled = {"True": "true", "False": "false", "None": "null", "none": "null", "NaN": '"NaN"'}.get(text, text)
    try:
        return json.loads(spelled)
    except ValueError:
        return text


def _type_name(wanted: Any) -> str:
    origin, members = typing.get_origin(wanted), typing.get_args(wanted)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_type_name(member) for member in members)
    if origin is typing.Literal:
        return "|".join(str(member) for member in members)
    if origin is tuple:
        return "list of " + " ".join(_type_name(member) for member in members if member is not Ellipsis)
    if wanted is type(None):
        return "none"
    return str(getattr(origin or wanted, "__name__", wanted))


def _described_type(item: Any, entry: dataclasses.Field[Any]) -> str:
    choices, words = entry.metadata.get("choices"), entry.metadata.get("words", ())
    return "|".join(map(str, choices or (_type_name(_annotation(type(item), entry.name)), *words)))


def _suggestion(name: str, known: Mapping[str, Any]) -> str:
    if not known:
        return "it has no options"
    close = close_names(name, known)
    return f"{'did you mean ' + ', '.join(close) + '? ' if close else ''}valid keys: {', '.join(sorted(known))}"


def _help(entry: dataclasses.Field[Any]) -> str:
    return str(entry.metadata.get("help", ""))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)
