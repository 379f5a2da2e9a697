"""Weather reports, where calling a storm harmless costs more than the other mistake."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from registry.heads import Head
from registry.options import option
from registry.plugins import not_an_option
from registry.tasks.base import Metrics
from registry.tasks.classification import Classification

if TYPE_CHECKING:
    from datasets import DatasetDict


def reports() -> DatasetDict:
    """400 and 80 short reports, two thirds of them harmless."""
    from datasets import Dataset, DatasetDict

    draw = random.Random(1)
    words = {"calm": ("mild", "sunny", "a light breeze"), "storm": ("gale", "thunder", "heavy hail")}
    splits = {}
    for split, size in {"train": 400, "validation": 80}.items():
        labels = [draw.choice(("calm", "calm", "storm")) for _ in range(size)]
        texts = [f"{split} report {row}: {draw.choice(words[label])}" for row, label in enumerate(labels)]
        splits[split] = Dataset.from_dict({"text": texts, "label": labels, "row": range(size)})
    return DatasetDict(splits)


@dataclass(frozen=True, kw_only=True)
class Weather(Classification):
    """Classification by what its mistakes cost."""

    contract: ClassVar[int] = 1

    primary_metric: str = not_an_option("cost")
    minimize: bool = not_an_option(True)
    missed: float = option(5.0, "Cost of a storm called calm; a false alarm costs 1.", minimum=0)

    def metrics(self, joined: Mapping[str, Any], head: Head) -> Metrics:
        """Those of classification, and the mean cost."""
        found = super().metrics(joined, head)
        truth, chosen = np.asarray(joined["labels"]), np.asarray(joined["scores"]).argmax(1)
        storm = head.labels.index("storm")
        costs = np.where(truth == storm, self.missed, 1.0) * (truth != chosen)
        known = costs[truth >= 0]
        return {**found, "cost": float(known.mean()) if len(known) else None}


weather = Weather(description="Calm or storm, scored by cost", labels=("calm", "storm"), rows=reports)
