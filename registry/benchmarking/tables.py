"""What a benchmark found, as rows of a table: medians, ratios, and whether the models are equally good."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

SIDES = {"ours": "this project", "default": "Trainer, its defaults", "best": "Trainer at its best"}
COLUMNS = (
    *("case", "", "samples/s", "tokens/s", "of matmul peak", "seconds", "memory MiB", "loss"),
    *("metric", "ours/theirs", "equally good"),
)
TITLE = (
    "medians over rounds; a metric's mean and spread over seeds; ratios of samples/s round by round (lowest to highest)"
)

Rounds = Sequence[Mapping[str, Any]]


def rows(case: str, results: Mapping[str, Rounds]) -> list[list[str]]:
    """A row of text for each side of a case."""
    found = []
    for side, rounds in results.items():
        middle = {name: statistics.median(r[name] for r in rounds) for name in rounds[0] if _is_number(rounds[0][name])}
        found.append(
            [
                case,
                f"{SIDES[side]} ({rounds[0]['precision']})",
                f"{middle['samples_per_second']:.1f}",
                f"{middle['tokens_per_second']:,.0f}",
                f"{middle['peak_share']:.1%}",
                f"{middle['seconds']:.1f}",
                f"{middle['peak_memory_mb']:,.0f}",
                f"{middle['loss']:.4f}",
                f"{rounds[0]['metric_name']} {spread([r['metric'] for r in rounds])}",
                "" if side == "ours" else ratio(results["ours"], rounds),
                "" if side == "ours" else verdict(results["ours"], rounds),
            ]
        )
    return found


def ratio(ours: Rounds, theirs: Rounds) -> str:
    """Median, lowest and highest ratio of our speed to theirs."""
    pairs = zip(ours, theirs, strict=True)
    ratios = sorted(a["samples_per_second"] / b["samples_per_second"] for a, b in pairs)
    return f"{statistics.median(ratios):.2f}x ({ratios[0]:.2f} to {ratios[-1]:.2f})"


def verdict(ours: Rounds, theirs: Rounds) -> str:
    """Whether the mean metrics differ by less than twice the standard error of their difference."""
    if len(ours) < 2:
        return "one seed"
    a, b = ([r["metric"] for r in side] for side in (ours, theirs))
    error = math.sqrt((statistics.variance(a) + statistics.variance(b)) / len(a))
    gap = statistics.mean(a) - statistics.mean(b)
    return f"{'within' if abs(gap) <= 2 * error else 'outside'} noise ({gap:+.4f}, error {error:.4f})"


def spread(values: Sequence[float]) -> str:
    """Mean, and standard deviation where there are several."""
    deviation = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.4f}{deviation}"


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """The table in Markdown."""
    rules = ["---", "---", *["---:"] * (len(COLUMNS) - 2)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (COLUMNS, rules, *lines)) + f"\n\n{TITLE}\n"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float))
