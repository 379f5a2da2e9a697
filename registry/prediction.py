"""Predictions for rows that come one after the other: any number in bounded memory, in their order."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from registry.data.roles import FLAGS, TEXTS
from registry.data.source import Roles, Source
from registry.inference import EncodedColumns
from registry.run_directory import written_out
from registry.runs import Run

CHUNK_ROWS = 4096
"""Rows that are sorted by length together: enough to waste little padding."""

CHUNK_CHARACTERS = 4_000_000


@dataclass(frozen=True)
class Row:
    """What is predicted for, and what of it stands beside the prediction."""

    item: str | Mapping[str, Any]
    shown: Mapping[str, Any]

    @property
    def size(self) -> int:
        """Characters, about."""
        values = [self.item] if isinstance(self.item, str) else self.item.values()
        return sum(len(value) if isinstance(value, str) else 8 * len(value) for value in values)


def text_rows(texts: Iterable[str]) -> Iterator[Row]:
    """Rows of bare texts.

    Raises:
        ValueError: one holds bytes that are not UTF-8.
    """
    return (Row(text, {"row": number, "text": text}) for number, text in enumerate(map(readable, texts)))


def readable(text: str) -> str:
    """A text that somebody typed or piped in, where Python hides bytes that are not UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        shown = text.encode(errors="replace").decode()[:40]
        raise ValueError(f"{shown!r} is not UTF-8: convert it (iconv -f latin1 -t utf-8)") from None
    return text


def pair_rows(run: Run, texts: Sequence[str], seconds: Sequence[str]) -> Iterator[Row]:
    """Rows of texts, each with the second text of its place.

    Raises:
        ValueError: the run reads single texts, or there is not one second text for each.
    """
    roles = [name for name in run.task.inputs() if name in TEXTS]
    if len(roles) != 2:
        raise ValueError(f"--text-pair: this run reads single texts ({', '.join(run.task.inputs())})")
    if len(texts) != len(seconds):
        raise ValueError(f"{len(texts)} --text but {len(seconds)} --text-pair; give one for each")
    items = (dict(zip(roles, map(readable, pair), strict=True)) for pair in zip(texts, seconds, strict=True))
    return (Row(item, {"row": number, **item}) for number, item in enumerate(items))


def file_rows(run: Run, pattern: str, source: Source) -> Iterator[Row]:
    """Rows of a file or glob with the columns that the run predicts from; empty cells and blank lines are empty texts.

    Args:
        source: says the columns' names and how the file is written. For a task that learned from lists of words
            the file may hold whole texts.

    Raises:
        ValueError: in one line, naming file, row and column.
    """
    from registry.data.reading import stream

    roles: Roles = run.task.inputs()
    if "tokens" in roles:
        roles = _words_or_texts(roles, pattern, source)
    flags = {*roles, *(FLAGS.get(role, role) for role in roles)}
    columns = {role: column for role, column in source.columns.items() if role in flags}
    for row in stream(pattern, roles=roles, columns=columns, format=replace(source.format, keep_blank=True)):
        item = {name: "" if value is None else value for name, value in row.items() if name != "row"}
        yield Row(item, {"row": row["row"], **item})


def _words_or_texts(roles: Roles, pattern: str, source: Source) -> Roles:
    """What to read of a file that holds lists of words, or the texts to be split into them.

    Raises:
        ValueError: it could be either, or has no column that looks like one of them.
    """
    from registry.data.formats import expand, suffix_kind
    from registry.data.reading import column_names
    from registry.data.roles import match
    from registry.tasks.texts import TEXT

    texts: Roles = {"text": TEXT}
    if "text" in source.columns or source.format.kind in ("text", "folder"):
        return texts
    path = expand(pattern)[0]
    kind = source.format.kind or suffix_kind(path)
    if kind in ("", "text"):
        raise ValueError(f"{path}: is a line a text or a token? say --file-format text or --file-format conll")
    names = column_names(path, replace(source.format, kind=kind))
    if match(names, source.columns.get("tokens") or roles["tokens"], asked="tokens" in source.columns):
        return roles
    if match(names, TEXT):
        return texts
    raise ValueError(
        f"{path}: the columns are {', '.join(names)}: choose with --tokens-column, or for whole texts --text-column"
    )


def predict_rows(
    run: Run, rows: Iterable[Row], on_rows: Callable[[int], None] = lambda count: None
) -> Iterator[dict[str, Any]]:
    """What each row shows and its prediction, in order; the next rows are tokenised while the model runs.

    Args:
        on_rows: told how many more rows are done.
    """
    chunks = _chunks(rows)
    with ThreadPoolExecutor(1, thread_name_prefix="encode") as pool:
        coming = pool.submit(_prepare, run, chunks)
        while (prepared := coming.result()) is not None:
            coming = pool.submit(_prepare, run, chunks)
            chunk, examples, encoded = prepared
            predictions = run.decode(examples, run.reduce(encoded))
            yield from ({**row.shown, **found} for row, found in zip(chunk, predictions, strict=True))
            on_rows(len(chunk))


def write_lines(path: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    """Write JSON lines that stand under `path` only when all are there.

    Raises:
        ValueError: the file cannot be written.
    """
    try:
        with written_out(path) as file:
            file.writelines(f"{to_line(line)}\n" for line in lines)
    except OSError as error:
        raise ValueError(f"{path}: cannot be written ({error.strerror})") from None


def to_line(values: Mapping[str, Any]) -> str:
    """One JSON line."""
    return json.dumps(values, ensure_ascii=False)


def _prepare(run: Run, chunks: Iterator[list[Row]]) -> tuple[list[Row], Mapping[str, Any], EncodedColumns] | None:
    chunk = next(chunks, None)
    if chunk is None:
        return None
    examples = run.task.from_inputs([row.item for row in chunk])
    return chunk, examples, run.encode(examples)


def _chunks(rows: Iterable[Row]) -> Iterator[list[Row]]:
    source = iter(rows)
    while (first := next(source, None)) is not None:
        chunk, size = [first], first.size
        for row in itertools.islice(source, CHUNK_ROWS - 1):
            chunk.append(row)
            size += row.size
            if size > CHUNK_CHARACTERS:
                break
        yield chunk
