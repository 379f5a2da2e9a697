"""What the C library does with freed memory, in processes of their own."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from registry import allocator

GLIBC = platform.libc_ver()[0] == "glibc"
GROWTH = """
import random, sys, psutil
from registry import allocator
assert getattr(allocator, sys.argv[1])() is True
draw, kept, process = random.Random(0), [], psutil.Process()
before = process.memory_info().rss
for _ in range(300):  # large blocks, each freed after a small one that stays has been put behind it
    block = bytearray(draw.randrange(2 << 20, 24 << 20))
    kept.append(bytearray(50_000))
    del block
allocator.trim()
print((process.memory_info().rss - before) >> 20)
"""


@pytest.mark.skipif(not GLIBC, reason="settings of glibc")
@pytest.mark.parametrize("name", ["return_memory", "keep_memory"])
def test_after_trimming_no_freed_block_is_kept(name: str) -> None:
    assert int(run(GROWTH, name)) < 100  # 15 MB are kept by the test itself, 64 MB by keep_memory for its own use


def run(code: str, *arguments: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], check=True, capture_output=True, text=True, timeout=60
    ).stdout


def test_it_trims_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, trims = [100.0], []
    monkeypatch.setattr(allocator.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(allocator, "trim", lambda: trims.append(clock[0]))
    seldom = allocator.SeldomTrim(60.0)
    for clock[0] in (101.0, 159.0, 160.0, 161.0, 219.0, 221.0):
        seldom()
    assert trims == [160.0, 221.0]
