"""Which column of a source is which canonical one: explicit names, names it may have, guesses said aloud."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from registry.data.formats.chunks import Chunk
from registry.data.source import Roles

logger = logging.getLogger(__name__)

TEXTS = ("text", "text_pair", "question", "context")
"""Canonical columns that hold a text."""

LISTS = ("tokens", "tags")
"""Canonical columns that hold a list of strings a row."""

CLASSES = ("label", "answer")
"""Canonical columns that hold the name of a class; an empty cell is None."""

LABELS = (*CLASSES, "tags")
"""Canonical columns of what is learned; rows that are only predicted lack them."""

FLAGS = {"question": "text", "context": "text_pair", "answer": "label"}
"""Canonical columns that a person names by the flag of another one."""

_SET = ("1", "1.0", "true", "yes", "y", "x")
_UNSET = ("", "0", "0.0", "false", "no", "n")


@dataclass(frozen=True)
class Choice:
    """The source's column for a role; several: texts to be joined, or indicator columns whose names become a list."""

    columns: tuple[str, ...]


Choices = Mapping[str, Choice]


class Chooser:
    """Chooses a column for every role, file by file; what it found in one file helps with the next.

    Args:
        named: role -> column that the person named.
        aloud: log which columns were guessed.

    Raises:
        ValueError: a column is named for a role that the task has not.
    """

    def __init__(self, roles: Roles, named: Mapping[str, str], *, aloud: bool) -> None:
        self.roles = roles
        self._named = _by_role(named, roles)
        self._aloud = aloud
        self._before: Choices = {}

    def choose(self, names: Sequence[str], optional: Collection[str], where: str) -> Choices:
        """A column for every role, none for two.

        Args:
            names: the source's columns.
            optional: roles that may be absent.
            where: the file, for messages.

        Raises:
            ValueError: a column is missing, or several could be meant; lists the columns there are.
        """
        chosen = self._match(names, where)
        for role in self.roles:
            before = self._before.get(role)
            if role in chosen:
                continue
            if before and role not in self._named and set(before.columns) <= _left(names, chosen):
                chosen[role] = before
            elif role not in optional:
                chosen[role] = Choice((self._last_resort(names, chosen, role, where),))
            elif role in self._named:
                logger.warning("%s: no column %r, so that its rows have no %s", where, self._named[role], role)
        for role, choice in chosen.items():
            guessed = role not in self._named and not isinstance(self.roles[role], str)
            if self._aloud and guessed and choice != self._before.get(role):
                logger.warning("%s: taking column %r as %s (else %s)", where, choice.columns[0], role, flag(role))
        self._before = {**self._before, **chosen}
        return {role: chosen[role] for role in self.roles if role in chosen}

    def _match(self, names: Sequence[str], where: str) -> dict[str, Choice]:
        """The columns that were named, then among the others those with usual names."""
        chosen: dict[str, Choice] = {}
        for role in sorted(self.roles, key=lambda role: role not in self._named):
            left = _left(names, chosen)
            matching = match(names, self._named.get(role) or self.roles[role], asked=role in self._named)
            if not matching and role not in self._named:  # a person's file for a task whose own columns are others
                matching = match(names, role)
            found = [name for name in matching if set(_parts(names, name)) <= left and self._same(role, name, names)]
            if len(found) > 1:
                raise ValueError(f"{where}: {role} could be column {' or '.join(found)}; choose with {flag(role)}")
            if found:
                chosen[role] = Choice(_parts(names, found[0]))
        return chosen

    def _same(self, role: str, name: str, names: Sequence[str]) -> bool:
        """False where a column is counted from the end, and is another one here than in an earlier file: test files
        lack their last columns."""
        before = None if role in self._named or not name.startswith("-") else self._before.get(role)
        return before is None or before.columns == _parts(names, name)

    def _last_resort(self, names: Sequence[str], chosen: Choices, role: str, where: str) -> str:
        """The one column left for a role whose usual names are all missing."""
        left, asked = _left(names, chosen), self._named.get(role)
        if asked is None and len(left) == 1 and not isinstance(self.roles[role], str):
            return left.pop()
        what = f"no column {asked!r}" if asked else f"which column is {role}?"
        if asked and _is_column(names, asked):
            what = f"column {asked!r} is taken already"
        raise ValueError(f"{where}: {what}; the columns are {', '.join(names)}: choose with {flag(role)}")


