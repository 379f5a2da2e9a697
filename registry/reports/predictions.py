"""The saved predictions of one split, as values that statistics and pages can use.

Four kinds, told apart by the run's head: "single" (one class of several, question answering
included), "multi" (a set of classes), "regression" and "entities".
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from registry.heads import TOKEN_CLASSIFICATION, Head

Item = tuple[Any, ...]
"""What is found or missed: (class,) or, for entities, (type, start, end)."""


@dataclass(frozen=True)
class Predictions:
    """Rows of a split in the order of their ids.

    Args:
        items: one dictionary a row, as `predictions/<split>.jsonl` holds it.
    """

    head: Head
    items: Sequence[dict[str, Any]]

    @property
    def kind(self) -> str:
        """ "single", "multi", "regression" or "entities"."""
        if self.head.kind == TOKEN_CLASSIFICATION:
            return "entities"
        return {"multi_label": "multi", "regression": "regression"}.get(self.head.problem, "single")

    @property
    def classes(self) -> tuple[str, ...]:
        """Labels in the order of the head; for entities the types, sorted."""
        if self.kind != "entities":
            return self.head.labels
        return tuple(sorted({label.partition("-")[2] for label in self.head.labels} - {""}))

    @cached_property
    def rows(self) -> np.ndarray:
        """(rows,) ids."""
        return np.array([item["row"] for item in self.items], dtype=np.int64)

    @cached_property
    def truths(self) -> list[Any]:
        """What each row is labelled with; None where it is not."""
        return [item.get("label") for item in self.items]

    @cached_property
    def guesses(self) -> list[Any]:
        """What was predicted for each row."""
        return [item["prediction"] for item in self.items]

    def labelled(self) -> Predictions:
        """Only the rows that carry a label."""
        kept = [item for item in self.items if item.get("label") is not None]
        return self if len(kept) == len(self.items) else dataclasses.replace(self, items=kept)

    def true_sets(self) -> Iterator[set[Item]]:
        """Each row's labelled items; an item that stands twice in a row counts once."""
        return map(_as_set, self.truths)

    def predicted_sets(self) -> Iterator[set[Item]]:
        """Each row's predicted items."""
        return map(_as_set, self.guesses)

    def scores(self) -> np.ndarray | None:
        """(rows, classes) scores, 0 for classes that a row does not name; None where rows carry no scores."""
        if not all(map(class_scores, self.items)):
            return None
        rows = [[given.get(name, 0.0) for name in self.classes] for given in map(class_scores, self.items)]
        return np.array(rows, dtype=float)

    def confidence(self) -> np.ndarray | None:
        """(rows,) score of the best class, of which there is one; None where rows carry no scores."""
        if self.kind != "single" or not all(map(class_scores, self.items)):
            return None
        return np.array([max(class_scores(item).values()) for item in self.items], dtype=float)

    def ranked(self, row: int, count: int = 5) -> list[tuple[str, float]]:
        """The best-scored classes of the row at this position."""
        return sorted(class_scores(self.items[row]).items(), key=lambda pair: -pair[1])[:count]

    def true_ranks(self) -> list[int]:
        """The place of each row's label among its scored classes, from 1; 0 where it is not there."""
        places = []
        for item in self.items:
            scores = class_scores(item)
            own = scores.get(item["label"])
            places.append(0 if own is None else 1 + sum(score > own for score in scores.values()))
        return places


def class_scores(item: dict[str, Any]) -> dict[str, float]:
    """A row's scores by class, or by answer where it ranks answers; empty where it has none."""
    if "answers" in item:
        return {answer["answer"]: answer["score"] for answer in item["answers"]}
    return dict(item.get("scores") or {})


def read_predictions(path: Path, head: Head) -> Predictions:
    """The predictions that a run saved for a split.

    Raises:
        ValueError: a line is not a JSON object with a row and a prediction; names file and line.
    """
    items = []
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                item = json.loads(line)
                _ = item["row"], item["prediction"]
            except (json.JSONDecodeError, KeyError, TypeError):
                raise ValueError(
                    f"{path}, line {number}: not a prediction (an object with row and prediction)"
                ) from None
            items.append(item)
    return Predictions(head, sorted(items, key=lambda item: item["row"]))


def _as_set(value: Any) -> set[Item]:
    if value is None:
        return set()
    if isinstance(value, list):
        return {(v["type"], v["start"], v["end"]) if isinstance(v, dict) else (v,) for v in value}
    return {(value,)}
