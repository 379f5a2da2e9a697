"""Work spread over forked processes: they share what this one has read, so only results travel."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

T = TypeVar("T")

_function: Callable[[int], Any] | None = None


def forked_map(function: Callable[[int], T], items: Iterable[int], workers: int) -> Iterator[T]:
    """`function` of every item, in order. The function need not be picklable; its results must be.

    Raises:
        ValueError: what the function raised, or a worker died.
    """
    global _function
    _function = function  # forked workers find it here
    context = multiprocessing.get_context("fork")
    try:
        with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(os.getpid(),)) as pool:
            try:
                yield from pool.map(_call, items)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    except BrokenProcessPool:
        raise ValueError(f"one of {workers} worker processes died (out of memory?); try --num-workers 0") from None
    finally:
        _function = None


def _begin(parent: int) -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # threads of the parent do not exist in a fork
    threading.Thread(target=_end_with, args=(parent,), name="parent", daemon=True).start()


def _end_with(parent: int, every: float = 0.5) -> None:
    """A worker whose parent was killed waits for work for ever, and holds what it inherited: the lock of a run."""
    while os.getppid() == parent:
        time.sleep(every)
    os._exit(1)


def _call(item: int) -> Any:
    assert _function is not None
    return _function(item)
