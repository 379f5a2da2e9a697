"""What the processes agree on and tell each other between updates, without touching the accelerator.

Counts, "please stop" and "my loss or gradients are not finite" travel as one small sum over a gloo group on the
hosts: the device's queue is never waited for. Predictions go the same way: NCCL would take them, pickled,
through the memory of every GPU.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from registry.allocator import is_out_of_memory

T = TypeVar("T")

PATIENCE = timedelta(days=7)
"""Rank 0 may tokenise for hours while the others wait."""
LAST_WORD = "registry/last-word"
OUT_OF_MEMORY = (
    "memory ran out; start anew (--overwrite) with --micro-batch-size auto or a smaller one, "
    "--gradient-checkpointing or --lora-rank; the training stays what it is with the first two"
)


class Control:
    """Sums of a few numbers over all processes, and lists of what they have."""

    def __init__(self) -> None:
        self._group: Any = None
        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            self._group = dist.new_group(backend="gloo", timeout=PATIENCE)

    def sum(self, *values: float) -> tuple[float, ...]:
        """The sums of the values over all processes, in float64."""
        if self._group is None:
            return values
        total = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(total, group=self._group)
        return tuple(total.tolist())

    def each(self, value: float) -> list[float]:
        """The value of every process, by rank."""
        rank, world = (dist.get_rank(), dist.get_world_size()) if self._group is not None else (0, 1)
        return list(self.sum(*(value if rank == other else 0.0 for other in range(world))))

    def gather(self, items: Sequence[T]) -> list[T]:
        """The items of all processes in one list, in the order of the processes."""
        if self._group is None:
            return [*items]
        parts: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(parts, items, group=self._group)
        return [item for part in parts for item in part]

    def any(self, flag: bool) -> bool:
        """Whether any process says so; the same answer everywhere."""
        return self.sum(float(flag))[0] > 0

    def wait(self) -> None:
        """A barrier that may take days."""
        self.sum(0.0)


@contextmanager
def partners() -> Iterator[None]:
    """Whatever ends one process of a run ends all, and the first process says in one line what it was.

    Raises:
        ValueError: memory ran out here, a file cannot be used, --deterministic asks for what there is not, or another
            process has ended.
    """
    try:
        yield
    except ValueError as error:
        _tell(str(error))
        raise
    except OSError as error:
        if error.filename is None:
            raise
        said = f"{error.filename}: {error.strerror}"
        _tell(said)
        raise ValueError(said) from error
    except (RuntimeError, MemoryError) as error:
        reason = _for_people(error)
        if reason is not None:
            _tell(reason)
            raise ValueError(reason) from error
        if "by peer" not in str(error):  # gloo: "Connection closed by peer", "Connection reset by peer"
            _tell(f"{type(error).__name__}: {error}")
            raise
        raise ValueError(f"{_told()}; the run goes on from its last checkpoint") from None


def _for_people(error: BaseException) -> str | None:
    """What to say of an error that a person's choice of options has made; None of any other."""
    if is_out_of_memory(error):
        return OUT_OF_MEMORY
    kernel, has_none, _ = str(error).partition(" does not have a deterministic implementation")
    return f"--deterministic: {kernel}{has_none}; leave the option out" if has_none else None


def _tell(reason: str) -> None:
    """Leave word for the others, who will only notice that this process is gone."""
    if dist.is_available() and dist.is_initialized():
        with suppress(RuntimeError):  # the process that keeps the store may be gone itself
            store = dist.distributed_c10d._get_default_store()
            store.set(LAST_WORD, f"process {dist.get_rank()} of this run has ended: {reason}")


def _told() -> str:
    """What another process has said at its end."""
    with suppress(RuntimeError):
        store = dist.distributed_c10d._get_default_store()
        if store.check([LAST_WORD]):
            return str(store.get(LAST_WORD).decode())
    return "another process of this run has ended without a word, killed most likely"
