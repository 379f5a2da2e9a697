"""Numbers, durations and sizes as people read them, in pages, cards and tables alike."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any


def value(number: Any) -> str:
    """A metric with four significant places: 0.9123, 12.34, 1,234."""
    if not isinstance(number, (int, float)) or isinstance(number, bool):
        return str(number)
    if isinstance(number, int) or math.isnan(number):
        return f"{number:,}"
    size = abs(number)
    return f"{number:.4f}" if size < 10 else f"{number:.2f}" if size < 1000 else f"{number:,.0f}"


def number(amount: float) -> str:
    """A count or rate: 950, 1,234, 12.3 k, 22.7 M."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e4, " k")):
        if abs(amount) >= size:
            scaled = amount / (1e3 if unit == " k" else size)
            return f"{scaled:.3g}{unit}" if scaled < 100 else f"{scaled:,.0f}{unit}"
    return f"{amount:,.0f}" if amount == int(amount) or abs(amount) >= 100 else f"{amount:.3g}"


def percent(share: float, places: int = 1) -> str:
    """0.9123 -> 91.2 %."""
    return f"{100 * share:.{places}f} %"


def duration(seconds: float) -> str:
    """8.4 s, 12 min 5 s, 3 h 20 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def mebibytes(amount: float) -> str:
    """850 MiB, 11.5 GiB."""
    return f"{amount / 1024:.1f} GiB" if amount >= 1024 else f"{amount:.0f} MiB"


def mean_spread(mean: float, spread: float | None) -> str:
    """0.9123 ± 0.0040; without the spread where there was one run only."""
    return value(mean) if spread is None else f"{value(mean)} ± {value(spread)}"


FILTERS: dict[str, Callable[..., str]] = {
    "value": value,
    "number": number,
    "percent": percent,
    "duration": duration,
    "mebibytes": mebibytes,
}
