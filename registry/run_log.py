"""What a run writes while it trains: metrics.jsonl and TensorBoard scalars, without gaps or doubles.

A continued run cuts both back to what its checkpoint knows of before it writes again.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry.run_directory import written

if TYPE_CHECKING:
    from accelerate.tracking import GeneralTracker
    from torch import Tensor, nn
    from torch.utils.tensorboard import SummaryWriter


class RunLog:
    """Writer of logged values, used on the main process alone.

    Args:
        directory: the run directory.
        lines: how many lines stay; those that an interrupted process wrote after them are dropped.
        trackers: get every number too, as "validation/accuracy".
    """

    def __init__(self, directory: Path, lines: int = 0, trackers: Sequence[GeneralTracker] = ()) -> None:
        self.trackers = trackers
        self.path = directory / "metrics.jsonl"
        self.boards = directory / "tensorboard"
        self._writers: dict[str, SummaryWriter] = {}
        kept = _cut(self.path, lines)
        self.lines = len(kept)
        self._last = {line["split"]: line["update"] for line in kept}
        self._file = self.path.open("a", encoding="utf-8")

    def write(self, update: int, epoch: float, split: str, values: Mapping[str, Any]) -> None:
        """One line of metrics.jsonl, null where a number is not finite, and a TensorBoard scalar for each other one."""
        line = {"update": update, "epoch": round(epoch, 6), "split": split, **values}
        self._file.write(json.dumps(finite(line), ensure_ascii=False, allow_nan=False) + "\n")
        self._file.flush()
        self.lines += 1
        numbers = dict(flat_numbers(values))
        for name, value in numbers.items():
            self.writer(split).add_scalar(name, value, update)
        for tracker in self.trackers:
            tracker.log({f"{split}/{name}": value for name, value in numbers.items()}, step=update)

    def write_histograms(self, update: int, module: nn.Module, piece: Callable[[Tensor], Tensor]) -> None:
        """The distribution of every trainable weight, of the piece of it that this process holds."""
        for name, weight in module.named_parameters():
            if weight.requires_grad and piece(weight).numel():
                self.writer("train").add_histogram(f"weights/{name}", piece(weight).float(), update)

    def writer(self, split: str) -> SummaryWriter:
        """The TensorBoard writer of a split: one directory each, so that curves of one name overlay."""
        if split not in self._writers:
            from torch.utils.tensorboard import SummaryWriter

            later = self._last.get(split, -1) + 1  # TensorBoard forgets what an interrupted process wrote from there on
            self._writers[split] = SummaryWriter(str(self.boards / split), purge_step=later)
        return self._writers[split]

    def sync(self) -> None:
        """Everything written so far is on disk when this returns."""
        self._file.flush()
        os.fsync(self._file.fileno())
        for writer in self._writers.values():
            writer.flush()

    def close(self) -> None:
        """Flush and close all files."""
        self.sync()
        self._file.close()
        for writer in self._writers.values():
            writer.close()
        for tracker in self.trackers:
            tracker.finish()


def read_log(directory: Path) -> list[dict[str, Any]]:
    """Every line of a run's metrics.jsonl; a torn last line is left out."""
    path = directory / "metrics.jsonl"
    lines = []
    # A label may hold what `str.splitlines` takes for the end of a line, such as U+2028.
    for text in path.read_text(encoding="utf-8").split("\n") if path.exists() else []:
        if not text:
            continue
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            break
    return lines


def finite(value: Any) -> Any:
    """A value with None in place of every number in it that is not finite: JSON has none for NaN and infinity."""
    if isinstance(value, Mapping):
        return {name: finite(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def flat_numbers(values: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """("per_class/positive/f1", value) for every finite number in nested dictionaries."""
    for name, value in flat_values(values):
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            yield name, float(value)


def flat_values(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """("per_class/positive/f1", value) for every value in nested dictionaries."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flat_values(value, f"{prefix}{name}/")
        else:
            yield f"{prefix}{name}", value


def _cut(path: Path, lines: int) -> list[dict[str, Any]]:
    """Keep the first lines, rewritten beside and renamed; what they hold."""
    kept = read_log(path.parent)[:lines] if lines else []
    with written(path) as file:
        file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in kept)
    return kept
