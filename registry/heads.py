"""Where a task and a model meet: a task says which head it needs, a model builds it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

SEQUENCE_CLASSIFICATION = "sequence-classification"
TOKEN_CLASSIFICATION = "token-classification"
MASKED_LM = "masked-lm"

HEAD_KINDS = (SEQUENCE_CLASSIFICATION, TOKEN_CLASSIFICATION, MASKED_LM)

IGNORE = -100
"""The label of what is not scored: padding, continuation subwords, unlabelled rows, empty micro-batches."""


@dataclass(frozen=True)
class Head:
    """The label space and the kind of output, decided once at training time and saved with the run."""

    kind: str
    labels: tuple[str, ...] = ()
    problem: str = "single_label"  # | "multi_label" | "regression"
    label_weights: tuple[float, ...] = ()

    @property
    def outputs(self) -> int:
        """Width of the logits; 0 for masked-lm, where the vocabulary decides."""
        return 1 if self.problem == "regression" else len(self.labels)

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dictionary that `from_json` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Head:
        """The head that `to_json` wrote."""
        return cls(
            kind=values["kind"],
            labels=tuple(values["labels"]),
            problem=values["problem"],
            label_weights=tuple(values["label_weights"]),
        )
