"""Encoded examples come back as they were made, are made once, and never stand half written."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from datasets import Dataset

from registry.data import cache
from registry.data.cache import code_digest, content_digest
from registry.data.encoded import BATCH, encode_split
from registry.data.places import Place, RowError, remember


class Encoder:
    """Encodes text of n characters as two windows; counts its calls in this process."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, rows: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
        self.calls += 1
        out: dict[str, list[Any]] = {"input_ids": [], "row": [], "truncated": [], "labels": [], "several": []}
        for text, row in zip(rows["text"], rows["row"], strict=True):
            for window in (text[::2], text[1::2]):
                out["input_ids"].append([ord(letter) for letter in window])
                out["row"].append(row)
                out["truncated"].append(len(text) > 3)
                out["labels"].append(row / 4)
                out["several"].append([0.5, float(row)])
        return out


def rows(count: int = 5) -> Dataset:
    return Dataset.from_dict({"text": ["abcdef"[: 1 + i % 6] for i in range(count)], "row": list(range(count))})


def test_examples_come_back_in_any_order(tmp_path: Path) -> None:
    encoded = encode_split(Encoder(), rows(), fingerprint="a", cache_dir=tmp_path)
    assert len(encoded) == 10
    assert encoded.lengths.dtype == np.int32
    assert encoded.lengths.tolist() == [1, 0, 1, 1, 2, 1, 2, 2, 3, 2]
    assert encoded.column("truncated").tolist() == [False] * 6 + [True] * 4
    assert encoded.truncated_share == 2 / 5
    first, second = encoded.rows([8, 1])
    assert first["input_ids"].tolist() == [ord("a"), ord("c"), ord("e")]
    assert (first["row"], first["truncated"], first["labels"]) == (4, True, 1.0)
    assert first["several"].tolist() == [0.5, 4.0]
    assert second["input_ids"].tolist() == []
    assert first["input_ids"].dtype == np.int32
    assert not first["input_ids"].flags.writeable
    assert encoded.rows(np.array([], dtype=int)) == []


def test_the_same_rows_are_encoded_once(tmp_path: Path) -> None:
    encode = Encoder()
    for _ in range(2):
        encode_split(encode, rows(), fingerprint="a", cache_dir=tmp_path)
    assert encode.calls == 1
    again = rows(9).select(range(5))  # another data set with the same rows
    encode_split(encode, again, fingerprint="a", cache_dir=tmp_path)
    assert encode.calls == 1
    others = [
        encode_split(encode, rows(4), fingerprint="a", cache_dir=tmp_path),
        encode_split(encode, rows(), fingerprint="b", cache_dir=tmp_path),
    ]
    assert encode.calls == 3
    same = encode_split(encode, rows(), fingerprint="a", cache_dir=tmp_path)
    assert [same.fingerprint == other.fingerprint for other in others] == [False, True]


def test_content_digest_sees_every_value() -> None:
    base = {"text": ["a", None], "tags": [["O"], []], "row": [0, 1]}
    digests = {content_digest(Dataset.from_dict(base))}
    for change in ({"text": ["a", ""]}, {"tags": [["O", "O"], []]}, {"row": [0, 2]}, {"text": ["b", None]}):
        digests.add(content_digest(Dataset.from_dict({**base, **change})))
    assert len(digests) == 5


