"""The processor's cores under many requests: a forward pass alone takes all of them, several at a time one each.

Several passes of one thread do more together than one pass of several threads, whose threads wait for each other
after every operator, and for whatever else the machine is doing meanwhile.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator


class Claim:
    """The cores that one forward pass holds."""

    def __init__(self, cores: Cores) -> None:
        self.number, self._cores = 1, cores

    def extend(self) -> None:
        """Take what is free as well."""
        self.number += self._cores.take(self._cores.number)


class Cores:
    """So many cores, which the services of one process share.

    Args:
        number: 1 where forward passes run one after another (a GPU, an engine with threads of its own).
    """

    def __init__(self, number: int = 1) -> None:
        self.number = self.free = number
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def claim(self) -> Iterator[Claim]:
        """One core for a forward pass, when there is one."""
        with self._changed:
            self._changed.wait_for(lambda: self.free > 0)
            self.free -= 1
        claim = Claim(self)
        try:
            yield claim
        finally:
            with self._changed:
                self.free += claim.number
                self._changed.notify_all()

    def take(self, most: int) -> int:
        """Take up to so many cores if they are free; how many these were."""
        with self._changed:
            taken = min(most, self.free)
            self.free -= taken
            return taken
