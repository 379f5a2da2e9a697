"""JSON files (an array of objects, alone or under a key, or an object of columns) and JSON lines."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from registry.data.formats.chunks import CHUNK, CHUNK_SIZE, Chunk, size_of, text_array
from registry.data.formats.lines import open_text
from registry.data.source import FileFormat

BLOCK = 1 << 20
"""Characters read at a time."""
BLANKS = re.compile(r"\s*")

_TOO_DEEP = "not rows: lists or objects are nested too deeply"


def read_json_lines(path: Path, format: FileFormat) -> Iterator[Chunk]:
    """Rows of a file with one JSON object a line.

    Raises:
        ValueError: a line is no JSON object; names the line.
    """
    yield from _chunks(path, _objects(path, format), "line")


def read_json(path: Path, format: FileFormat, lists: bool = False) -> Iterator[Chunk]:
    """Rows of a JSON file; one that holds an object a line is read as JSON lines, whatever it is called.

    An array may be larger than memory; an object of columns may not.

    Args:
        lists: rows hold lists of tokens, so that columns are lists of lists.

    Raises:
        ValueError: not JSON, or nothing in it looks like rows; names the line or row.
    """
    with open_text(path, format) as text:
        if _begins_with(text) == "[":
            text.seek(0)
            yield from _chunks(path, _items(path, text), "row")
            return
    if not format.keys and _has_row_a_line(path, format, lists):
        yield from read_json_lines(path, format)
        return
    with open_text(path, format) as text:
        try:
            loaded = json.load(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}, line {error.lineno}: not valid JSON ({_reason(error)})") from None
        except RecursionError:
            raise ValueError(f"{path}: {_TOO_DEEP}") from None
    rows = _rows_of(path, loaded, format) if format.keys else _rows(loaded, lists)
    if rows is None:
        raise ValueError(f"{path}: expected an array of objects, one a row (pandas writes it with orient='records')")
    yield from _chunks(path, enumerate(rows, 1), "row")


def _objects(path: Path, format: FileFormat) -> Iterator[tuple[int, Any]]:
    with open_text(path, format, newline="\n") as text:
        for number, line in enumerate(text, 1):
            if not line.strip():
                continue
            try:
                yield number, json.loads(line.strip())
            except json.JSONDecodeError as error:
                raise ValueError(f"{path}, line {number}: not valid JSON ({_reason(error)})") from None
            except RecursionError:
                raise ValueError(f"{path}, line {number}: {_TOO_DEEP}") from None


def _items(path: Path, text: IO[str]) -> Iterator[tuple[int, Any]]:
    """The items of an array, counted from 1; no more of it is in memory than a block and the item at its end."""
    decode = json.JSONDecoder().raw_decode
    held, lines, number = "", 0, 0
    while not held.strip():
        held += text.read(BLOCK)
    position = _behind_blanks(held, 0)  # of the bracket or comma before the next item
    while True:
        try:
            begin = _behind_blanks(held, position + 1)
            if held[begin : begin + 1] == "]" and not number:
                end = begin
                break
            item, end = decode(held, begin)
            end = _behind_blanks(held, end)
            if held[end : end + 1] not in ("]", ","):
                raise json.JSONDecodeError("Expecting ',' delimiter", held, end)
        except json.JSONDecodeError as error:
            block = text.read(max(BLOCK, len(held) - position))
            if not block:
                raise ValueError(f"{path}, line {lines + error.lineno}: not valid JSON ({_reason(error)})") from None
            lines += held.count("\n", 0, position)
            held, position = held[position:] + block, 0
            continue
        except RecursionError:
            raise ValueError(f"{path}, row {number + 1}: {_TOO_DEEP}") from None
        number, position = number + 1, end
        yield number, item
        if held[end] == "]":
            break
    if (held[end + 1 :] + text.read(BLOCK)).strip():
        raise ValueError(f"{path}: something follows the array")


def _begins_with(text: IO[str]) -> str:
    """The first character that is no blank."""
    while (block := text.read(BLOCK)) and block.isspace():
        pass
    return block.lstrip()[:1]


def _behind_blanks(text: str, position: int) -> int:
    found = BLANKS.match(text, position)
    return found.end() if found else position


def _reason(error: json.JSONDecodeError) -> str:
    return f"{error.msg[:1].lower()}{error.msg[1:]} at character {error.colno}"


def _has_row_a_line(path: Path, format: FileFormat, lists: bool) -> bool:
    """Whether the first line is an object, and a row: where it is the only line, its rows may be within it."""
    with open_text(path, format) as text:
        lines = (line for line in text if line.strip())
        first, second = next(lines, ""), next(lines, "")
    try:
        loaded = json.loads(first)
    except (ValueError, RecursionError):
        return False
    if not isinstance(loaded, dict):
        return False
    no_row = _rows(loaded, lists) is not None or all(isinstance(value, dict) for value in loaded.values())
    return bool(second) or not no_row


def _rows(loaded: Any, lists: bool) -> list[Any] | None:
    """The rows of a document: an object's only list of objects, or its columns; None where it has neither."""
    if not isinstance(loaded, dict):
        return None
    loaded = _unindexed(loaded)
    arrays = [value for value in loaded.values() if isinstance(value, list)]
    if len(arrays) == 1 and arrays[0] and isinstance(arrays[0][0], dict):  # {"data": [{…}, …], "version": …}
        return arrays[0]
    if not arrays or len(arrays) < len(loaded) or len({len(column) for column in arrays}) > 1:
        return None
    if lists and not any(isinstance(cell, list) for column in arrays for cell in column):
        return None  # {"tokens": ["a", "b"], "tags": ["O", "O"]} is one sentence
    return [dict(zip(loaded, cells, strict=True)) for cells in zip(*arrays, strict=True)]


