"""The C library's allocator, kept from returning memory that the next update asks for again.

By default glibc maps every tensor above 32 MiB anew and hands free memory back to the system, which then has
to clear its pages again and again, each update long.
"""

from __future__ import annotations

import ctypes

TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3  # of malloc.h
LARGEST = 2**31 - 1
"""mallopt takes an int."""


def keep_memory() -> bool:
    """Let this process keep what it frees for its own use; False where the C library is not glibc."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
        ctypes.CDLL(None).gnu_get_libc_version  # noqa: B018 (others take the call and do something else)
    except (AttributeError, OSError, TypeError):
        return False
    settings = {MMAP_THRESHOLD: LARGEST, TRIM_THRESHOLD: LARGEST, TOP_PAD: 64 << 20}
    return all(mallopt(name, value) == 1 for name, value in settings.items())
