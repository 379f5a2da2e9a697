"""The processor's cores under many requests: a forward pass alone takes all of them, several at a time one each.

Several passes of one thread do more together than one pass of several threads, whose threads wait for each other
after every operator, and for whatever else the machine is doing meanwhile.
"""

from __future__ import annotations

import threading


class Cores:
    """So many cores, which the services of one process share, and the lock under which they take them.

    Args:
        number: 1 where forward passes run one after another (a GPU, an engine with threads of its own).
    """

    def __init__(self, number: int = 1) -> None:
        self.number = self.free = number
        self._lock = threading.Lock()
        self._conditions: list[threading.Condition] = []

    def condition(self) -> threading.Condition:
        """What a service's threads wait on: notified when cores are free again."""
        self._conditions.append(threading.Condition(self._lock))
        return self._conditions[-1]

    def take(self, number: int) -> int:
        """Take so many of the free cores; called with the lock held."""
        self.free -= number
        return number

    def give(self, number: int) -> None:
        """Give cores back; one waiting thread of every service looks whether it has work for them."""
        with self._lock:
            self.free += number
            for condition in self._conditions:
                condition.notify()
