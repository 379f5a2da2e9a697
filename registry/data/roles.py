"""Which column of a source is which canonical one: explicit names, names it may have, guesses said aloud."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from registry.data.source import Roles

logger = logging.getLogger(__name__)

TEXTS = ("text", "text_pair", "question", "context")
"""Canonical columns that hold a text."""

LISTS = ("tokens", "tags")
"""Canonical columns that hold a list of strings a row."""

CLASSES = ("label", "answer")
"""Canonical columns that hold the name of a class; an empty cell is None."""

FLAGS = {"question": "text", "context": "text_pair", "answer": "label"}
"""Canonical columns that a person names by the flag of another one."""

_SET = ("1", "1.0", "true", "yes", "y", "x")


@dataclass(frozen=True)
class Choice:
    """The source's column for a role; several: texts to be joined, or indicator columns whose names become a list."""

    columns: tuple[str, ...]


Choices = Mapping[str, Choice]


def choose(
    names: Sequence[str], roles: Roles, named: Mapping[str, str], optional: Collection[str], where: str, aloud: bool
) -> dict[str, Choice]:
    """A column for every role.

    Args:
        names: the source's columns.
        named: role -> column that the person named.
        optional: roles that may be absent.
        where: the file, for messages.
        aloud: log which columns were guessed.

    Raises:
        ValueError: a column is missing, or several could be meant; lists the columns there are.
    """
    named = _by_role(named, roles)
    chosen: dict[str, Choice] = {}
    for role, accepted in roles.items():
        wanted = named.get(role) or accepted
        found = _match(names, (wanted,) if isinstance(wanted, str) else tuple(wanted), role in named)
        if len(found) > 1:
            raise ValueError(f"{where}: {role} could be column {' or '.join(found)}; choose with {flag(role)}")
        if found:
            chosen[role] = Choice(_parts(names, found[0]))
    for role in roles:
        if role not in chosen and (role in named or role not in optional):
            chosen[role] = Choice((_last_resort(names, roles, chosen, role, named.get(role), where),))
    for role, choice in chosen.items():
        if aloud and role not in named and not isinstance(roles[role], str):
            logger.warning("%s: taking column %r as %s (else %s)", where, choice.columns[0], role, flag(role))
    return {role: chosen[role] for role in roles if role in chosen}


def apply(table: pa.Table, choices: Choices, where: str) -> pa.Table:
    """The table with canonical columns alone, strings or lists of strings.

    Raises:
        ValueError: a column that must hold lists holds text, or the other way round.
    """
    columns: dict[str, Any] = {}
    for role, choice in choices.items():
        if len(choice.columns) > 1:
            columns[role] = (_joined if role in TEXTS else _indicated)(table, choice.columns)
            continue
        name = choice.columns[0]
        # Rows of JSON may all lack a key that others have.
        column = table[name] if name in table.column_names else pa.nulls(len(table), _type(role))
        is_list = pa.types.is_list(column.type)
        if is_list != (role in LISTS) and not (is_list and role == "label"):
            kinds = ("text", "lists") if not is_list else ("lists", "text")
            raise ValueError(f"{where}: column {name!r} holds {kinds[0]}, where {role} needs {kinds[1]}")
        columns[role] = column if is_list or role not in CLASSES else _label(column)
    return pa.table(columns)


def _by_role(named: Mapping[str, str], roles: Roles) -> dict[str, str]:
    """Named columns under the task's own roles ("text" is the question where a task has questions)."""
    own = {FLAGS.get(role, role): role for role in roles} | {role: role for role in roles}
    for role in named:
        if role not in own:
            raise ValueError(f"{flag(role)}: this task has no {role}; it has {', '.join(roles)}")
    return {own[role]: column for role, column in named.items()}


def _match(names: Sequence[str], wanted: Sequence[str], asked: bool) -> list[str]:
    exact = [name for name in wanted if _named(names, name)]
    if exact or asked:
        return exact
    lowered = {name.lower() for name in wanted}
    return [name for name in names if name.lower() in lowered]


def _named(names: Sequence[str], name: str) -> bool:
    """A column's name, a place from the end in a column file ("-1"), or several columns "a,b,c"."""
    if name in names:
        return True
    if name.startswith("-") and name[1:].isdigit():
        return "0" in names and 0 < int(name[1:]) <= len(names)
    parts = [part.strip() for part in name.split(",")]
    return len(parts) > 1 and all(part in names for part in parts)


def _parts(names: Sequence[str], name: str) -> tuple[str, ...]:
    if name in names or "," not in name:
        return (names[int(name)],) if name not in names else (name,)
    return tuple(part.strip() for part in name.split(","))


def _type(role: str) -> pa.DataType:
    return pa.list_(pa.string()) if role in LISTS else pa.string()


def _last_resort(names: Sequence[str], roles: Roles, chosen: Choices, role: str, asked: str | None, where: str) -> str:
    """The one column left for a role whose usual names are all missing."""
    taken = {column for choice in chosen.values() for column in choice.columns}
    left = [name for name in names if name not in taken]
    if asked is None and len(left) == 1 and not isinstance(roles[role], str):
        return left[0]
    what = f"no column {asked!r}" if asked else f"which column is {role}?"
    raise ValueError(f"{where}: {what}; the columns are {', '.join(names)}: choose with {flag(role)}")


def _indicated(table: pa.Table, columns: Sequence[str]) -> pa.Array:
    flags = [pc.is_in(pc.utf8_lower(table[c]), value_set=pa.array(_SET)).to_pylist() for c in columns]
    rows = zip(*flags, strict=True)
    return pa.array([[c for c, on in zip(columns, row, strict=True) if on] for row in rows], pa.list_(pa.string()))


def _joined(table: pa.Table, columns: Sequence[str]) -> Any:
    """Texts of several columns (a title and its description) with a blank between; empty cells leave none."""
    cells = (table[name].to_pylist() for name in columns)
    return pa.array([" ".join(filter(None, row)) for row in zip(*cells, strict=True)], pa.string())


def _label(column: Any) -> Any:
    """Labels without the blanks around them; an empty cell is no label."""
    trimmed = pc.utf8_trim_whitespace(column)
    return pc.if_else(pc.equal(trimmed, ""), pa.scalar(None, pa.string()), trimmed)


def flag(role: str) -> str:
    """The option that names the column of a role."""
    return f"--{FLAGS.get(role, role).replace('_', '-')}-column"
