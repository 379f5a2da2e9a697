"""Running named checks: each passes, fails with a reason, or is skipped with one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

S = TypeVar("S")

Check = Callable[[S], None]
"""A function whose docstring's first line is what it checks; AssertionError says what is wrong."""


@dataclass(frozen=True)
class Result:
    """What came of one check; passed where neither `problem` nor `skipped` says anything.

    Args:
        unavailable: the subject itself is not at hand (a checkpoint of the Hub): no check can be made.
    """

    check: str
    problem: str = ""
    skipped: str = ""
    unavailable: bool = False


class Skipped(Exception):
    """A check that cannot be made here; the message says why."""


def run(checks: Iterable[Check[S]], make: Callable[[], S], suffix: str = "") -> Iterator[Result]:
    """Make the subject and check it; where it cannot be made, that is the only result."""
    try:
        subject = make()
    except Exception as error:
        yield Result(f"Can be prepared{suffix}", **_outcome(error), unavailable=isinstance(error, Skipped))
        return
    for check in checks:
        name = str(check.__doc__).splitlines()[0].rstrip(".") + suffix
        try:
            check(subject)
        except Exception as error:  # a plugin may raise anything: that too is an answer
            yield Result(name, **_outcome(error))
        else:
            yield Result(name)


def _outcome(error: Exception) -> dict[str, Any]:
    text = " ".join(str(error).split())
    if isinstance(error, Skipped):
        return {"skipped": text}
    return {"problem": text if isinstance(error, AssertionError) and text else f"{type(error).__name__}: {text}"}