def apply(chunk: Chunk, choices: Choices, where: str) -> pa.Table:
    """The chunk's rows with canonical columns alone, strings or lists of strings; a missing text is an empty one.

    Raises:
        ValueError: a column that must hold lists holds text, or the other way round; its values have several types,
            or its lists nulls; a cell of an indicator column says neither yes nor no.
    """
    table = chunk.table
    columns: dict[str, Any] = {}
    for role, choice in choices.items():
        mixed = next((chunk.mixed[name] for name in choice.columns if name in chunk.mixed), None)
        if mixed:
            raise ValueError(f"{where}, {mixed}")
        if len(choice.columns) > 1:
            several = choice.columns
            lists = [name for name in several if pa.types.is_list(table[name].type)]
            if lists:
                raise ValueError(
                    f"{where}: column {lists[0]!r} holds lists, where {flag(role)} {','.join(several)} needs text"
                )
            columns[role] = _joined(table, several) if role in TEXTS else _indicated(chunk, several, where)
            continue
        name = choice.columns[0]
        # Rows of JSON may all lack a key that others have.
        column = table[name] if name in table.column_names else pa.chunked_array([pa.nulls(len(table), _type(role))])
        is_list = pa.types.is_list(column.type)
        if is_list != (role in LISTS) and not (is_list and role == "label"):
            kinds = ("text", "lists") if not is_list else ("lists", "text")
            raise ValueError(f"{where}: column {name!r} holds {kinds[0]}, where {role} needs {kinds[1]}")
        if is_list:
            _refuse_nulls(column, name, chunk, where)
        elif role in TEXTS:
            column = pc.fill_null(column, "")
        elif role in CLASSES:
            column = _label(column)
        columns[role] = column
    return pa.table(columns)


def _by_role(named: Mapping[str, str], roles: Roles) -> dict[str, str]:
    """Named columns under the task's own roles ("text" is the question where a task has questions)."""
    own = {FLAGS.get(role, role): role for role in roles} | {role: role for role in roles}
    for role in named:
        if role not in own:
            raise ValueError(f"{flag(role)}: this task has no {role}; it has {', '.join(roles)}")
    return {own[role]: column for role, column in named.items()}


def match(names: Sequence[str], wanted: str | Sequence[str], *, asked: bool = False) -> list[str]:
    """Those of the wanted names that columns have; unless a person asked for them, their case does not matter."""
    several = not isinstance(wanted, str)
    wanted = (wanted,) if isinstance(wanted, str) else wanted
    exact = [name for name in wanted if _is_column(names, name)]
    if asked or (exact and not several):
        return exact
    others = {name.lower() for name in wanted} - {name.lower() for name in exact}
    return exact + [name for name in names if name.lower() in others]


def _is_column(names: Sequence[str], name: str) -> bool:
    """A column's name, a place from the end in a column file ("-1", never its first), or several columns "a,b,c"."""
    if name in names:
        return True
    if name.startswith("-") and name[1:].isdigit():
        return "0" in names and 0 < int(name[1:]) < len(names)
    parts = [part.strip() for part in name.split(",")]
    return len(parts) > 1 and all(part in names for part in parts)


def _parts(names: Sequence[str], name: str) -> tuple[str, ...]:
    if name in names or "," not in name:
        return (names[int(name)],) if name not in names else (name,)
    return tuple(part.strip() for part in name.split(","))


def _type(role: str) -> pa.DataType:
    return pa.list_(pa.string()) if role in LISTS else pa.string()


def _left(names: Sequence[str], chosen: Choices) -> set[str]:
    return set(names) - {column for choice in chosen.values() for column in choice.columns}


def _indicated(chunk: Chunk, columns: Sequence[str], where: str) -> pa.Array:
    """The names of the columns that are set in each row."""
    flags = []
    for name in columns:
        cells = pc.utf8_lower(pc.fill_null(pc.utf8_trim_whitespace(chunk.table[name]), ""))
        flags.append(pc.is_in(cells, value_set=pa.array(_SET)).to_pylist())
        known = pc.is_in(cells, value_set=pa.array(_SET + _UNSET)).to_pylist()
        if False in known:
            at = known.index(False)
            cell = chunk.table[name][at].as_py()[:40]
            raise ValueError(
                f"{where}, {chunk.unit} {chunk.places[at]}: {cell!r} in the indicator column {name!r} is "
                "neither yes (1, true, yes, x) nor no (0, false, no, or empty)"
            )
    rows = zip(*flags, strict=True)
    return pa.array([[c for c, on in zip(columns, row, strict=True) if on] for row in rows], pa.list_(pa.string()))


def _refuse_nulls(lists: Any, name: str, chunk: Chunk, where: str) -> None:
    """A null within a list; one instead of a list is a missing value like any other."""
    if not any(part.flatten().null_count for part in lists.chunks):
        return
    at, items = next((at, items) for at, items in enumerate(lists.to_pylist()) if None in (items or ()))
    raise ValueError(
        f"{where}, {chunk.unit} {chunk.places[at]}: item {items.index(None)} of the list in column {name!r} is null; "
        "every item must be text"
    )


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
