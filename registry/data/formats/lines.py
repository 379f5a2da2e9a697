"""Lines of a text file, compressed or not, with their numbers; wrong encodings are named by line."""

from __future__ import annotations

import bz2
import codecs
import contextlib
import gzip
import io
import lzma
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from registry.data.source import FileFormat

UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def _open_zip(path: Path) -> IO[bytes]:
    archive = zipfile.ZipFile(path)
    members = [name for name in archive.namelist() if not (name.endswith("/") or _is_macs_own(name))]
    if len(members) != 1:
        raise ValueError(f"{path}: holds {len(members)} files; a compressed file must hold one")
    try:
        return archive.open(members[0])
    except RuntimeError as error:  # encrypted, or a compression that Python has not
        raise ValueError(f"{path}: cannot be read ({error}); unpack it first") from None


def _is_macs_own(name: str) -> bool:
    """What macOS adds to a zip beside a person's files."""
    return name.startswith("__MACOSX/") or name.rpartition("/")[2] == ".DS_Store"


COMPRESSED: dict[str, Callable[[Path], Any]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
    ".zip": _open_zip,
}


def plain_suffix(path: Path) -> str:
    """The suffix that says the format: ".csv" of "reviews.CSV.gz"."""
    name = path.with_suffix("") if path.suffix.lower() in COMPRESSED else path
    return name.suffix.lower()


@contextlib.contextmanager
def open_text(path: Path, format: FileFormat, newline: str | None = None) -> Iterator[IO[str]]:
    """The file as text, without a byte-order mark.

    Raises:
        ValueError: the file cannot be opened, or holds bytes that are not of this encoding (names the line).
    """
    try:
        codec = codecs.lookup(format.encoding).name
    except LookupError:
        raise ValueError(
            f"unknown encoding {format.encoding!r}; usual ones are utf-8, utf-16, latin-1, gb18030"
        ) from None
    codec = "utf-8-sig" if codec == "utf-8" else codec
    undecodable = "replace" if format.drop_invalid else "strict"
    try:
        with _open_bytes(path) as raw:
            if codec in ("utf-16-le", "utf-16-be") and raw.peek(2)[:2] in UTF16_MARKS:  # type: ignore[attr-defined]
                codec = "utf-16"  # which takes the mark for what it is
            with io.TextIOWrapper(raw, codec, undecodable, newline) as text:
                yield text
    except UnicodeError:
        raise ValueError(_wrong_encoding(path, format.encoding)) from None
    except (OSError, EOFError, zipfile.BadZipFile, lzma.LZMAError, zlib.error) as error:
        raise ValueError(f"{path}: cannot be read ({error})") from None


def read_lines(path: Path, format: FileFormat) -> Iterator[tuple[int, str]]:
    """(line number from 1, line without its end) of every line. Only line feeds end lines."""
    with open_text(path, format, newline="\n") as text:
        for number, line in enumerate(text, 1):
            yield number, line.rstrip("\r\n")


def split_cells(line: str, separator: str) -> list[str]:
    """The cells of a line; " " is any run of spaces and tabs (other blanks, such as U+3000, may be in a token)."""
    return re.findall(r"[^ \t]+", line) if separator == " " else line.split(separator)


def _open_bytes(path: Path) -> IO[bytes]:
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    opened: IO[bytes] = COMPRESSED.get(path.suffix.lower(), lambda path: path.open("rb"))(path)
    return opened


def _wrong_encoding(path: Path, encoding: str) -> str:
    # A second, slower pass finds the line: the decoder works on blocks and knows none.
    with _open_bytes(path) as raw:
        for number, line in enumerate(raw, 1):
            if number == 1 and line[:2] in UTF16_MARKS:
                return f"{path}, line 1: not {encoding} but utf-16; say --encoding utf-16"
            try:
                line.decode(encoding)
            except UnicodeError as error:
                what = f"byte 0x{error.object[error.start]:02x}" if isinstance(error, UnicodeDecodeError) else "bytes"
                return f"{path}, line {number}: {what} is not {encoding}; name the file's own with --encoding"
    return f"{path}: not {encoding}; name the file's own encoding with --encoding"