def _unindexed(loaded: dict[str, Any]) -> dict[str, Any]:
    """What pandas writes by default, {"text": {"0": "a", "1": "b"}, …}, as lists; anything else as it is."""
    columns = list(loaded.values())
    if not columns or not all(isinstance(column, dict) and column.keys() == columns[0].keys() for column in columns):
        return loaded
    if not all(key.isdecimal() for key in columns[0]):
        return loaded
    return {name: [column[key] for key in columns[0]] for name, column in loaded.items()}


def _rows_of(path: Path, loaded: Any, format: FileFormat) -> Iterator[Any]:
    """The rows under the format's keys, one key after the other; arrays as objects with its columns."""
    for key in format.keys:
        if not isinstance(loaded, dict) or not isinstance(loaded.get(key), list):
            raise ValueError(f"{path}: expected an object with the keys {', '.join(format.keys)}; {key!r} is missing")
        for number, row in enumerate(loaded[key], 1):
            if isinstance(row, list) and len(row) != len(format.columns):
                expected = ", ".join(format.columns)
                raise ValueError(f"{path}, {key} row {number}: {len(row)} cells, where {expected} are expected")
            yield dict(zip(format.columns, row, strict=True)) if isinstance(row, list) else row


def _chunks(path: Path, objects: Iterable[tuple[int, Any]], unit: str) -> Iterator[Chunk]:
    types: dict[str, str] = {}
    columns: dict[str, list[Any]] = {}
    mixed: dict[str, str] = {}
    places: list[int] = []
    size = 0
    for place, row in objects:
        if not isinstance(row, dict):
            raise ValueError(f"{path}, {unit} {place}: expected an object with the columns, found {_type(row)}")
        _note_types(f"{unit} {place}", row, types, mixed)
        for name in row.keys() - columns.keys():
            columns[name] = [None] * len(places)
        for name, values in columns.items():
            values.append(row.get(name))
        places.append(place)
        size += sum(size_of(value) for value in row.values() if isinstance(value, (str, list)))
        if len(places) == CHUNK or size >= CHUNK_SIZE:
            yield Chunk(_table(columns, types, mixed), places, unit, mixed)
            columns, places, size, mixed = {name: [] for name in columns}, [], 0, {}
    if places:
        yield Chunk(_table(columns, types, mixed), places, unit, mixed)


def _note_types(where: str, row: Mapping[str, Any], types: dict[str, str], mixed: dict[str, str]) -> None:
    """Learn each column's type from its first value, and note the columns with values of another one."""
    for name, value in row.items():
        kind = _type(value)
        if kind == "an object":  # its source would be taken for a text
            mixed.setdefault(name, f"{where}: column {name!r} holds an object, where text or a number is needed")
        if kind != "null" and types.setdefault(name, kind) != kind and name not in mixed:
            mixed[name] = f"{where}: column {name!r} holds {kind}, where earlier rows hold {types[name]}"


def _type(value: Any) -> str:
    names = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list", dict: "an object"}
    return "null" if value is None else names[type(value)]


def _table(columns: Mapping[str, list[Any]], types: Mapping[str, str], mixed: Mapping[str, str]) -> pa.Table:
    """The columns as strings or lists of strings; mixed ones as strings."""
    are_lists = {name: types.get(name) == "a list" and name not in mixed for name in columns}
    return pa.table({name: _array(values, are_lists[name]) for name, values in columns.items()})


def _array(values: list[Any], are_lists: bool) -> pa.Array:
    if are_lists:
        cells = [None if value is None else [_text(item) for item in value] for value in values]
        return text_array(cells, pa.list_(pa.string()))
    return text_array([_text(value) for value in values], pa.string())


def _text(value: Any) -> str | None:
    """A cell as text: what JSON writes, without quotes around strings."""
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)