def test_changed_code_of_a_class_or_its_base_changes_the_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "base_code.py").write_text("class Base: pass\n")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "kind_code.py").write_text("from base_code import Base\nclass Kind(Base): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.syspath_prepend(tmp_path / "sub")
    kind = importlib.import_module("kind_code").Kind
    digests = {code_digest(kind), code_digest(kind)}
    (tmp_path / "base_code.py").write_text("class Base: value = 1\n")
    digests.add(code_digest(kind))
    (tmp_path / "sub" / "helper_code.py").write_text("value = 1\n")
    digests.add(code_digest(kind))
    assert len(digests) == 3
    assert code_digest(type("Typed", (), {"__module__": "__nowhere__"})) == code_digest(object)


def test_workers_give_what_one_process_gives(tmp_path: Path) -> None:
    data = rows(3 * BATCH + 7)
    alone = encode_split(Encoder(), data, fingerprint="a", cache_dir=tmp_path / "1")
    shared = encode_split(Encoder(), data, fingerprint="a", cache_dir=tmp_path / "2", num_workers=2)
    for name in alone.columns:
        np.testing.assert_array_equal(alone.columns[name].values, shared.columns[name].values)
    np.testing.assert_array_equal(alone.lengths, shared.lengths)


def refuse_row_two(rows: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
    raise RowError(2, "unknown label 'x'")


@pytest.mark.parametrize("workers", [0, 2])
def test_a_wrong_row_is_named_by_its_file(tmp_path: Path, workers: int) -> None:
    data = rows(BATCH + 1)
    remember(data, [Place("a.csv", 0, BATCH + 1, 2, "line")])
    with pytest.raises(ValueError, match=r"^a.csv, line 4: unknown label 'x'$"):
        encode_split(refuse_row_two, data, fingerprint="a", cache_dir=tmp_path, num_workers=workers)


def fail_late(rows: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
    if rows["row"][0] > 0:
        raise ValueError("row 1001: unknown label 'x'")
    return Encoder()(rows)


def die_late(rows: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
    if rows["row"][0] > 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return Encoder()(rows)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_failure_leaves_nothing_behind(tmp_path: Path, workers: int) -> None:
    with pytest.raises(ValueError, match="row 1001: unknown label 'x'"):
        encode_split(fail_late, rows(2 * BATCH), fingerprint="a", cache_dir=tmp_path, num_workers=workers)
    assert list((tmp_path / "encoded").iterdir()) == []


def test_a_worker_that_dies_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"worker processes died .*--num-workers 0"):
        encode_split(die_late, rows(2 * BATCH), fingerprint="a", cache_dir=tmp_path, num_workers=2)


def test_a_damaged_entry_is_made_anew(tmp_path: Path) -> None:
    encode = Encoder()
    encode_split(encode, rows(), fingerprint="a", cache_dir=tmp_path)
    values = next((tmp_path / "encoded").glob("*/input_ids.values"))
    values.write_bytes(values.read_bytes()[:-4])
    assert encode_split(encode, rows(), fingerprint="a", cache_dir=tmp_path).lengths.sum() == 15
    assert encode.calls == 2


def test_old_entries_and_leftovers_are_pruned(tmp_path: Path) -> None:
    encode_split(Encoder(), rows(), fingerprint="old", cache_dir=tmp_path)
    old = next((tmp_path / "encoded").iterdir())
    left = tmp_path / "encoded" / ".x.part"
    left.mkdir()
    for path in (old / "meta.json", left):
        os.utime(path, (0, 0))
    encode_split(Encoder(), rows(), fingerprint="new", cache_dir=tmp_path)
    assert not old.exists()
    assert not left.exists()
    assert len(list((tmp_path / "encoded").iterdir())) == 1


def test_no_room_or_right_to_write_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "encoded").write_text("a file where the folder should be")
    with pytest.raises(ValueError, match="encoded: cannot write there"):
        encode_split(Encoder(), rows(), fingerprint="a", cache_dir=tmp_path)


def test_values_that_are_no_numbers_are_a_programming_error(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="encoded column 'words'"):
        encode_split(lambda rows: {"words": ["a"] * 5}, rows(), fingerprint="a", cache_dir=tmp_path)


def test_cache_directory_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("REGISTRY_CACHE", str(tmp_path))
    assert cache.default_cache_dir() == tmp_path
    monkeypatch.delenv("REGISTRY_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.default_cache_dir() == tmp_path / "finetune-registry"


ORPHANS = """
import os, time
from registry.data.workers import forked_map

def wait(item):
    os.write(1, b"%d\\n" % os.getpid())  # at once: print writes the line and its end apart
    time.sleep(600)

list(forked_map(wait, range(2), 2))
"""


def test_workers_end_with_their_parent(tmp_path: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", ORPHANS], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    workers = [psutil.Process(int(parent.stdout.readline())) for _ in range(2)]
    parent.kill()
    parent.wait()
    until = time.monotonic() + 20
    while any(map(works, workers)):
        assert time.monotonic() < until
        time.sleep(0.05)


def works(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
