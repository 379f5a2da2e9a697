"""The C library's allocator, told what it cannot know: whether freed memory will be asked for again in the same sizes.

Training asks for the same again at every update; by default glibc maps every tensor above 32 MiB anew and hands free
memory back to the system, which then has to clear its pages each time. A service's batches never have the same shape
twice; freed tensors of one size then lie between kept ones, and memory grows by the hour unless it is trimmed. Training
on texts of many lengths is trimmed, too, but seldom.
"""

from __future__ import annotations

import ctypes
import gc
import time

TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3  # of malloc.h
LARGEST = 2**31 - 1
"""mallopt takes an int."""
MAPPED = 32 << 20
"""Bytes from which a tensor of a service is mapped alone, glibc's largest. Mapping costs: at 1 MiB a small encoder
answered an eighth fewer requests."""

NO_MORE = ("can't allocate memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""What errors say where the host, a device or one of its libraries has no more memory."""


def keep_memory() -> bool:
    """Let this process keep what it frees for its own use; False where the C library is not glibc."""
    return _set({MMAP_THRESHOLD: LARGEST, TRIM_THRESHOLD: LARGEST, TOP_PAD: 64 << 20})


def return_memory() -> bool:
    """Let this process give every very large tensor back as soon as it is freed, and the others when it is trimmed.

    False where the C library is not glibc.
    """
    return _set({MMAP_THRESHOLD: MAPPED})


def trim() -> None:
    """Give the system all pages on which nothing lies, between kept blocks, too; takes milliseconds."""
    if is_glibc():
        ctypes.CDLL(None).malloc_trim(0)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error says that a device or the host has no more memory; no class is common to all that say it."""
    return isinstance(error, MemoryError) or any(text in str(error) for text in NO_MORE)


class SeldomTrim:
    """Trims when it is asked to, but at most once in so many seconds."""

    def __init__(self, seconds: float = 60.0) -> None:
        self.seconds = seconds
        self._last = time.monotonic()

    def __call__(self) -> None:
        if time.monotonic() - self._last >= self.seconds:
            trim()
            self._last = time.monotonic()


def is_glibc() -> bool:
    """Whether the allocator can be told anything; others take the call and do something else."""
    try:
        return hasattr(ctypes.CDLL(None), "gnu_get_libc_version")
    except (OSError, TypeError):
        return False


def give_back() -> None:
    """Hand free memory to the system once: what was read and prepared is not needed any more."""
    import pyarrow

    gc.collect()
    pyarrow.default_memory_pool().release_unused()
    trim()


def _set(values: dict[int, int]) -> bool:
    return is_glibc() and all(ctypes.CDLL(None).mallopt(name, value) == 1 for name, value in values.items())
